"""A group whose keys don't last: ``python -m tests.e2e.renewing SECONDS PACKETS --runtime-dir DIR
-c FILE``.

Keys live 3500 s or for 2^33 packets, and no test lasts that long. Either side may ask for new ones
at any time, so nothing but that differs from ``chancel run --runtime-dir DIR -c FILE``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import NoReturn

from chancel.protocol import profile


def command(seconds: float, packets: int = profile.CURRENT.rekey_packets) -> tuple[str, ...]:
    """What to start, without the options that the real program has, too."""
    return (sys.executable, "-m", "tests.e2e.renewing", f"{seconds:g}", str(packets))


def main(arguments: list[str]) -> NoReturn:
    """Be the daemon in this interpreter, and end with its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.renewing", description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("packets", type=int)
    parser.add_argument("--runtime-dir", type=Path, required=True)
    parser.add_argument("-c", dest="files", type=Path, action="append", required=True)
    options = parser.parse_args(arguments)
    renewed = dataclasses.replace(
        profile.CURRENT, rekey_age_s=options.seconds, rekey_packets=options.packets
    )
    profile.CURRENT = renewed  # type: ignore[misc]  # before others import it by name
    from chancel.daemon import program
    from chancel.daemon.__main__ import carry
    from chancel.daemon.job import Job

    sys.argv[1:] = [Job(tuple(options.files), options.runtime_dir).to_json()]
    program.main(carry)


if __name__ == "__main__":
    main(sys.argv[1:])
