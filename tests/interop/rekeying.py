"""Chancel with a shorter life of keys: ``python -m tests.interop.rekeying run -c FILE``.

A key lives 3500 s, which no test waits for. Either side may ask for new keys at any time, so a
Chancel that asks every few seconds shows how the reference follows, with everything else as it is.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, NoReturn

from chancel.protocol import profile

if TYPE_CHECKING:
    from chancel.daemon.job import Job

REKEY_AGE_S = 8.0


def main() -> None:
    """Change the profiles before anybody imports them by name."""
    hurried = [
        dataclasses.replace(each, rekey_age_s=REKEY_AGE_S)
        for each in (profile.CURRENT, profile.V0_9)
    ]
    profile.CURRENT, profile.V0_9 = hurried  # type: ignore[misc]
    from chancel.cli.main import main as chancel
    from chancel.daemon.job import Job

    Job.start = _stay  # type: ignore[method-assign,assignment]
    chancel()


def _stay(job: Job, _program: str) -> NoReturn:
    """Be the daemon in this interpreter: a fresh one would have the profiles as they are."""
    from chancel.daemon import program
    from chancel.daemon.__main__ import carry

    sys.argv[1:] = [job.to_json()]
    program.main(carry)


if __name__ == "__main__":
    main()
