# ruff: noqa: E402 - numpy is postponed before anybody imports it
"""The daemon's own program (``program``): a group of tunnels, or of a liturgy."""

from __future__ import annotations

from collections.abc import Callable

from chancel.daemon import arrays

arrays.postpone()

from chancel.daemon import (
    cell,
    config,
    config_liturgy,
    guardian,
    liturgy_guardian,
    program,
    runtime_dir,
)
from chancel.daemon.cell import Cell
from chancel.daemon.job import Job
from chancel.daemon.link import MessageLink


def carry(job: Job, waiting: MessageLink | None) -> int:
    """Carry the tunnels of the job's files; returns the exit status."""
    run = _prepare(job)
    tell_starter = program.begin(job)
    with runtime_dir.made(job.runtime_dir) as keep:
        made = cell.found() if job.own_network else None

        def up() -> None:
            keep()
            if waiting is not None and made is not None:
                waiting.send({}, made.descriptors())
            tell_starter()

        return run(up, made)


def _prepare(job: Job) -> Callable[[Callable[[], None], Cell | None], int]:
    """Read the files; returns what carries them."""
    if len(job.files) == 1 and config_liturgy.is_liturgy(job.files[0]):
        liturgy = config_liturgy.load(job.files[0])
        return lambda up, made: liturgy_guardian.run(
            liturgy, job.runtime_dir, up, job.sandbox, made
        )
    configs = [config.load(path) for path in job.files]
    return lambda up, made: guardian.run(configs, job.runtime_dir, up, job.sandbox, made)


if __name__ == "__main__":
    program.main(carry)
