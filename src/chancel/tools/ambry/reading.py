"""Reading a bundle file.

It may come from anywhere, so nothing in it is believed: its size, its flocks and its tunnels have
to be right, each tunnel once for each end, in whatever order. What its entries hold is known only
to who has the keys (``check``).
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from chancel.errors import VaultError
from chancel.wire.ambry import (
    CROSSING,
    DEVICES,
    NO_GENERATION,
    OWN,
    Header,
    Shape,
    decode_entries_untrusted,
    tunnel,
)
from chancel.wire.types import Buffer, FlockId, Flocks

_DOMAIN_BITS = 0xFF

Entry = tuple[int, int]
"""Which entry of a bundle: flock, and tunnel as the device there names it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle of the right form. ``wrapped`` has every entry by flock and tunnel."""

    header: Header
    flocks: Flocks
    shape: Shape
    wrapped: dict[Entry, bytes]


def read(path: Path) -> Bundle:
    """Read a bundle file; raises ``VaultError``, which names the file and what is wrong with it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe mustn't wait
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VaultError(f"{path}: is not a regular file, so no bundle")
        if Shape.of_size(status.st_size) is None:
            raise VaultError(f"{path}: {_wrong_size(status.st_size)}")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(CROSSING.size)
    finally:
        os.close(descriptor)
    return decode_untrusted(data, str(path))


def decode_untrusted(data: Buffer, name: str) -> Bundle:
    """Read a bundle's bytes; raises ``VaultError`` under the name of its file."""
    shape = Shape.of_size(len(data))
    if shape is None:
        raise VaultError(f"{name}: {_wrong_size(len(data))}")
    header = Header.decode_untrusted(data)
    if header.generation == NO_GENERATION:
        raise VaultError(f"{name}: has generation 0, which means none: no cathedral serves it")
    wrapped: dict[Entry, bytes] = {}
    flocks: list[int] = []
    for number, (flock, own_name, sealed) in enumerate(decode_entries_untrusted(data), 1):
        if flock not in flocks:
            if len(flocks) == 1 + shape.crossing or flock & _DOMAIN_BITS:
                raise VaultError(f"{name}: entry {number} is for flock {flock:016x}, a foreign one")
            flocks.append(flock)
        if (flock, own_name) in wrapped:
            raise VaultError(f"{name}: entry {number} is for tunnel {own_name:04x} once more")
        wrapped[flock, own_name] = sealed
    if len(flocks) != 1 + shape.crossing:
        raise VaultError(f"{name}: has one flock, and the size of a bundle for two")
    bundle = Bundle(header, Flocks(FlockId(flocks[0]), FlockId(flocks[-1])), shape, wrapped)
    for entry in (entry for pair in pairs(bundle) for entry in pair):
        if entry not in wrapped:
            flock, missing = entry
            raise VaultError(f"{name}: has no entry for flock {flock:016x}, tunnel {missing:04x}")
    return bundle


def _wrong_size(size: int) -> str:
    return (
        f"has {size} bytes, and a bundle {OWN.size}, or {CROSSING.size} for two flocks:"
        " it is half written, or another file"
    )


def pairs(bundle: Bundle) -> Iterator[tuple[Entry, Entry]]:
    """Flock and tunnel of both entries of each pair, in the order of the shape."""
    for device in DEVICES:
        yield from pairs_of(bundle, device)


def pairs_of(bundle: Bundle, device: int) -> Iterator[tuple[Entry, Entry]]:
    own, peer = bundle.flocks
    for other in bundle.shape.peers(device):
        yield (own, tunnel(device, other)), (peer, tunnel(other, device))
