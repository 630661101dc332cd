"""The memory that the processes of a group share: that of the guardian at the moment of the fork.

A page is shared until somebody writes to it, and the interpreter writes a lot: it counts references
in every object that it touches. So before the fork everything goes that would only be written to
once more: what the cycle collector keeps beside objects, and the cache of looked up names, whose
entries would be counted down one by one as others take their place (0.3 MB in each process).

Of libraries' files the guardian has pages mapped that only a start needs: parser, loaders, tables
for the set-up of numpy and OpenSSL. It lets go of all of them. What somebody still needs comes back
from the page cache at the first touch, and the rest (9 MB) belongs to nobody. So it does again once
all runs, and a keeper whenever it has made keys: for that it needs 5 MB of libraries, as nobody
else does, once an hour.

Tried, and without a gain worth the code: holes in the allocator's pools filled, the collector off
while modules are loaded, ``malloc_trim``, duties rehearsed before the fork, code objects that run
moved next to each other, fork without the hooks of libraries.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chancel.daemon import linux

_SMAPS: Final = Path("/proc/self/smaps")
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)")
_LIBRARY: Final = re.compile(r"\.so\b|/bin/")
"""Or the interpreter itself."""
_OF_OUR_OWN: Final = "Anonymous:"

_libraries: list[tuple[int, int]] = []
"""What :func:`settle` has let go, in all processes forked since: nobody unloads a library."""


def settle() -> None:
    """Make this process ready to be forked: all that is to be shared was imported."""
    _forget_lookups()
    _libraries[:] = unwritten(_smaps())
    rest()
    gc.freeze()


def rest() -> None:
    """Let go of libraries' pages, in a process that will hardly touch them for a while. It takes a
    fraction of a millisecond, and as much again when they come back.
    """
    for start, end in _libraries:
        linux.release_pages(start, end - start)


def unwritten(smaps: str) -> Iterator[tuple[int, int]]:
    """Mappings of libraries, from and to, that can't be written and have no page of our own.

    Such a page is what stands in the file. Relocated tables are read-only as well, and not in any
    file: losing them would end us, so the kernel's count of pages of our own decides. ``smaps`` is
    that of proc_pid_smaps(5).
    """
    mapping: re.Match[str] | None = None
    for line in smaps.splitlines():
        if found := _MAPPING.match(line):
            mapping = found
        elif mapping is not None and line.startswith(_OF_OUR_OWN):
            start, end, rights, path = mapping.groups()
            is_library = rights in ("r--p", "r-xp") and _LIBRARY.search(path)
            if is_library and line.split()[1] == "0":
                yield int(start, 16), int(end, 16)


def _smaps() -> str:
    """Empty in a kernel that doesn't count pages: then they stay."""
    try:
        return _SMAPS.read_text()
    except OSError:
        return ""


def _forget_lookups() -> None:
    # The new name since Python 3.13, where the old one is deprecated.
    forget = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
    forget()
