"""What every guardian does, whatever its group carries: tunnels (``guardian``) or a cathedral.

It hears signals and deaths, answers what users asked of control, and undoes the group at the end.
The group ends with status 0 on a signal (TERM, INT, QUIT, HUP) and with 1 when a process dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from chancel.crypto.system import SystemSuite
from chancel.daemon import ctl_socket, image, logs, privileges, sandbox
from chancel.daemon.child import GUARDIANS_SIGNALS, Make
from chancel.daemon.group import STOP_LIMIT_S, Group, GroupBroken, Interrupted, Message
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.loop import Loop
from chancel.daemon.notify import READY, STOPPING, notify
from chancel.daemon.privileges import Identity
from chancel.daemon.sandbox import GUARDIANS_RIGHTS, Plan
from chancel.daemon.topology import GUARDIAN
from chancel.daemon.trace import make_channel
from chancel.errors import ChancelError, LocalProtocolError

TOLD_INTERVAL_S = 60.0
"""What users can ask for without end is told at most once in this time."""

log = logging.getLogger("chancel.daemon")


class NamesUsers(Protocol):
    """A configuration with ``run`` lines."""

    @property
    def run_as(self) -> Mapping[str, str]:
        """The user of each process that has such a line."""
        ...


def warm_up() -> None:
    """What the libraries set up when they are first used, all processes share if that is before
    the fork.
    """
    suite = SystemSuite()
    suite.kmac256(bytes(32), b"", 32, b"")
    suite.aead(bytes(32)).encrypt(bytes(12), b"", b"")


def users_of(configs: Iterable[NamesUsers], duties: Mapping[str, Make]) -> dict[str, Identity]:
    """The users that the ``run`` lines name, as far as this user namespace knows them."""
    named = {name: user for each in configs for name, user in each.run_as.items() if name in duties}
    users = {name: found for name, user in named.items() if (found := privileges.identity(user))}
    if len(users) < len(named):
        log.warning("the users of the run lines can't be had here: all processes keep ours")
        return {}
    return users


@contextlib.contextmanager
def hearing_signals() -> Iterator[socket.socket]:
    """Signals as bytes on a socket, so that one loop waits for everything."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in GUARDIANS_SIGNALS}
    wakeup = signal.set_wakeup_fd(writing.fileno())
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()


class Guarding:
    """Base of the guardians."""

    requests = "stop, or trace"
    """What users may ask for, in words."""

    def __init__(self, group: Group, runtime_dir: Path, signals: socket.socket, plan: Plan) -> None:
        self._group = group
        self._plan = plan
        self._runtime_dir = runtime_dir
        self._signals = signals
        self._loop = Loop()
        self._metrics: Path | None = None
        self._told = logs.RateLimit(TOLD_INTERVAL_S)

    def live(
        self,
        start: Callable[[], None],
        up: Callable[[], None],
        rights: frozenset[int] = GUARDIANS_RIGHTS,
    ) -> int:
        """Serve a group that was just forked to its end; returns the exit status.

        ``start`` gives the group what it carries, then ``up`` is called. Of its capabilities the
        guardian keeps ``rights``. Raises :class:`ChancelError` when the group never got that far.
        """
        try:
            self._group.wait_ready()
            start()
            sandbox.confine_guardian(self._plan, self._group.programs.get(GUARDIAN), rights)
            notify(READY)
            up()
            image.rest()
            return self.serve()
        except Interrupted:
            return 0
        finally:
            notify(STOPPING)
            self._group.end(STOP_LIMIT_S)
            self.close()

    def introduce(self, instance: str, about: Message | None = None) -> None:
        """Tell control of the group, with what else there is to tell about it, and open its
        metrics. Raises :class:`ChancelError`.
        """
        self._metrics, metrics = ctl_socket.open_metrics(self._runtime_dir, instance)
        self._group.tell_control(
            {
                "group": {
                    "pid": os.getpid(),
                    "metrics": str(self._metrics),
                    "started_wall": time.time(),
                    "processes": {name: child.pid for name, child in self._group.children.items()},
                    **self._plan.in_force(),
                    **(about or {}),
                },
                "uid": os.geteuid(),
            },
            [metrics.fileno()],
        )
        metrics.close()

    def serve(self) -> int:
        """Until a signal says stop, or a process ends; returns the exit status."""
        if (syslog := logs.connection()) is not None:
            syslog.watch(self._loop)
        self._loop.add(self._signals, self._loop.stop)
        for child in self._group.children.values():
            self._loop.add(child.pidfd, self._group.check)
        self._loop.add(self._group.children["control"].link, self._answer)
        for listener in self._group.watch.listeners:
            self._loop.add(listener, partial(self._group.watch.answer, listener))
        try:
            self._answer()  # what came while the group was given what it carries
            self._loop.run(self.wake_at, self.wake)
        except (GroupBroken, NeighbourLied) as broken:
            log.error("%s", broken)
            self._group.end(0.0)
            return 1
        return 0

    def wake_at(self) -> float | None:
        """When :meth:`wake` is due, monotonic seconds."""
        return None

    def wake(self, now: float) -> None:
        """That time has come."""

    def close(self) -> None:
        """Undo what is left, once the processes are gone."""
        if self._metrics is not None:
            ctl_socket.remove(self._metrics)

    def _answer(self) -> None:
        """Carry out what users asked of control."""
        control = self._group.children["control"]
        control.receive()
        while (received := control.take("request")) is not None:
            request, fds = received
            answer = {"answer": request.get("id"), "ok": True}
            results: list[int] = []
            try:
                results = self._obey(request, fds)
            except (GroupBroken, Interrupted):
                raise
            except ChancelError as error:
                answer |= {"ok": False, "error": str(error)}
            finally:
                for fd in fds:
                    os.close(fd)
            self._group.tell_control(answer, results)
            for fd in results:
                os.close(fd)

    def _obey(self, request: Message, _fds: list[int]) -> list[int]:
        """Returns the descriptors that go with the answer. Raises :class:`ChancelError`."""
        match request:
            case {"request": "stop"}:
                self._loop.stop()
            case {"request": "trace"}:
                return [self._trace()]
            case _:
                raise LocalProtocolError(f"expected {self.requests}")
        return []

    def _trace(self) -> int:
        """Have each process tell what it does; returns the descriptor to read that from."""
        reading, writing = make_channel()
        # Control carries nothing, and sees what it tells in the boards.
        traced = [name for name in self._group.topology.duties if name != "control"]
        with reading, writing:
            self._group.trace(traced, writing.fileno())
            self._told.log(log, logging.INFO, "trace", time.monotonic(), "trace began")
            return reading.detach()
