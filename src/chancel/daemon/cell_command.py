"""A command in a cell: what it gives up before it starts, and whoever waits for it.

It keeps its user, files, terminal and environment. What it has not is rights: no capability, and no
program can give it any, so it can neither leave the cell nor change what is in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from chancel.daemon import cell_filter, cell_view, linux, sandbox_filter
from chancel.daemon.cell import Cell
from chancel.daemon.sandbox_filter import Program
from chancel.errors import ChancelError

CANNOT_RUN, NOT_FOUND, FAILED = 126, 127, 1
"""Exit statuses of a command that did not start; the first two as a shell has them."""

BY_SIGNAL = 128
"""Added to the signal that ended the command, as a shell does."""

FORWARDED = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What to run, and the name servers it shall ask."""

    words: Sequence[str]
    name_servers: Sequence[str]


def run(command: Command, cell: Cell, on_child: Callable[[int], None] = lambda _pid: None) -> int:
    """Run the command in the cell until it ends; returns the exit status for our own caller.

    Signals that others send us are sent on; those of a terminal reach the command anyway. What it
    leaves running stays in the cell. ``on_child`` is told of every other child of ours that ended.
    Raises :class:`MachineError` without libseccomp.
    """
    calls = cell_filter.program()
    awaited = {*FORWARDED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _become(command, cell, calls, before)
        while True:
            arrived = signal.sigwaitinfo(awaited)
            if arrived.si_signo == signal.SIGCHLD:
                for ended, status in _reap():
                    if ended == pid:
                        return _exit_status(status)
                    on_child(ended)
            elif arrived.si_code <= 0:  # of a process; the kernel's own are positive
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, arrived.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reap() -> list[tuple[int, int]]:
    """The children that have ended: several may share one signal."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended.append((pid, status))
    return ended


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return BY_SIGNAL - code if code < 0 else code


def _become(
    command: Command, cell: Cell, calls: Program, signals: set[int | signal.Signals]
) -> NoReturn:
    """Be the command. Never returns."""
    status = FAILED
    try:
        cell.enter()
        cell_view.build(command.name_servers, os.environ)
        _give_up_rights()
        sandbox_filter.load(calls)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        status = _execute(command.words)
    except OSError as error:
        _complain(f"{error.filename or 'the cell'}: {error.strerror}")
    except ChancelError as error:
        _complain(str(error))
    finally:
        os._exit(status)


def _execute(words: Sequence[str]) -> int:
    """Become the program; returns the exit status that says why not."""
    try:
        os.execvpe(words[0], [*words], cell_view.environment(os.environ))  # noqa: S606 - asked for
    except OSError as error:
        is_missing = error.errno == errno.ENOENT or shutil.which(words[0], os.F_OK) is None
        _complain(f"{words[0]}: {'not found' if is_missing else error.strerror}")
        return NOT_FOUND if is_missing else CANNOT_RUN


def _give_up_rights() -> None:
    """The bounding set stays: a file with more capabilities, as ping, could not even be started."""
    linux.keep_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def _complain(problem: str) -> None:
    os.write(2, f"chancel: {problem}\n".encode())
