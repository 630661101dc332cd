"""One process of the group: its ends of the wiring, and the conversation with the guardian."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from chancel.daemon.board import BoardReader, BoardWriter
from chancel.daemon.lane import lane_reader, lane_writer
from chancel.daemon.link import KeyLink, MessageLink
from chancel.daemon.loop import Loop, Turns
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.topology import Wiring
from chancel.daemon.trace import Trace

log = logging.getLogger("chancel.daemon")


class Duty(Protocol):
    """What one process does. The guardian adds and removes tunnels while it runs."""

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        """Serve a tunnel from now on; the descriptors are ours."""
        ...

    def remove(self, tunnel: int) -> None:
        """Stop serving a tunnel, forget its keys, close its descriptors."""
        ...

    def wake_at(self) -> float | None:
        """When :meth:`wake` is wanted next, monotonic seconds."""
        ...

    def wake(self, now: float) -> None:
        """That time has come."""
        ...


class Process:
    """A duty's own ends. Maps the memory that its duty needs, and only that."""

    def __init__(self, name: str, wiring: Wiring) -> None:
        topology = wiring.topology
        self.name = name
        self.loop = Loop()
        self.guardian = MessageLink(wiring.guardian_links[name][1])
        self.bell = wiring.bells[name]
        self.writers = {
            lane: lane_writer(wiring.lanes[lane])
            for lane, spec in topology.lanes.items()
            if spec.writer == name
        }
        self.readers = {
            lane: lane_reader(wiring.lanes[lane])
            for lane, spec in topology.lanes.items()
            if spec.reader == name
        }
        self.key_links = {
            link: KeyLink(wiring.key_links[link][ends.index(name)])
            for link, ends in topology.key_links.items()
            if name in ends
        }
        own = [board for board, spec in topology.boards.items() if spec.owner == name]
        self.board = BoardWriter(wiring.boards[own[0]]) if own else None
        self.boards: dict[str, BoardReader[Any]] = {
            board: BoardReader(wiring.boards[board], spec.record)
            for board, spec in topology.boards.items()
            if name in spec.readers
        }
        self.hear: Callable[[dict[str, Any], list[int]], None] = _puzzled
        """What else the guardian says; control alone is told more than orders."""
        self.read_settings: Callable[[dict[str, Any]], Any] = TunnelSettings.from_json
        """What becomes of the settings in an order; those of a cathedral are no tunnel's."""
        self.settle: Callable[[float], None] = _stay
        """Looks how the kernel should schedule it, whenever books are kept (``scheduling``)."""
        self.trace: Trace | None = None
        """What tells of everything this process does, while somebody wants to know."""
        self._turns: Turns | None = None
        self._next = {lane: topology.lanes[lane].reader for lane in self.writers}
        self._names: dict[int, str] = {}
        for memory in wiring.memories(name):
            os.close(memory)  # from now on there is only the mapping
        self._rings = [wiring.bells[other] for other in topology.rings.get(name, ())]

    def record(self, board: str, tunnel: int) -> Any:
        """What a board says of a tunnel now; ``None`` before it says anything, and in a mode that
        has no such board."""
        reader = self.boards.get(board)
        entry = reader.read(tunnel) if reader else None
        return entry.record if entry else None

    def changed(self, *boards: str) -> list[int]:
        """The tunnels of which one of these boards says something new since this was asked last."""
        readers = [self.boards[board] for board in boards if board in self.boards]
        return sorted({tunnel for reader in readers for tunnel in reader.changed()})

    def shorten(self, turns: Turns | None) -> None:
        """Let ``turns`` wait in the loop's place, or nobody, except while somebody traces."""
        self._turns = turns
        if self.trace is None:
            self.loop.turns = turns

    def ring(self) -> None:
        """Wake those who have to look at this process's board now."""
        for bell in self._rings:
            bell.ring()

    def report_to(self, listener: int) -> None:
        """Hand the guardian the descriptor on which our system calls are reported."""
        self.guardian.send({"listener": self.name}, [listener])
        os.close(listener)

    def serve(self, duty: Duty) -> None:
        """Run the duty until the guardian says stop, or is gone (then ``LinkClosed``)."""
        self.loop.add(self.guardian, lambda: self._instruct(duty))
        self.guardian.send({"ready": os.getpid()})
        self.loop.run(duty.wake_at, partial(self._wake, duty))

    def _wake(self, duty: Duty, now: float) -> None:
        duty.wake(now)
        self.settle(now)

    def _instruct(self, duty: Duty) -> None:
        received = self.guardian.receive()
        if received is None:
            return
        message, fds = received
        if "do" not in message:
            self.hear(message, fds)
            return
        match message["do"]:
            case "add":
                settings = self.read_settings(message["settings"])
                self._names[message["tunnel"]] = settings.instance
                duty.add(message["tunnel"], settings, fds)
            case "remove":
                duty.remove(message["tunnel"])
                del self._names[message["tunnel"]]
            case "trace":
                self._begin_trace(fds[0])
                self.guardian.send({"tracing": True})
                return
            case "stop":
                self.loop.stop()
            case other:
                raise ValueError(f"the guardian said {other!r}")
        self.guardian.send({"done": message["do"], "at": time.monotonic()})

    def _begin_trace(self, fd: int) -> None:
        self._end_trace()
        self.loop.turns = None  # a trace hears of each hop
        self.trace = trace = Trace(self.name, fd, self._names, self._end_trace)
        for lane, writer in self.writers.items():
            writer.watch = partial(trace.hop, self._next[lane])

    def _end_trace(self) -> None:
        if self.trace is None:
            return
        self.trace.close()
        self.trace = None
        self.loop.turns = self._turns
        for writer in self.writers.values():
            writer.watch = None


def _stay(_now: float) -> None:
    """For who isn't on the way of packets."""


def _puzzled(message: dict[str, Any], _fds: list[int]) -> None:
    raise ValueError(f"the guardian said {message!r}")
