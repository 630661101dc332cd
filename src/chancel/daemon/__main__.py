"""The daemon's own program: carries out one :class:`Job`, its only argument."""

from __future__ import annotations

import contextlib
import socket
import sys

from chancel import console
from chancel.daemon import background, cell, config, guardian, linux, logs, runtime_dir
from chancel.daemon.job import Job
from chancel.daemon.link import MessageLink
from chancel.errors import ChancelError, ConfigError, LinkClosed

FAILED, USAGE = 1, 2


def main() -> int:
    """Run the group; returns the exit status. An error is one line on standard error."""
    console.open_standard()
    linux.prctl(linux.PR_SET_NAME, b"chancel")
    job = Job.from_json(sys.argv[1])
    waiting = None if job.report is None else MessageLink(socket.socket(fileno=job.report))
    try:
        return _run(job, waiting)
    except (ChancelError, OSError) as error:
        status = USAGE if isinstance(error, ConfigError) else FAILED
        return _fail(console.explain(error), waiting, status)


def _run(job: Job, waiting: MessageLink | None) -> int:
    configs = [config.load(path) for path in job.files]
    tell_starter = background.detach() if job.detached else _nobody_waits
    if job.syslog:
        _log_to_syslog()
    with runtime_dir.made(job.runtime_dir) as keep:
        made = cell.found() if job.own_network else None

        def up() -> None:
            keep()
            if waiting is not None and made is not None:
                waiting.send({}, made.descriptors())
            tell_starter()

        return guardian.run(configs, job.runtime_dir, up, job.sandbox, made)


def _nobody_waits() -> None:
    pass


def _log_to_syslog() -> None:
    syslog = logs.to_syslog()
    if not syslog.heard:
        console.complain(f"nobody listens on {syslog.path}: lines are lost until somebody does")


def _fail(message: str, waiting: MessageLink | None, status: int) -> int:
    if waiting is None:
        console.complain(message)
        return status
    with contextlib.suppress(LinkClosed):
        waiting.send({"error": message})
    return status


if __name__ == "__main__":
    exit_status = main()
    console.flush()  # a disk without room for the log is no reason for another status
    sys.exit(exit_status)
