"""A parish at work: cathedrals and devices, each played by a program, and what is seen of them.

Tests and benchmarks perform their cases with it, whoever's daemons take part.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from chancel.daemon import places
from chancel.demo.parish import PORT, Cathedral, Device, Parish, Plan, Seat
from chancel.demo.programs import PlayError, Program
from chancel.demo.sacristy import Sacristy
from chancel.demo.talk import Talk
from chancel.lab.lab import Lab, Task
from chancel.lab.namespace import LabError
from chancel.wire.remembrance import TABLE_BYTES, RemembranceBody
from chancel.wire.types import Address

USER = "root"
"""The reference wants to be told whom its processes become. In a mere user namespace there is no
choice."""

COMING_UP = threading.BoundedSemaphore(2)
"""Held by those that bring their devices up, which costs, and is measured."""

UP_LIMIT_S = 45.0
DIRECT_LIMIT_S = 90.0
BOUND_LIMIT_S = 45.0
BURST_LIMIT_S = 20.0
FAILOVER_LIMIT_S = 100.0

SETTLED_S = 15.0
"""Three infos, each answered: enough to know what silence means."""

LOOK_INTERVAL_S = 0.05
LOG_TAIL_CHARACTERS = 3000

PING = "chancel.lab.ping:ping"
PING_INTERVAL_S = 0.05
ENDLESS = 1_000_000
PATIENCE_S = 1.0
"""A lost ping holds back the news of those after it for this long."""

TALK_INTERVAL_S = 0.1
WINDOW = 10
"""Intervals of talk that are looked at together: a second."""
DATAGRAMS = 2 * round(WINDOW * TALK_INTERVAL_S / PING_INTERVAL_S)
"""Requests and replies of a window."""
MOST = 0.8
"""Of the datagrams of a window: few enough for one that began a little later."""
MOST_A_WAY = round(MOST * DATAGRAMS / 2)
"""Each way: what is sent straight to the peer, and nothing comes back, went nowhere."""

T = TypeVar("T")


class Watch:
    """What is seen at a device from now on: its pings to the peer, and with whom it speaks."""

    def __init__(self, device: Device, other: Device, cathedrals: Sequence[str]) -> None:
        self.echoes: list[tuple[float, float | None]] = []
        """When each ping was sent (monotonic clock), and how long its answer took."""
        self.talks: list[Talk] = []
        self._peer = other.public
        self._cathedrals = frozenset(cathedrals)
        shape = ENDLESS, PING_INTERVAL_S, 56, True, PATIENCE_S
        self.broken: list[LabError] = []
        """What ended too early. At the end of the lab all does, but then nobody looks."""
        self._follow(device.host.start(PING, other.inner, *shape), self._on_echo)
        talking = device.host.start("chancel.demo.talk:talk", TALK_INTERVAL_S)
        self._follow(talking, self.talks.append)

    def answered_since(self, moment: float) -> float | None:
        """When the answer came to the first ping sent after ``moment`` that was answered."""
        sent = ((at, rtt) for at, rtt in self.echoes[:] if at >= moment and rtt is not None)
        return next((at + rtt for at, rtt in sent if rtt is not None), None)

    def lost(self, since: float, until: float = float("inf")) -> int:
        """How many of the pings of that time were lost."""
        return sum(rtt is None for at, rtt in self.echoes[:] if since <= at < until)

    def direct_since(self, moment: float) -> float | None:
        """Since when, after ``moment``, nearly all goes to the peer and comes from it."""
        return self._since(moment, lambda window: goes_to(self._peer, window))

    def relayed_since(self, moment: float) -> float | None:
        """Since when, after ``moment``, nearly all goes by a cathedral and nothing directly."""

        def relayed(window: Sequence[Talk]) -> bool:
            ways = [_packets(each, remote) for each in window for remote in self._cathedrals]
            directly = [_packets(each, self._peer) for each in window]
            return sum(map(sum, ways)) >= MOST * DATAGRAMS and not any(map(any, directly))

        return self._since(moment, relayed)

    def _since(self, moment: float, holds: Callable[[Sequence[Talk]], bool]) -> float | None:
        talks = [each for each in self.talks[:] if each["at"] >= moment + TALK_INTERVAL_S]
        for start in range(len(talks) - WINDOW + 1):
            if holds(talks[start : start + WINDOW]):
                return talks[start]["at"] - TALK_INTERVAL_S
        return None

    def _follow(self, task: Task, handler: Callable[[Any], None]) -> None:
        def read() -> None:
            try:
                for value in task.progress:
                    handler(value)
            except LabError as error:
                self.broken.append(error)

        threading.Thread(target=read, daemon=True).start()

    def _on_echo(self, echo: dict[str, Any]) -> None:
        self.echoes.append((echo["sent_at"], echo["rtt_s"]))


def goes_to(peer: str, window: Sequence[Talk]) -> bool:
    """Whether nearly all of a window's pings and answers go straight to the peer, and come so."""
    passed = [_packets(each, peer) for each in window]
    came, went = sum(came for came, _ in passed), sum(went for _, went in passed)
    return min(came, went) >= MOST_A_WAY


def _packets(talk: Talk, remote: str) -> tuple[int, int]:
    """In, and out."""
    count = talk["remotes"].get(remote)
    return (0, 0) if count is None else (count["packets_in"], count["packets_out"])


class Play:
    """A parish with its programs, from ``with`` to the block's end.

    Inside, the cathedrals are at work; the devices start when told to.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        roles: Sequence[Program],
        sacristy: Sacristy,
    ) -> None:
        """``roles`` are the programs of the cathedrals, then those of the devices."""
        self._stack = contextlib.ExitStack()
        lab = self._stack.enter_context(Lab())
        with contextlib.ExitStack() as undo:
            undo.push(self._stack)
            user = USER if places.is_machine_root() else None
            self.parish = Parish(lab, folder, plan, sacristy, user)
            undo.pop_all()
        self.left, self.right = self.parish.devices
        self.watch: Watch | None = None
        self.started_at = 0.0
        self._programs = dict(zip(self.parish.seats, roles, strict=True))
        self._daemons: dict[Seat, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.push(self._stack)
            with COMING_UP:
                for cathedral in self.parish.cathedrals:
                    self.start(cathedral)
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is None:
                self._stop_all()

    def start(self, seat: Seat) -> None:
        """Start the daemon of a seat; of a cathedral, wait until it listens."""
        daemon = self._daemons[seat] = seat.start(self._programs[seat].command)
        if isinstance(seat, Cathedral):
            self.until(lambda: seat.listens(daemon), BOUND_LIMIT_S, f"{seat.name} listens")

    def kill(self, seat: Seat) -> None:
        """SIGKILL to all processes of the reference, and to the guardian alone of ours."""
        self._programs[seat].end(self._daemons.pop(seat), signal.SIGKILL, self.logs(""))

    def come_up(self) -> float:
        """Start both devices, watch at the left one, and wait for the first echo, and for all pings
        of a burst either way; returns the seconds from the start to the first echo."""
        addresses = [each.address for each in self.parish.cathedrals]
        with COMING_UP:
            self.watch = Watch(self.left, self.right, addresses)
            self.started_at = time.monotonic()
            self.start(self.left)
            self.start(self.right)
            up_at = self.wait_answer(self.started_at, UP_LIMIT_S, "the tunnel is up")
        self.ping_both_ways()
        return up_at - self.started_at

    def wait_answer(self, moment: float, limit_s: float, what: str) -> float:
        """Wait for an answer to a ping sent after ``moment``; returns when it came."""
        return self.until(lambda: self.seen.answered_since(moment), limit_s, what)

    def wait_relayed(self) -> None:
        """Wait until all is seen to go by a cathedral."""
        self.until(lambda: self.seen.relayed_since(self.started_at), UP_LIMIT_S, "it is relayed")

    def wait_direct(self) -> float:
        """Wait until all is seen to go to the peer itself; returns the seconds since the start."""
        since = self.started_at
        at = self.until(lambda: self.seen.direct_since(since), DIRECT_LIMIT_S, "it is direct")
        return at - since

    def becomes_direct(self, within_s: float) -> float | None:
        """The seconds from the start until all is seen to go to the peer itself; ``None`` where
        that doesn't come ``within_s`` of now."""
        deadline = time.monotonic() + within_s
        while (at := self.seen.direct_since(self.started_at)) is None:
            self._check()
            if time.monotonic() > deadline:
                return None
            time.sleep(LOOK_INTERVAL_S)
        return at - self.started_at

    def fail_over(self) -> float:
        """Kill the first of two cathedrals, that of both devices, which remember the other one;
        returns the seconds from its death to an answer."""
        first, second = self.parish.cathedrals
        for device in self.parish.devices:
            self._wait_remembers(device, first)
        settled_at = self.started_at + SETTLED_S
        self.until(lambda: time.monotonic() > settled_at, FAILOVER_LIMIT_S, "some infos passed")
        self.kill(first)
        killed_at = time.monotonic()
        back_at = self.wait_answer(killed_at, FAILOVER_LIMIT_S, "traffic goes on by the other")
        self.ping_both_ways()
        if self.seen.direct_since(killed_at) is not None:
            raise PlayError("the path became direct: no cathedral was missed")
        for device in self.parish.devices:
            self._wait_remembers(device, second)
        return back_at - killed_at

    @property
    def seen(self) -> Watch:
        """What the left device was seen to do."""
        if self.watch is None:
            raise PlayError("nobody watches before come_up()")
        return self.watch

    def ping_both_ways(self, count: int = 10) -> None:
        """Wait until every ping of a burst is answered, once, from either side.

        Not at once: the reference loses some when its keys are new, and when the path changes.
        """
        for sender, receiver in ((self.left, self.right), (self.right, self.left)):
            shape = receiver.inner, count, 0.02, 56, True, PATIENCE_S

            def complete(sender: Device = sender, shape: tuple[Any, ...] = shape) -> bool:
                answer = sender.host.call(PING, *shape)
                if answer["duplicates"]:
                    raise PlayError(self.logs(f"{sender.name} got answers twice: {answer}"))
                return bool(answer["received"] == count)

            self.until(complete, BURST_LIMIT_S, f"all pings of {sender.name} are answered")

    def until(self, reached: Callable[[], T | None], limit_s: float, what: str) -> T:
        """Wait for something that is not ``None`` or ``False``, and return it. Raises PlayError
        with all logs when it does not come, or when a daemon ends."""
        deadline = time.monotonic() + limit_s
        while not (found := reached()):
            self._check()
            if time.monotonic() > deadline:
                raise PlayError(self.logs(f"not within {limit_s:g} s: {what}"))
            time.sleep(LOOK_INTERVAL_S)
        return found

    def logs(self, why: str) -> str:
        """A sentence, and the end of all logs."""
        told = [why]
        for seat, program in self._programs.items():
            log = seat.log.read_text(errors="replace") if seat.log.exists() else ""
            told.append(f"--- {seat.name} ({program.name})\n{log[-LOG_TAIL_CHARACTERS:]}")
        return "\n".join(told)

    def _wait_remembers(self, device: Device, cathedral: Cathedral) -> None:
        """Wait until the device's file has this cathedral first, and another one behind it."""

        def remembers() -> bool:
            table = device.remembrance.read_bytes() if device.remembrance.exists() else b""
            if len(table) != TABLE_BYTES:  # it is being written
                return False
            known = RemembranceBody.decode_table_untrusted(table).cathedrals
            return len(known) == 2 and known[0] == Address(cathedral.address, PORT)

        what = f"{device.name} has {cathedral.name} first"
        self.until(remembers, FAILOVER_LIMIT_S, what)

    def _check(self) -> None:
        for seat, daemon in self._daemons.items():
            if daemon.poll() is not None:
                raise PlayError(self.logs(f"{seat.name} has ended"))
        if self.watch is not None and self.watch.broken:
            raise PlayError(self.logs(str(self.watch.broken)))

    def _stop_all(self) -> None:
        """SIGTERM to all, devices first; nothing is left of any."""
        for seat in reversed(self.parish.seats):
            if seat in self._daemons:
                daemon = self._daemons.pop(seat)
                self._programs[seat].end(daemon, signal.SIGTERM, self.logs(""))
