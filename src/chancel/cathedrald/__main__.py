"""The program of a cathedral (``daemon.program``)."""

from __future__ import annotations

from chancel.cathedrald import config, guardian
from chancel.daemon import program, runtime_dir
from chancel.daemon.job import Job
from chancel.daemon.link import MessageLink


def carry(job: Job, _waiting: MessageLink | None) -> int:
    """Be the cathedral of the job's file; returns the exit status."""
    (path,) = job.files
    loaded = config.load(path)
    tell_starter = program.begin(job)
    with runtime_dir.made(job.runtime_dir) as keep:

        def up() -> None:
            keep()
            tell_starter()

        return guardian.run(loaded, job.runtime_dir, up, job.sandbox)


if __name__ == "__main__":
    program.main(carry)
