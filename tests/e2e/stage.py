"""How daemons play a story in the lab, and what their traces say."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import select
import signal
import socket
import threading
import time
from pathlib import Path

from chancel.daemon import ctl, places
from chancel.lab.lab import Lab, Network, Task
from chancel.lab.namespace import LabError
from chancel.sim.models import LinkModel
from tests.e2e.ends import UP_LIMIT_S, End, eventually
from tests.e2e.protocol_steps import Line
from tests.e2e.simulated import LEFT, LINK, RIGHT, Act, Story

CUT = LinkModel(loss=1.0)
IDLE = "idle"
"""A tunnel that waits for a peer and never gets one: it keeps a group alive while it is traced, so
that the others can join under the eyes of the trace."""

MESSAGE_BYTES = 1 << 20
STEP_LIMIT_S = 60.0
"""Bounds a hang; nothing depends on how fast the machine is."""


class Recording:
    """The lines of a group's trace, from now on until the group ends."""

    def __init__(self, end: End) -> None:
        self.lines: list[Line] = []
        self._socket = ctl.trace(control(end))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_ended(self) -> None:
        """Wait until no process of the group is left."""
        self._reader.join(STEP_LIMIT_S)
        assert not self._reader.is_alive()

    def _read(self) -> None:
        with self._socket as reading:
            while (message := reading.recv(MESSAGE_BYTES)) or not _hung_up(reading):
                # A batch that ends in its process is told in an empty message.
                self.lines += [json.loads(text) for text in message.splitlines()]


class Stage:
    """Two hosts with a group at each, both traced. Any number of stories may play at once; one that
    kills a group wants a stage of its own, with another ``name``."""

    def __init__(self, lab: Lab, folder: Path, secret: bytes, other: bytes, name: str = "") -> None:
        self._lab = lab
        self._secret = secret
        self._hosts = lab.host(LEFT + name), lab.host(RIGHT + name)
        self.ends = tuple(End(host, "0.0.0.0", folder, secret) for host in self._hosts)
        for end in self.ends:
            end.configure(IDLE, "tunnel 10.77.99.1/30 1400", f"local {end.outer}:2399", "peer auto")
            end.write_secret(end.home / "other", other)
        self._recordings: tuple[list[Recording], list[Recording]] = ([], [])
        for side in (0, 1):
            self._begin_group(side)
        self._networks: dict[int, Network] = {}
        self._library: dict[int, list[Line]] = {}
        self._programs: list[Task] = []

    def play(self, story: Story) -> Story:
        """Let a story happen; returns it with the times at which it did.

        The time of a start is that of the end's first exchange, if it begins one by itself.
        """
        network = self._lab.network(story.network, LINK)
        for host, address in zip(self._hosts, story.addresses, strict=True):
            network.join(host, address.host)
        self._networks[story.number] = network
        acts: list[tuple[float, Act]] = []
        before = story.acts[0][0]
        for at, act in story.acts:
            # After the act before as it happened: a busy machine may be late with that.
            time.sleep(at - before)
            before = at
            acts.append((self._perform(story, act), act))
        return dataclasses.replace(story, acts=tuple(acts))

    def lines(self, story: Story) -> dict[str, list[Line]]:
        """What each end told about a story so far."""
        return {name: self._lines(story, side) for side, name in enumerate((LEFT, RIGHT))}

    def close(self) -> list[int]:
        """Kill the programs and stop the groups; the exit statuses of these."""
        for task in self._programs:
            assert task.program.poll() is None, "a program with a tunnel of the library has ended"
            task.program.kill()
        return [end.stop() for end in self.ends]

    def _lines(self, story: Story, side: int) -> list[Line]:
        if side == 1 and story.library:
            return list(self._library.get(story.number, ()))
        lines = [line for recording in self._recordings[side] for line in list(recording.lines)]
        mine = [line for line in lines if line.get("tunnel") == _name(story)]
        return sorted(mine, key=lambda line: float(line["at"]))

    def _perform(self, story: Story, act: Act) -> float:
        match act:
            case Act.START_LEFT:
                return self._start(story, 0)
            case Act.START_RIGHT:
                return self._start(story, 1)
            case Act.KILL_LEFT:
                self._wait_up(story)
                at = time.monotonic()
                self.ends[0].stop(signal.SIGKILL)
                self._recordings[0][-1].wait_ended()
                return at
            case Act.CUT:
                self._wait_up(story)
                self._networks[story.number].set_model(CUT)
                return time.monotonic()
            case Act.MEND:
                self._networks[story.number].set_model(LINK)
                return time.monotonic()

    def _start(self, story: Story, side: int) -> float:
        if self.ends[side].has_ended():
            self._begin_group(side)
        before = time.monotonic()
        if side == 1 and story.library:
            self._begin_library(story)
        else:
            self._join(story, side)
        if not story.calls[side]:
            return time.monotonic()

        def began() -> list[float]:
            started = (
                line["at"]
                for line in self._lines(story, side)
                if line["event"] == "exchange-started"
            )
            return [at for at in started if at > before]

        eventually(lambda: bool(began()), STEP_LIMIT_S, f"an end of {_name(story)} begins")
        return began()[0]

    def _wait_up(self, story: Story) -> None:
        """What a story does to a tunnel that is up, it does once it is, however long that takes."""

        def is_up() -> bool:
            return all(
                any(line["event"] == "exchange-ended" for line in lines)
                for lines in self.lines(story).values()
            )

        eventually(is_up, STEP_LIMIT_S, f"{_name(story)} is up")

    def _begin_group(self, side: int) -> None:
        end = self.ends[side]
        end.start(end.home / f"{IDLE}.conf")
        eventually(lambda: bool(end.tunnels()), UP_LIMIT_S, f"{end.host.name} runs")
        self._recordings[side].append(Recording(end))

    def _join(self, story: Story, side: int) -> None:
        end, own, peer = self.ends[side], story.addresses[side], story.configured(side)
        path = end.configure(
            _name(story),
            f"tunnel 10.77.{story.number}.{side + 1}/30 1400",
            f"local {own}",
            f"peer {peer or 'auto'}",
        )
        if side == 1 and not story.one_secret:
            path.write_text(path.read_text().replace(f"{end.secret}\n", f"{end.home / 'other'}\n"))
        with path.open("rb") as file:
            ctl.add(control(end), str(path), file.fileno())

    def _begin_library(self, story: Story) -> None:
        left, right = story.addresses
        task = self.ends[1].host.start(
            "tests.e2e.inside_tunnel:tunnel",
            [right.host, right.port],
            [left.host, left.port],
            self._secret.hex(),
            story.right_skew_s,
        )
        self._programs.append(task)
        lines = self._library[story.number] = []
        threading.Thread(target=_collect, args=(task, lines), daemon=True).start()


def control(end: End) -> Path:
    """The socket of the group that runs now: others there may be left of one that was killed."""
    return end.runtime / f"{IDLE}{places.CONTROL_SUFFIX}"


def _name(story: Story) -> str:
    return f"story{story.number}"


def _hung_up(reading: socket.socket) -> bool:
    poll = select.poll()
    poll.register(reading, 0)
    return bool(poll.poll(0))


def _collect(task: Task, lines: list[Line]) -> None:
    with contextlib.suppress(LabError):  # it is killed in the end
        for line in task.progress:
            lines.append(line)
