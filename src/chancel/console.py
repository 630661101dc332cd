"""The standard streams of our programs, and the one line that an error is there.

``chancel`` and the daemon's own program share this. It stands beside ``chancel.errors`` and needs
nothing else of us: a command line must not load the daemon to print its help.
"""

from __future__ import annotations

import errno
import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))

_HINTS = {errno.EFBIG: "see: ulimit -f", errno.EMFILE: "see: ulimit -n"}
"""Limits whose errors name no file, and say nothing to those who didn't set them."""


def open_standard() -> None:
    """Open ``/dev/null`` in place of each standard stream that we were started without (``>&-``).

    Otherwise the next file or socket would get its number, and be written to by whoever prints.
    To be called before anything else is opened; programs that we start have them too.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            os.set_inheritable(null, True)
            stream = open(null, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def flush() -> OSError | None:
    """Write what standard output still holds. The error if that can't be done: then it is lost.

    From then on standard output leads nowhere, or the interpreter would fail with it at its end.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return error
    return None


def explain(error: BaseException) -> str:
    """The sentence for an error; one of the machine names the file, if there is one."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    hint = _HINTS.get(error.errno or 0)
    reason = error.strerror if hint is None else f"{error.strerror} ({hint})"
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"


def complain(sentence: str) -> None:
    """Say what went wrong, in one line, whatever is in the sentence."""
    print(f"chancel: {' '.join(sentence.split())}", file=sys.stderr)
