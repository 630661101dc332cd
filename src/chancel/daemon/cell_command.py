"""A command in a cell: what it gives up before it starts, and whoever waits for it.

It keeps its user, files, terminal and environment. What it has not is rights: no capability, and no
program can give it any, so it can neither leave the cell nor change what is in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from chancel import console
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

_MAX_FIRST_LINE = 256
"""What the kernel reads of a script to find its interpreter."""


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
        for each in FORWARDED:
            if callable(signal.getsignal(each)):  # ours; one that waits is the command's already
                signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        status = _execute(command.words)
    except OSError as error:
        _complain(f"the cell can't be entered: {console.explain(error)}")
    except ChancelError as error:
        _complain(str(error))
    except Exception:  # noqa: BLE001 - a defect of ours, which must not end in silence
        traceback.print_exc()
    finally:
        os._exit(status)


def _execute(words: Sequence[str]) -> int:
    """Become the program; returns the exit status that says why not, as a shell would."""
    if not words[0]:
        _complain("'': not found (expected the name of a program)")
        return NOT_FOUND
    try:
        os.execvpe(words[0], [*words], cell_view.environment(os.environ))  # noqa: S606 - asked for
    except OSError as error:
        status, reason = _why_not(words[0], error)
        _complain(f"{words[0]}: {reason}")
        return status


def _why_not(word: str, error: OSError) -> tuple[int, str]:
    """The status and the reason when ``word`` could not be run."""
    is_path = "/" in word
    places = [Path(each, word) for each in ([""] if is_path else os.get_exec_path())]
    found = next(filter(os.path.exists, places), None)  # False for what we may not see
    if found is None:
        if is_path and error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return CANNOT_RUN, str(error.strerror)  # it may well be there
        return NOT_FOUND, "not found"
    if found.is_dir():
        return CANNOT_RUN, "a directory (expected a program)"
    if error.errno == errno.ENOENT:
        return CANNOT_RUN, f"its interpreter is missing{_interpreter(found)}"
    return CANNOT_RUN, str(error.strerror)


def _interpreter(path: Path) -> str:
    """What a script names in its first line, in brackets; nothing for other programs."""
    with contextlib.suppress(OSError), path.open("rb") as script:
        line = script.readline(_MAX_FIRST_LINE)
        if line.startswith(b"#!") and (words := line[2:].split()):
            return f" ({os.fsdecode(words[0])})"
    return ""


def _give_up_rights() -> None:
    """The bounding set stays: a file with more capabilities, as ping, could not even be started."""
    linux.keep_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def _complain(problem: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens, and the status tells it too
        os.write(2, os.fsencode(f"chancel: {problem}\n"))
