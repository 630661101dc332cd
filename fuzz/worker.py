"""One target in a process of its own: ``python -m fuzz.worker NAME ENGINE SECONDS SEED FOLDER``.

What it writes is a log; lines that begin with ``#NUMBER`` tell how far it is. Status 1: a finding,
which was written down.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fuzz import engine_coverage, engine_random, findings
from fuzz.targets import load


def main(name: str, engine: str, *arguments: str) -> int:
    """Run the target."""
    if engine == "continue-merge":
        engine_coverage.continue_merge(name, arguments)
    seconds, seed, folder = arguments
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if engine == "coverage":
        engine_coverage.run(name, place, float(seconds), int(seed))
    if engine == "merge":
        engine_coverage.merge(name, place, place.with_suffix(".merged"))
    try:
        engine_random.run(
            load(name), float(seconds), int(seed), lambda line: print(line, flush=True)
        )
    except engine_random.Broken as broken:
        error = broken.__cause__ or broken
        print(findings.of_error(name, broken.data, error).command)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
