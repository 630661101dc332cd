"""The daemon's own program: carries out one :class:`Job`, its only argument."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable

from chancel.daemon import background, cell, config, guardian, linux, logs
from chancel.daemon.cell import Cell
from chancel.daemon.job import Job
from chancel.daemon.link import MessageLink
from chancel.errors import ChancelError, ConfigError, LinkClosed

FAILED, USAGE = 1, 2


def main() -> int:
    """Run the group; returns the exit status. An error is one line on standard error."""
    linux.prctl(linux.PR_SET_NAME, b"chancel")
    job = Job.from_json(sys.argv[1])
    waiting = None if job.report is None else MessageLink(socket.socket(fileno=job.report))
    try:
        return _run(job, waiting)
    except ConfigError as error:
        return _fail(str(error), waiting, USAGE)
    except ChancelError as error:
        return _fail(str(error), waiting, FAILED)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}", waiting, FAILED)


def _run(job: Job, waiting: MessageLink | None) -> int:
    configs = [config.load(path) for path in job.files]
    up = background.detach() if job.detached else _nobody_waits
    if job.syslog:
        _log_to_syslog()
    made = cell.found() if job.own_network else None
    if waiting is not None and made is not None:
        up = _report(waiting, made)
    return guardian.run(configs, job.runtime_dir, up, job.sandbox, made)


def _report(waiting: MessageLink, made: Cell) -> Callable[[], None]:
    def up() -> None:
        waiting.send({}, made.descriptors())

    return up


def _nobody_waits() -> None:
    pass


def _log_to_syslog() -> None:
    syslog = logs.to_syslog()
    if not syslog.heard:
        reason = f"nobody listens on {syslog.path}: lines are lost until somebody does"
        print(f"chancel: {reason}", file=sys.stderr)


def _fail(message: str, waiting: MessageLink | None, status: int) -> int:
    line = " ".join(message.split())
    if waiting is None:
        print(f"chancel: {line}", file=sys.stderr)
        return status
    with contextlib.suppress(LinkClosed):
        waiting.send({"error": line})
    return status


def _flush() -> None:
    """Say what is left to say; a disk without room for it is no reason for another status."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    exit_status = main()
    _flush()
    sys.exit(exit_status)
