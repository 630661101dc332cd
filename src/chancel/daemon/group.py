"""The guardian's side of its children: starting, instructing and ending them."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from chancel.daemon import child, logs, sandbox
from chancel.daemon.bell import Bell
from chancel.daemon.board import BoardReader
from chancel.daemon.child import Make
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.link import MessageLink
from chancel.daemon.privileges import Identity
from chancel.daemon.sandbox import Plan
from chancel.daemon.sandbox_mode import Sandbox
from chancel.daemon.sandbox_watch import Watch
from chancel.daemon.topology import GUARDIAN, End, Topology, Wiring
from chancel.errors import ChancelError, LinkClosed, LocalProtocolError

START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 30.0
"""Generous: a machine that was paused for seconds is no broken group."""
TRACE_LIMIT_S = 2.0
"""A trace can do without an answer, and shorter than a client waits for its own."""
STOP_LIMIT_S = 2.0
HUNG_UP_LIMIT_S = 5.0

MAX_INBOX = 64
"""What a process may say before anybody looks: more than control ever has under way."""

Message = dict[str, Any]

_WITH_DESCRIPTORS = frozenset({"request", "listener"})

log = logging.getLogger("chancel.daemon")


class GroupBroken(ChancelError):  # noqa: N818 - a state more than an error
    """A process of the group has ended or fallen silent; the group can't go on."""


class Interrupted(ChancelError):  # noqa: N818 - as above
    """A signal says that the group shall end, while something else was waited for."""


class Child:
    """One process: its duty, its pid, and the link to it."""

    def __init__(self, name: str, pid: int, link: MessageLink) -> None:
        self.name = name
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.link = link
        self.inbox: deque[tuple[Message, list[int]]] = deque()
        """What it said of its own accord while an answer was waited for."""
        self.is_silent = False
        """Whether it has yet to answer to the last trace."""

    def receive(self) -> None:
        """Move what waits on the link to the inbox. Raises :class:`GroupBroken`."""
        try:
            while (received := self.link.receive()) is not None:
                self._keep(*received)
        except NeighbourLied as lie:
            raise GroupBroken(f"{self.name} lies: {lie}") from lie
        except LinkClosed as closed:
            # Its pidfd tells the end, with the reason, and hardly later.
            if not _has_ended(self.pidfd, HUNG_UP_LIMIT_S):
                raise GroupBroken(f"{self.name} hung up") from closed

    def _keep(self, message: Message, fds: list[int]) -> None:
        if not message.keys() & _WITH_DESCRIPTORS:
            for fd in fds:
                os.close(fd)
            fds = []
        self.inbox.append((message, fds))
        if len(self.inbox) > MAX_INBOX:
            raise GroupBroken(f"{self.name} says more than it is asked for")

    def take(self, key: str) -> tuple[Message, list[int]] | None:
        """The first message in the inbox that has this key, and the descriptors with it."""
        for entry in self.inbox:
            if key in entry[0]:
                self.inbox.remove(entry)
                return entry
        return None


class Group:
    """All children. The guardian finds its ``bell`` and the ``boards`` that it reads here, too, and
    the filters of all processes in ``programs``.

    ``watch`` has something to hear in the sandbox's mode ``log`` alone. Nothing here waits any
    longer once ``signals`` is readable.
    """

    def __init__(
        self,
        topology: Topology,
        makers: Mapping[str, Make],
        users: Mapping[str, Identity],
        plan: Plan,
        signals: socket.socket,
    ) -> None:
        """Fork one process for each duty of the mode. Raises :class:`ChancelError`."""
        self.topology = topology
        self._plan = plan
        self._signals = signals
        wiring = Wiring.make(topology)
        guardian = os.getpid()
        sys.stdout.flush()  # or each child would write it once more
        self.children: dict[str, Child] = {}
        self.watch = Watch()
        syslog = {End.SYSLOG: tuple(logs.descriptors())}
        ends = {name: {**wiring.ends(name), **syslog} for name in topology.duties}
        self.programs = sandbox.programs(plan, ends)
        with child.deaf():
            for name in topology.duties:
                pid = os.fork()
                if pid == 0:
                    user, program = users.get(name), self.programs.get(name)
                    child.run(name, wiring, makers[name], user, plan, program, guardian)
                ours = wiring.guardian_links[name][0]
                ours.setblocking(False)
                link = MessageLink(ours)
                self.children[name] = Child(name, pid, link)
        self.bell: Bell = wiring.bells[GUARDIAN]
        self.boards: dict[str, BoardReader[Any]] = {
            board: BoardReader(wiring.boards[board], spec.record)
            for board, spec in topology.boards.items()
            if GUARDIAN in spec.readers
        }
        _close_for_good(wiring)

    def record(self, board: str, tunnel: int) -> Any:
        """What a board says of a tunnel now; ``None`` before it says anything, and in a mode that
        has no such board. Raises :class:`NeighbourLied`."""
        reader = self.boards.get(board)
        entry = reader.read(tunnel) if reader else None
        return entry.record if entry else None

    def wait_ready(self) -> None:
        """Wait until all have given up their privileges and listen.

        Raises :class:`GroupBroken` and :class:`Interrupted`.
        """
        for name, process in self.children.items():
            self._wait_for(process, "ready", START_LIMIT_S)
            log.info("started %s (pid=%d)", name, process.pid)

    def tell(self, name: str, message: Message, fds: Sequence[int] = ()) -> None:
        """Give an order and wait until it was carried out.

        Raises :class:`GroupBroken` and :class:`Interrupted`.
        """
        self.order(name, message, fds)
        self._wait_for(self.children[name], "done", ANSWER_LIMIT_S)

    def order(self, name: str, message: Message, fds: Sequence[int] = ()) -> None:
        """Give an order. Raises :class:`GroupBroken`."""
        try:
            self.children[name].link.send(message, fds)
        except LinkClosed as error:
            self.check()
            raise GroupBroken(f"{name} does not listen") from error

    def trace(self, names: Sequence[str], fd: int) -> None:
        """Have processes write to ``fd`` what they do. Others wait meanwhile, so not for long.

        Raises :class:`LocalProtocolError` where one doesn't answer, and as :meth:`tell` does.
        """
        processes = [self.children[name] for name in names]
        for process in processes:
            process.receive()
            process.is_silent &= process.take("tracing") is None
        _refuse_silent(processes)
        for process in processes:
            self.order(process.name, {"do": "trace"}, [fd])
        deadline = time.monotonic() + TRACE_LIMIT_S
        for process in processes:
            left_s = max(0.0, deadline - time.monotonic())
            process.is_silent = not self._hears(process, "tracing", left_s)
        _refuse_silent(processes)

    def tell_control(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Tell control something that needs no confirmation."""
        with contextlib.suppress(LinkClosed):  # its pidfd tells the end, with the reason
            self.children["control"].link.send(message, fds)

    def check(self) -> None:
        """Raise :class:`GroupBroken` if a process has ended; it names each of them."""
        ended = [process for process in self.children.values() if _has_ended(process.pidfd)]
        if ended:
            raise GroupBroken(
                ", ".join(f"{process.name} {_obituary(process)}" for process in ended)
            )

    def end(self, grace_s: float) -> None:
        """Ask all to stop, kill what is left after ``grace_s``, and wait for the last."""
        self.watch.close()
        for process in self.children.values():
            with contextlib.suppress(LinkClosed):
                process.link.send({"do": "stop"})
        deadline = time.monotonic() + grace_s
        for process in self.children.values():
            if not _has_ended(process.pidfd, max(0.0, deadline - time.monotonic())):
                signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
        for process in self.children.values():
            with contextlib.suppress(ChildProcessError):  # its obituary was read already
                os.waitpid(process.pid, 0)
            os.close(process.pidfd)
            process.link.close()
        self.children.clear()

    def _wait_for(self, process: Child, key: str, limit_s: float) -> None:
        if not self._hears(process, key, limit_s):
            raise GroupBroken(f"{process.name} does not answer")

    def _hears(self, process: Child, key: str, limit_s: float) -> bool:
        """Wait for a message with this key; whether it came in time."""
        deadline = time.monotonic() + limit_s
        poll = select.poll()
        poll.register(process.link.fileno(), select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        for other in self.children.values():
            poll.register(other.pidfd, select.POLLIN)
        for listener in self.watch.listeners:
            poll.register(listener, select.POLLIN)
        while True:
            process.receive()
            if (sent := process.take("listener")) is not None:
                self._listen(process, sent[1], poll)
            if process.take(key) is not None:
                return True
            self.check()
            if time.monotonic() > deadline:
                return False
            for fd, _ in poll.poll(1000 * max(0.0, deadline - time.monotonic())):
                if fd == self._signals.fileno():
                    raise Interrupted(f"told to end while {process.name} was waited for")
                if fd in self.watch.listeners:
                    self.watch.answer(fd)

    def _listen(self, process: Child, fds: list[int], poll: select.poll) -> None:
        """Take the listener for a process's calls, in the mode in which each has one."""
        if self._plan.mode is not Sandbox.LOG or len(fds) != 1:
            raise GroupBroken(f"{process.name} lies: nobody asked it for a listener")
        self.watch.add(fds[0], process.name)
        poll.register(fds[0], select.POLLIN)


def _refuse_silent(processes: Sequence[Child]) -> None:
    """Raise :class:`LocalProtocolError` if one of them owes the answer to a trace."""
    silent = ", ".join(process.name for process in processes if process.is_silent)
    if silent:
        raise LocalProtocolError(f"{silent} does not answer (expected no stopped process)")


def _has_ended(pidfd: int, wait_s: float = 0.0) -> bool:
    poll = select.poll()  # select(2) refuses descriptors from 1024 on
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(1000 * wait_s))


def _obituary(process: Child) -> str:
    _pid, status = os.waitpid(process.pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        reason = ": a system call outside of its list" if number == signal.SIGSYS else ""
        return f"exited (signal {number}{reason})"
    return f"exited (status {os.WEXITSTATUS(status)})"


def _close_for_good(wiring: Wiring) -> None:
    """Close the guardian's copies, so that an end of the wiring closes when its owner dies."""
    for lane in wiring.lanes.values():
        os.close(lane.memory)
        lane.writer.close()
        lane.reader.close()
    for ends in wiring.key_links.values():
        for end in ends:
            end.close()
    for _ours, theirs in wiring.guardian_links.values():
        theirs.close()
    for memory in wiring.boards.values():
        os.close(memory)
    for name, bell in wiring.bells.items():
        if name != GUARDIAN:
            bell.close()
