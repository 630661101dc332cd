"""What runs inside a host: how much memory the processes of a group have, and what of."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ (\S+) \S+ \d+ *(.*)")
_LANES = "/memfd:"


def alone_kb(pids: list[int]) -> int:
    """Memory of these processes, lanes and boards left out, as if no other program were there.

    Of pages that are nobody's but theirs each process counts its share. A page of a library's file
    is shared with whoever else runs Python: so of each mapping of a file the largest part that one
    of them has is counted, once.
    """
    own = 0
    files: dict[tuple[str, str], int] = defaultdict(int)
    for pid in pids:
        own += _rollup(pid, "Pss_Anon")
        key, rss = ("", ""), 0
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            if found := _MAPPING.match(line):
                key = found[2], found[1]
            elif line.startswith("Rss:"):
                rss = int(line.split()[1])
            elif line.startswith("Anonymous:") and not key[0].startswith(_LANES):
                files[key] = max(files[key], rss - int(line.split()[1]))
    return own + sum(files.values())


def anonymous_kb(pids: list[int]) -> list[int]:
    """What each has that is no file's; pages that it still shares with its parent count whole, so
    that it is no growth when somebody writes to one."""
    return [_rollup(pid, "Anonymous") for pid in pids]


def _rollup(pid: int, word: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{word}:"))


def with_library(pids: list[int], folder: str) -> int:
    """How many of these processes have a library of this folder in their memory."""
    return sum(f"/{folder}/" in Path(f"/proc/{pid}/maps").read_text() for pid in pids)
