"""What tests of the ambry share."""

from __future__ import annotations

from pathlib import Path

from chancel.crypto.system import SystemSuite
from chancel.tools.ambry.bundle import load_ends, make, new_header
from chancel.wire.types import FlockId, Flocks

FLOCK, OTHER = FlockId(0xCAFEBA00), FlockId(0xDEADBE00)
SUITE = SystemSuite()
NOW = 1_800_000_000.0
DAYS = 30


def quiet(*_: object) -> None:
    """Nobody watches the progress."""


def bundle_of(root: Path, own: FlockId, peer: FlockId, now: float, days: int = DAYS) -> bytes:
    """A new bundle, as it stands in its file."""
    ends = load_ends(root, Flocks(own, peer), SUITE)
    return bytes(make(ends, new_header(SUITE, now, days), SUITE, quiet))
