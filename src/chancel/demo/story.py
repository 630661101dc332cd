"""The story of a parish, act by act; the first act that fails ends it with a sentence that says
why."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from chancel.daemon import places
from chancel.demo import picture, screen, watching
from chancel.demo.parish import Cathedral, Device, Parish, Plan, Seat
from chancel.demo.timeline import Keys, Mood, State, Timeline
from chancel.demo.watching import Watcher
from chancel.errors import ChancelError
from chancel.lab.bulk import PORT, BulkResult
from chancel.lab.lab import Lab, Task
from chancel.sim.nat import NAT_TYPES

CATHEDRAL = (sys.executable, "-m", "chancel.cli.main", "run")
DEVICE = (sys.executable, "-m", "chancel.demo.hurry")

UNPRIVILEGED_USER = "nobody"
"""Whom the daemons' processes become when the real root runs the demonstration."""

LIMIT_S = 60.0
"""Each act takes a few seconds, at most half a minute; a busy machine gets its time."""

LOOK_INTERVAL_S = 0.02
LOG_TAIL_LINES = 3

HOME_ROUTER = NAT_TYPES["port-restricted"]
PLAN = Plan(
    cathedrals=2, nats=(HOME_ROUTER, HOME_ROUTER), near=(0, 1), mtu="auto", remembrance=True
)

T = TypeVar("T")


class DemoError(ChancelError):
    """An act failed; the message says which and how."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long some acts last, in seconds; others take their time."""

    transfer: float = 70.0
    direct: float = 4.0
    one_left: float = 4.0
    none_left: float = 4.0


def run(out: Path, pace: Pace | None = None) -> None:
    """Perform it, show it, leave ``out/demo.svg``. Raises DemoError, LabError or OSError."""
    with _folder() as folder, Lab() as lab:
        print("making keys, and ambries for all pairs of 255 devices")
        user = UNPRIVILEGED_USER if places.is_machine_root() else None
        parish = Parish(lab, folder, PLAN, user=user)
        timeline = Timeline()
        story = Story(timeline, parish, pace or Pace())
        with screen.shown(timeline, partial(watching.status, parish.left)):
            summary = story.tell()
    out.mkdir(parents=True, exist_ok=True)
    target = out / "demo.svg"
    target.write_text(picture.draw(timeline))
    print("\n".join((*summary, f"picture: {target}")))


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A short path, since those of sockets are bounded; other users may pass through, not look."""
    folder = Path(tempfile.mkdtemp(prefix="chancel-demo-"))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder)


class Story:
    """What happens, in order. One use."""

    def __init__(self, timeline: Timeline, parish: Parish, pace: Pace) -> None:
        self._timeline = timeline
        self._parish = parish
        self._pace = pace
        self._watcher = Watcher(timeline)
        self._daemons: dict[Seat, subprocess.Popen[bytes]] = {}
        self._moments: dict[str, float] = {}
        for seat in parish.seats:
            timeline.lanes[seat.name] = []

    def tell(self) -> list[str]:
        """Perform all acts; returns the summary."""
        east, west = self._parish.cathedrals
        try:
            self._come_up()
            transfer = self._start_transfer()
            self._become_direct()
            self._lose(east, "it")
            self._wait(self._pace.one_left)
            self._lose(west, "all of them")
            self._renew_keys()
            self._wait(self._pace.none_left)
            self._bring_back(west)
            result = self._end_transfer(*transfer)
            return self._summary(result)
        finally:
            self._watcher.close()

    def _come_up(self) -> None:
        left, right = self._parish.devices
        for cathedral in self._parish.cathedrals:
            self._start(cathedral, CATHEDRAL)
        self._timeline.note("two cathedrals started")
        for cathedral in self._parish.cathedrals:
            listens = partial(cathedral.listens, self._daemons[cathedral])
            self._until(listens, f"{cathedral.name} does not listen")
        for device in (left, right):
            self._start(device, DEVICE)
        started_at = self._timeline.note("two devices started")
        self._watcher.ping(left, right)
        self._watcher.paths(self._parish)
        self._watcher.keys(self._parish)
        up_at = self._answered(started_at, "no ping came through the tunnel")
        self._note("up", "tunnel up", up_at)

    def _start_transfer(self) -> tuple[Task, Task, threading.Thread]:
        left, right = self._parish.devices
        with_digest = True
        receiving = right.host.start("chancel.lab.bulk:receive", right.inner, PORT, with_digest)
        self._watcher.on_sample(next(receiving.progress))
        shape = right.inner, PORT, self._pace.transfer, None, with_digest
        sending = left.host.start("chancel.lab.bulk:send", *shape)
        begun = self._timeline.note("bulk transfer starts")
        watcher = self._watcher.follow(receiving, self._watcher.on_sample)
        self._moved(begun, "no bulk data came through the tunnel")
        return sending, receiving, watcher

    def _become_direct(self) -> None:
        names = [device.name for device in self._parish.devices]
        self._until(
            lambda: all(self._timeline.state(name) is State.DIRECT for name in names),
            "the devices did not find a direct path",
        )
        self._note("direct", "peer to peer")
        self._wait(self._pace.direct)

    def _lose(self, cathedral: Cathedral, what: str) -> None:
        daemon = self._daemons.pop(cathedral)
        daemon.kill()
        daemon.wait()
        self._timeline.enter(cathedral.name, State.DEAD)
        left_over = "" if self._parish.cathedrals[0] is cathedral else ": none is left"
        killed_at = self._timeline.note(f"{cathedral.name} killed{left_over}", Mood.BAD)
        self._moments[cathedral.name] = killed_at
        self._answered(killed_at, f"no ping came through the tunnel without {what}")
        self._moved(killed_at, f"no bulk data came through the tunnel without {what}")

    def _renew_keys(self) -> None:
        """Each device has keys that were made after the last cathedral's death."""
        since = self._timeline.now()
        rekeyed_at = self._rekeyed(since, Keys.EXCHANGE, "made no new keys without cathedrals")
        self._note("rekeyed", "new keys, without a cathedral", rekeyed_at)

    def _bring_back(self, cathedral: Cathedral) -> None:
        """A cathedral is back, with a new bundle: both devices take their ambry from it."""
        generation = self._parish.roll()
        since = self._timeline.now()
        self._start(cathedral, CATHEDRAL)
        self._timeline.note(f"{cathedral.name} back, with new ambries")
        rolled_at = self._rekeyed(since, Keys.AMBRY, "took no new secret")
        if len({watching.fingerprint(device) for device in self._parish.devices}) != 1:
            raise DemoError("the devices took different secrets from one bundle")
        self._note("rolled", f"new secret, generation {generation:x}", rolled_at)
        self._rekeyed(rolled_at, Keys.EXCHANGE, "made no keys from the new secret")
        self._answered(self._timeline.now(), "no ping came through the tunnel with the new secret")

    def _rekeyed(self, since: float, kind: Keys, failure: str) -> float:
        """Wait for new keys of both devices; returns when the second had them."""
        find = self._timeline.rekeyed_since
        return max(
            self._until(partial(find, since, device.name, kind), f"{device.name} {failure}").at_s
            for device in self._parish.devices
        )

    def _end_transfer(
        self, sending: Task, receiving: Task, watcher: threading.Thread
    ) -> BulkResult:
        self._until(
            lambda: sending.program.poll() is not None and not watcher.is_alive(),
            "the bulk transfer did not end",
            self._pace.transfer + LIMIT_S,
        )
        sent: BulkResult = sending.result()
        received: BulkResult = receiving.result()
        if (sent["bytes"], sent["sha256"]) != (received["bytes"], received["sha256"]):
            raise DemoError("the bulk data arrived damaged: the two ends' SHA-256 differ")
        self._timeline.note("every byte arrived", Mood.GOOD)
        return received

    def _summary(self, result: BulkResult) -> list[str]:
        timeline, moments = self._timeline, self._moments
        answered = sum(echo.rtt_s is not None for echo in timeline.echoes)
        status = watching.status(self._parish.left) or {}
        west = self._parish.cathedrals[1].name
        return [
            f"tunnel: up {moments['up']:.1f} s after the start, peer to peer after"
            f" {moments['direct']:.1f} s; keys: {status.get('post_quantum')}",
            f"ping:   {answered} of {len(timeline.echoes)} answered,"
            f" median {(timeline.median_rtt_s() or 0.0) * 1e3:.1f} ms",
            f"bulk:   {result['bytes'] / 1e6:.0f} MB, median {timeline.median_mbit_s():.0f} Mbit/s;"
            " SHA-256 equal at both ends",
            f"alone:  no cathedral since {moments[west]:.1f} s, new keys all the same at"
            f" {moments['rekeyed']:.1f} s",
            f"ambry:  {west} back, a new secret on both devices at {moments['rolled']:.1f} s",
        ]

    def _start(self, seat: Seat, command: Sequence[str]) -> None:
        self._daemons[seat] = seat.start(command)
        if not isinstance(seat, Device):
            self._timeline.enter(seat.name, State.ALIVE)

    def _note(self, moment: str, label: str, at_s: float | None = None) -> None:
        self._moments[moment] = self._timeline.note(label, Mood.GOOD, at_s)

    def _answered(self, moment: float, failure: str) -> float:
        found = self._until(lambda: self._timeline.answered_since(moment), failure)
        return found.answered_s

    def _moved(self, moment: float, failure: str) -> None:
        self._until(lambda: self._timeline.moved_since(moment), failure)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._check()
            time.sleep(LOOK_INTERVAL_S)

    def _until(self, reached: Callable[[], T | None], failure: str, limit_s: float = LIMIT_S) -> T:
        """Wait for something, and return it; ``failure`` says what it means when it never comes."""
        end = time.monotonic() + limit_s
        while not (found := reached()):
            if time.monotonic() > end:
                raise DemoError(f"{failure} within {limit_s:.0f} s; {self._last_words()}")
            self._check()
            time.sleep(LOOK_INTERVAL_S)
        return found

    def _check(self) -> None:
        if self._watcher.broken:
            raise self._watcher.broken[0]
        for seat, daemon in self._daemons.items():
            if daemon.poll() is not None:
                status = daemon.returncode
                raise DemoError(f"the daemon on {seat.name} ended ({status}); {self._last_words()}")

    def _last_words(self) -> str:
        words = []
        for seat in self._parish.seats:
            log = seat.log.read_text(errors="replace") if seat.log.exists() else ""
            lines = log.splitlines()[-LOG_TAIL_LINES:]
            words.append(f"{seat.name} said last: {' / '.join(lines) or 'nothing'}")
        return "; ".join(words)
