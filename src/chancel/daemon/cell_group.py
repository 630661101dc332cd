"""The group beside one command: carried by a child of ours, in a cell that is the command's alone.

The child has a session of its own, so that a terminal's signals don't end it before the command,
and ends with us whatever happens to us: the kernel sends it SIGTERM then, so that it takes its
sockets and files away. SIGKILL would leave them. What a stopped child carries meanwhile is the
tunnel, never anything else; and when the child dies, its own processes are killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from chancel.daemon import cell, linux
from chancel.daemon.cell import Cell
from chancel.daemon.job import Job
from chancel.daemon.link import MessageLink, make_link
from chancel.daemon.linux import MachineError
from chancel.errors import LinkClosed

END_LIMIT_S = 5.0


class CellGroup:
    """A group with one tunnel. ``log`` is where its processes write theirs, a descriptor."""

    def __init__(self, file: Path, runtime_dir: Path, log: int) -> None:
        """Returns when the tunnel is there. Raises :class:`MachineError`."""
        ours, theirs = make_link()
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or both would write it
        self.pid = os.fork()
        if self.pid == 0:
            _be_group(file, runtime_dir, log, theirs, parent)
        self._pidfd = os.pidfd_open(self.pid)
        theirs.close()
        with ours:
            try:
                self.cell = self._wait_up(MessageLink(ours))
            except BaseException:  # an interrupt, too
                self._stop()
                raise

    def end(self) -> None:
        """Stop it, and wait until nothing of it is left."""
        self.cell.close()
        self._stop()

    def _stop(self) -> None:
        self._signal(signal.SIGTERM)
        if not select.select([self._pidfd], [], [], END_LIMIT_S)[0]:
            self._signal(signal.SIGKILL)
        self._reap()

    def _wait_up(self, link: MessageLink) -> Cell:
        try:
            received = link.receive(blocking=True)
        except LinkClosed as error:
            raise MachineError("the tunnel's processes ended while they started") from error
        assert received is not None, "a blocking receive returns a message"
        message, fds = received
        if "error" in message:
            raise MachineError(message["error"])
        return cell.received(fds)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):  # whoever waits for the command did it
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)


def _be_group(
    file: Path, runtime_dir: Path, log: int, link: socket.socket, parent: int
) -> NoReturn:
    """Be the guardian. Never returns."""
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == parent:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for standard, target in enumerate((null, log, log)):
                os.dup2(target, standard)
            Job((file,), runtime_dir, own_network=True, report=link.fileno()).start()
    finally:
        os._exit(1)
