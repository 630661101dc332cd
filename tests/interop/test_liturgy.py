"""Three devices that find each other, each played by the reference or by Chancel, at either
cathedral.

The reference's bishop starts a daemon for each peer through ``hymn``; it does that for a liturgy
that was configured outside of ``/etc/hymn``, as here (daemon section 5.3).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from chancel.demo.programs import CHANCEL, Program
from chancel.lab.lab import Lab
from tests.e2e.congregation import Congregation, Device, Seat
from tests.e2e.ends import eventually
from tests.interop.results import Results

MEET_LIMIT_S = 120.0
APART_S = 15.0
"""Three questions: whoever isn't named by then won't be."""

pytestmark = pytest.mark.timeout(600)


class Case(NamedTuple):
    """Who plays whom; ``shy`` is hidden, and so is ``timid``, which is always Chancel's."""

    cathedral: str
    one: str
    two: str
    shy: str

    @property
    def short(self) -> str:
        """For ``-k``: first letters."""
        return "".join(each[0] for each in self)

    def __str__(self) -> str:
        return f"cathedral {self.cathedral}, members {self.one}, {self.two}, {self.shy}"


CASES = [
    Case(cathedral, *members)
    for cathedral in ("chancel", "reference")
    for members in (
        ("chancel", "reference", "chancel"),
        ("reference", "chancel", "reference"),
    )
]


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="chancel-choir-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def command(program: Program, seat: Seat, folder: Path) -> tuple[str, ...]:
    """What plays a role."""
    if program is CHANCEL or not isinstance(seat, Device):
        return program.command
    return (sys.executable, "-m", "tests.interop.bishop", str(folder), *program.command)


def orphans(namespace: Path) -> list[int]:
    """Processes with this mount namespace: the daemons that a bishop had started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/mnt").readlink() == namespace:
                found.append(int(process.name))
        except OSError:  # ended meanwhile
            continue
    return found


def meets(device: Device, other: Device) -> None:
    eventually(lambda: device.reaches(other), MEET_LIMIT_S, f"{device.name} reaches {other.name}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.short)
def test_three_meet(
    case: Case, reference: Program, folder: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    players = {"chancel": CHANCEL, "reference": reference}
    devices = {"one": 0x01, "two": 0x02, "shy": 0x1F, "timid": 0x20}
    mounts: set[Path] = set()
    with Lab() as lab:
        congregation = Congregation(
            lab, folder, devices, hidden=("shy", "timid"), remembrance=True, user="root"
        )
        roles = dict(zip(("cathedral", "one", "two", "shy"), case, strict=True))
        started = time.monotonic()
        try:
            for seat in congregation.seats:
                player = players[roles.get(seat.name, "chancel")]
                seat.start(command(player, seat, folder))
            one, two, shy, timid = congregation.devices
            for device, other in ((one, two), (one, shy), (two, shy), (timid, one), (timid, two)):
                meets(device, other)
                meets(other, device)
            took_s = time.monotonic() - started
            time.sleep(APART_S)
            assert not shy.reaches(timid)
        except BaseException:
            sys.stdout.write(congregation.logs())
            raise
        finally:
            for seat in congregation.seats:
                if seat.program is None:
                    continue
                if isinstance(seat, Device) and roles.get(seat.name) == "reference":
                    mounts.add(Path(f"/proc/{seat.program.pid}/ns/mnt").readlink())
                seat.stop(signal.SIGTERM)
            for pid in {pid for each in mounts for pid in orphans(each)}:
                os.kill(pid, signal.SIGKILL)
    results.add(f"liturgy: {case}", f"all met after {took_s:.0f} s; hidden ones kept apart")
