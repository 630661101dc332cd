"""Run a program inside a host of the lab: ``python -m chancel.lab.enter PARENT FDS -- PROGRAM
ARGS``.

FDS is ``user,net,uts``: inherited descriptors of namespaces, ``-`` where there is none to enter. A
program of its own rather than a ``preexec_fn``, so that callers may have threads (the kernel lets
only single-threaded processes change their user namespace, and forking with threads is unsafe).
PARENT is the process that asked: when it is gone before the program is inside, nobody would find
the program to end it, so it isn't started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from chancel.lab.namespace import CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS, setns

NOT_FOUND = 127
"""Exit status when the program does not exist, as a shell has it."""

ORPHANED = 126
"""Exit status when the lab was gone before the program was inside."""


def command(user: int | None, net: int, uts: int, program: Sequence[str]) -> list[str]:
    """The command line that runs ``program`` in these namespaces, for a child of the caller."""
    fds = f"{'-' if user is None else user},{net},{uts}"
    return [sys.executable, "-m", "chancel.lab.enter", str(os.getpid()), fds, "--", *program]


def main(arguments: list[str]) -> int:
    """Enter and become the program; returns only when it cannot be started."""
    parent, fds, separator, *program = arguments
    if separator != "--" or not program:
        raise ValueError("usage: enter PARENT FDS -- PROGRAM ARGS")
    kinds = (CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWUTS)
    for fd, kind in zip(fds.split(","), kinds, strict=True):
        if fd != "-":
            setns(int(fd), kind)
            os.close(int(fd))
    if os.getppid() != int(parent):
        return ORPHANED
    try:
        os.execvp(program[0], program)  # noqa: S606 - the very purpose
    except OSError as error:
        print(f"chancel: {program[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
