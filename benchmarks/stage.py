"""Where the bench builds its parishes: a folder, keys that they have in common, and who plays."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.result import LeftOut
from chancel.daemon import places
from chancel.demo.parish import Plan
from chancel.demo.play import Play
from chancel.demo.programs import CHANCEL, Program, reference
from chancel.demo.sacristy import Sacristy


class Stage:
    """One folder for all parishes of a section."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sacristy = Sacristy(folder / "sacristy")
        self._sacristy.bundle()

    def play(self, name: str, plan: Plan, roles: Sequence[Program]) -> Play:
        """A parish of its own, to be used with ``with``; roles: cathedrals first, then devices.

        Its folder begins with ``name``, for who reads its logs.
        """
        home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        home.chmod(0o711)
        return Play(home, plan, roles, self._sacristy)


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """In a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="chancel-bench-") as folder:
        yield Stage(Path(folder))


def programs() -> list[Program]:
    """Ourselves, and the reference if it is named and may run here."""
    path = os.environ.get("SANCTUM")
    return [CHANCEL, reference(path)] if path and places.is_machine_root() else [CHANCEL]


def left_out(what: str) -> Iterator[LeftOut]:
    """That the reference doesn't take part, if it is so."""
    if len(programs()) == 1:
        yield LeftOut(f"{what}: reference", "as root: make bench SANCTUM=/path/to/sanctum")
