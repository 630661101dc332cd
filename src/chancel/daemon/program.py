"""The program behind a command line: carries out one :class:`Job`, its only argument."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from chancel import console
from chancel.daemon import background, linux, logs
from chancel.daemon.job import Job
from chancel.daemon.link import MessageLink
from chancel.errors import ChancelError, ConfigError, LinkClosed

FAILED, USAGE = 1, 2

Carry = Callable[[Job, MessageLink | None], int]
"""Runs the group of a job and returns its exit status; the link is to whoever waits for it."""


def main(carry: Carry) -> NoReturn:
    """Run the group, and end with its exit status. An error is one line on standard error."""
    status = _main(carry)
    console.flush()  # a disk without room for the log is no reason for another status
    sys.exit(status)


def begin(job: Job) -> Callable[[], None]:
    """Go to the background, and log to syslog, if the job says so.

    Returns what is to be called once the group is up.
    """
    tell_starter = background.detach() if job.detached else _nobody_waits
    if job.syslog:
        syslog = logs.to_syslog()
        if not syslog.heard:
            console.complain(f"nobody listens on {syslog.path}: lines are lost until somebody does")
    return tell_starter


def _main(carry: Carry) -> int:
    console.open_standard()
    linux.prctl(linux.PR_SET_NAME, b"chancel")
    job = Job.from_json(sys.argv[1])
    waiting = None if job.report is None else MessageLink(socket.socket(fileno=job.report))
    try:
        return carry(job, waiting)
    except (ChancelError, OSError) as error:
        status = USAGE if isinstance(error, ConfigError) else FAILED
        return _fail(console.explain(error), waiting, status)


def _nobody_waits() -> None:
    pass


def _fail(message: str, waiting: MessageLink | None, status: int) -> int:
    if waiting is None:
        console.complain(message)
        return status
    with contextlib.suppress(LinkClosed):
        waiting.send({"error": message})
    return status
