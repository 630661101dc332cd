"""The daemon's own program (``program``): a group of tunnels."""

from __future__ import annotations

from chancel.daemon import cell, config, guardian, program, runtime_dir
from chancel.daemon.job import Job
from chancel.daemon.link import MessageLink


def carry(job: Job, waiting: MessageLink | None) -> int:
    """Carry the tunnels of the job's files; returns the exit status."""
    configs = [config.load(path) for path in job.files]
    tell_starter = program.begin(job)
    with runtime_dir.made(job.runtime_dir) as keep:
        made = cell.found() if job.own_network else None

        def up() -> None:
            keep()
            if waiting is not None and made is not None:
                waiting.send({}, made.descriptors())
            tell_starter()

        return guardian.run(configs, job.runtime_dir, up, job.sandbox, made)


if __name__ == "__main__":
    program.main(carry)
