"""The corpus: inputs worth trying again, one text file for each target, one input on each line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fuzz.targets import Target

FOLDER = Path(__file__).parent / "corpus"

MOST_BYTES = 24 * 1024
"""Of one target, as bytes: all of them together stay far below a megabyte."""


def load(target: Target) -> list[bytes]:
    """All inputs of a target: its seeds, then what was kept of earlier runs."""
    seeds = list(target.seeds())
    return list(dict.fromkeys([b"", *seeds, *_kept(target.name)]))


def keep(target: Target, found: Iterable[bytes]) -> int:
    """Write the corpus of a target anew, small inputs first; returns how many there was room for.

    The seeds are left out: they are made, and follow the layouts when those change.
    """
    seeds = set(target.seeds())
    kept: list[str] = []
    room = MOST_BYTES
    for data in sorted(set(found) - seeds - {b""}, key=lambda each: (len(each), each)):
        room -= len(data)
        if room < 0:
            break
        kept.append(data.hex())
    FOLDER.mkdir(exist_ok=True)
    FOLDER.mkdir(exist_ok=True)
    _file(target.name).write_text("".join(f"{line}\n" for line in kept))
    return len(kept)


def _kept(name: str) -> list[bytes]:
    path = _file(name)
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def _file(name: str) -> Path:
    return FOLDER / f"{name}.hex"
