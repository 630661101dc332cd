"""The reference's library and its examples.

``KYRKA=/path/to/libkyrka`` names a clone of it in which ``make`` has been run.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from chancel.crypto.system import SystemSuite
from libkyrka.context import make_context
from libkyrka.surroundings import Surroundings
from tests.libkyrka.ends import Clock, Told
from tests.libkyrka.reference import Library, link

Make = Callable[[], Any]

LIMIT_S = 40.0


def clone() -> Path:
    """The clone, or the test is skipped."""
    path = os.environ.get("KYRKA")
    if not path:
        pytest.skip("no reference library: make interop KYRKA=/path/to/libkyrka")
    return Path(path)


def example(name: str) -> Path:
    """An example of the reference's, as it is."""
    path = clone() / "examples" / name
    if not path.is_file():
        pytest.skip(f"{path} doesn't exist: KYRKA names no clone of the reference library")
    return path


def library(folder: Path) -> Library:
    """The reference's library, linked in this folder."""
    if not (clone() / "libkyrka.a").is_file():
        pytest.skip(f"{clone()} has no libkyrka.a: run make there")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: sudo apt-get install gcc libsodium-dev")
    return Library(link(clone(), folder))


class Example:
    """An example while it runs with our module, and what it has printed."""

    def __init__(
        self,
        path: Path,
        folder: Path,
        *arguments: str,
        popen: Callable[..., Any] = subprocess.Popen,
    ) -> None:
        """It runs in ``folder``."""
        command = [sys.executable, "-u", str(path), *arguments]
        self._process = popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=folder, bufsize=0
        )
        self._text = ""

    @property
    def lines(self) -> list[str]:
        """The whole lines so far."""
        return self._text.splitlines()[: self._text.count("\n")]

    def wait_for(
        self,
        wanted: Callable[[str], bool],
        what: str,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Read until there is such a line."""
        deadline = time.monotonic() + LIMIT_S
        while not any(wanted(line) for line in self.lines):
            assert time.monotonic() < deadline, f"{what} not in {self.lines}"
            meanwhile()
            if select.select([self._process.stdout], [], [], 0.1)[0]:
                data = os.read(self._process.stdout.fileno(), 65536)
                assert data, f"the example has ended: {self.lines}"
                self._text += data.decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class Both:
    """The reference's library and ours, and the one clock that both look at."""

    def __init__(self, library: Library) -> None:
        self.clock = Clock()
        self.theirs: Make = library.alloc
        self._library = library
        self.tick(0)

    def tick(self, seconds: float = 1.0) -> None:
        """Time passes."""
        self.clock.now += seconds
        self._library.set_clock(self.clock.monotonic(), self.clock.wall())

    def ours(self) -> Any:
        """Make a context of ours."""
        return make_context(Surroundings(SystemSuite(), self.clock.monotonic, self.clock.wall))

    def pairs(self) -> list[tuple[Make, Make]]:
        """Who can be at either end; first the reference's library at both."""
        makes = self.theirs, self.ours
        return [(left, right) for left in makes for right in makes]


def named(events: Iterable[list[Told]]) -> list[list[Told]]:
    """The same events, but the first SPI that one mentions is called "a", and so on."""
    names: dict[int, str] = {0: "none"}

    def name(spi: int) -> str:
        return names.setdefault(spi, "abcdefghij"[len(names) - 1])

    return [
        [
            (event, {key: name(spi) for key, spi in info.items()} if event == 1 else info)
            for event, info in each
        ]
        for each in events
    ]
