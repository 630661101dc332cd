"""A device in a hurry for new keys: ``python -m chancel.demo.hurry -c FILE``.

Keys live 3500 s, and the demonstration doesn't last that long. Either side may ask for new ones at
any time, so nothing else differs from ``chancel run -c FILE``.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import NoReturn

from chancel.protocol import profile

REKEY_AGE_S = 12.0


def main(arguments: list[str]) -> NoReturn:
    """Be the daemon in this interpreter, and end with its exit status."""
    option, file = arguments
    if option != "-c":
        raise ValueError("usage: hurry -c FILE")
    hurried = dataclasses.replace(profile.CURRENT, rekey_age_s=REKEY_AGE_S)
    profile.CURRENT = hurried  # type: ignore[misc]  # before others import it by name
    from chancel.daemon import places, program
    from chancel.daemon.__main__ import carry
    from chancel.daemon.job import Job

    sys.argv[1:] = [Job((Path(file),), places.runtime_dir()).to_json()]
    program.main(carry)


if __name__ == "__main__":
    main(sys.argv[1:])
