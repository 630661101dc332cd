"""Mutations of inputs: what the engine without coverage, and the campaign, change."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

_INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFFFF)
_LAYOUTS = ("B", "<H", ">H", "<I", ">I", ">Q")
_MOST_CHANGES = 6


def mutate(rng: random.Random, data: bytes, others: Sequence[bytes], most_bytes: int) -> bytes:
    """Some changes to an input; ``others`` are what pieces may be taken from."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        rng.choice(_CHANGES)(rng, changed, rng.choice(others) if others else data)
    return bytes(changed[:most_bytes])


def _flip(rng: random.Random, data: bytearray, _other: bytes) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray, _other: bytes) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _number(rng: random.Random, data: bytearray, _other: bytes) -> None:
    layout = struct.Struct(rng.choice(_LAYOUTS))
    if len(data) >= layout.size:
        value = rng.choice(_INTERESTING) & (1 << 8 * layout.size) - 1
        layout.pack_into(data, rng.randrange(len(data) - layout.size + 1), value)


def _truncate(rng: random.Random, data: bytearray, _other: bytes) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(rng: random.Random, data: bytearray, _other: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randint(1, 16)]


def _extend(rng: random.Random, data: bytearray, _other: bytes) -> None:
    data += rng.randbytes(rng.choice((1, 2, 4, 16, 64, 1024)))


def _insert(rng: random.Random, data: bytearray, other: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    start = rng.randrange(len(other) + 1)
    data[at:at] = other[start : start + rng.randint(1, 64)]


def _splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    at = rng.randrange(min(len(data), len(other)) + 1)
    data[at:] = other[at:]


def _repeat(rng: random.Random, data: bytearray, _other: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.randint(1, 64)]


_CHANGES: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    _flip,
    _flip,
    _set,
    _number,
    _truncate,
    _remove,
    _extend,
    _insert,
    _splice,
    _repeat,
)
