"""The demonstration, act by act; the first act that fails ends it with a sentence that says why."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chancel.demo import ends, picture, screen
from chancel.demo.ends import End
from chancel.demo.timeline import Echo, Flow, Mood, Timeline
from chancel.errors import ChancelError
from chancel.lab.bulk import PORT, BulkResult
from chancel.lab.lab import Lab, Task
from chancel.lab.namespace import LabError

UP_LIMIT_S = 20.0
"""A new tunnel takes two to four seconds; a busy machine gets its time."""

BACK_LIMIT_S = 25.0
"""After a crash the keys are made anew, and TCP waits up to as long again as the gap was."""

PING_INTERVAL_S = 0.1
PING_SIZE = 56
PING_PATIENCE_S = 0.5
ENDLESS = 1_000_000
LOOK_INTERVAL_S = 0.02
LOG_TAIL_LINES = 3


T = TypeVar("T")


class DemoError(ChancelError):
    """An act failed; the message says which and how."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the acts last, in seconds."""

    before_crash: float = 7.0
    dead: float = 1.0
    transfer: float = 22.0


def run(out: Path, pace: Pace | None = None) -> None:
    """Perform it, show it, leave ``out/demo.svg``. Raises DemoError, LabError or OSError."""
    with _folder() as folder, Lab() as lab:
        a, b = ends.build(lab, folder)
        timeline = Timeline()
        with screen.shown(timeline, a.status):
            summary = _Story(timeline, a, b, pace or Pace()).tell()
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


class _Story:
    """What happens, in order: ``a`` sends, ``b`` crashes. One use."""

    def __init__(self, timeline: Timeline, a: End, b: End, pace: Pace) -> None:
        self._timeline = timeline
        self._a, self._b = a, b
        self._pace = pace
        self._daemons: dict[str, tuple[End, subprocess.Popen[bytes]]] = {}
        self._broken: list[LabError] = []

    def tell(self) -> list[str]:
        """Perform all acts; returns the summary."""
        self._come_up()
        transfer = self._start_transfer()
        self._wait(self._pace.before_crash)
        dead_at = self._crash()
        back_at = self._come_back(dead_at + self._pace.dead)
        result = self._end_transfer(*transfer)
        return self._summary(result, dead_at, back_at)

    def _come_up(self) -> None:
        for name, end in (("a", self._a), ("b", self._b)):
            self._daemons[name] = end, end.start()
        self._timeline.note("both daemons started")
        shape = ENDLESS, PING_INTERVAL_S, PING_SIZE, True, PING_PATIENCE_S
        pinging = self._a.host.start("chancel.lab.ping:ping", self._b.inner, *shape)
        self._watch(pinging, self._on_echo)
        first = self._until(
            lambda: self._timeline.answered_since(0.0),
            UP_LIMIT_S,
            "no ping came through the tunnel",
        )
        self._timeline.note("tunnel up", Mood.GOOD, first.answered_s)

    def _start_transfer(self) -> tuple[Task, Task, threading.Thread]:
        target, with_digest = self._b.inner, True
        receiving = self._b.host.start("chancel.lab.bulk:receive", target, PORT, with_digest)
        self._on_sample(next(receiving.progress))
        sending = self._a.host.start(
            "chancel.lab.bulk:send", target, PORT, self._pace.transfer, None, with_digest
        )
        begun = self._timeline.note("bulk transfer starts")
        watcher = self._watch(receiving, self._on_sample)
        self._until(
            lambda: self._timeline.moved_since(begun),
            UP_LIMIT_S,
            "no bulk data came through the tunnel",
        )
        return sending, receiving, watcher

    def _crash(self) -> float:
        _, daemon = self._daemons.pop("b")
        dead_at = self._timeline.note("b killed", Mood.BAD)
        daemon.kill()
        daemon.wait()
        self._wait(self._pace.dead)
        self._daemons["b"] = self._b, self._b.start()
        self._timeline.note("b started again")
        return dead_at

    def _come_back(self, started_at: float) -> float:
        echo = self._until(
            lambda: self._timeline.answered_since(started_at),
            BACK_LIMIT_S,
            "no ping came through the tunnel after the crash",
        )
        self._timeline.note("tunnel back", Mood.GOOD, echo.answered_s)
        flow = self._until(
            lambda: self._timeline.moved_since(started_at),
            BACK_LIMIT_S,
            "the bulk transfer did not go on after the crash",
        )
        self._timeline.note("transfer goes on", Mood.GOOD, flow.from_s)
        return echo.answered_s

    def _end_transfer(
        self, sending: Task, receiving: Task, watcher: threading.Thread
    ) -> BulkResult:
        self._until(
            lambda: sending.program.poll() is not None and not watcher.is_alive(),
            self._pace.transfer + BACK_LIMIT_S,
            "the bulk transfer did not end",
        )
        sent: BulkResult = sending.result()
        received: BulkResult = receiving.result()
        if (sent["bytes"], sent["sha256"]) != (received["bytes"], received["sha256"]):
            raise DemoError("the bulk data arrived damaged: the two ends' SHA-256 differ")
        self._timeline.note("every byte arrived", Mood.GOOD)
        return received

    def _summary(self, result: BulkResult, dead_at: float, back_at: float) -> list[str]:
        timeline = self._timeline
        up = next(event for event in timeline.events if event.mood is Mood.GOOD)
        answered = sum(echo.rtt_s is not None for echo in timeline.echoes)
        status = self._a.status() or {}
        return [
            f"tunnel: up {up.at_s:.1f} s after the start; keys: {status.get('post_quantum')}",
            f"ping:   {answered} of {len(timeline.echoes)} answered,"
            f" median {(timeline.median_rtt_s() or 0.0) * 1e3:.1f} ms",
            f"bulk:   {result['bytes'] / 1e6:.0f} MB, median {timeline.median_mbit_s():.0f} Mbit/s;"
            " SHA-256 equal at both ends",
            f"crash:  b killed at {dead_at:.1f} s, answers again {back_at - dead_at:.1f} s later",
        ]

    def _watch(self, task: Task, handler: Callable[[Any], None]) -> threading.Thread:
        """Hand all progress of a task to ``handler``, until the lab is over."""

        def read() -> None:
            try:
                for value in task.progress:
                    handler(value)
            except LabError as error:
                self._broken.append(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def _on_echo(self, echo: dict[str, Any]) -> None:
        self._timeline.echoes.append(Echo(echo["sent_at"] - self._timeline.start, echo["rtt_s"]))

    def _on_sample(self, sample: dict[str, Any]) -> None:
        timeline = self._timeline
        until = sample["at"] - timeline.start
        since = timeline.flows[-1].to_s if timeline.flows else until
        timeline.flows.append(Flow(since, until, sample["bytes"]))

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._check()
            time.sleep(LOOK_INTERVAL_S)

    def _until(self, reached: Callable[[], T | None], limit_s: float, failure: str) -> T:
        """Wait for something, and return it; ``failure`` says what it means when it never comes."""
        end = time.monotonic() + limit_s
        while not (found := reached()):
            if time.monotonic() > end:
                raise DemoError(f"{failure} within {limit_s:.0f} s; {self._last_words()}")
            self._check()
            time.sleep(LOOK_INTERVAL_S)
        return found

    def _check(self) -> None:
        if self._broken:
            raise self._broken[0]
        for name, (_, daemon) in self._daemons.items():
            if daemon.poll() is not None:
                status = daemon.returncode
                raise DemoError(f"the daemon on {name} ended ({status}); {self._last_words()}")

    def _last_words(self) -> str:
        words = []
        for name, end in (("a", self._a), ("b", self._b)):
            lines = end.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            words.append(f"{name} said last: {' / '.join(lines) or 'nothing'}")
        return "; ".join(words)
