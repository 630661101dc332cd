"""Agelas: a stream cipher with authentication over Keccak-f[1600], for vicar files alone.

No library has it, and nothing but the reference's vicar files needs it (daemon section 6.2). It is
the one primitive that is written here, and it is used for nothing else. A turn takes a permutation
for 128 bytes; a passphrase takes millions of turns, for which the accelerator has one function.
"""

from __future__ import annotations

import hmac
import importlib
from types import ModuleType
from typing import Final

from chancel.wire.types import Buffer

KEY_BYTES: Final = 64
TAG_BYTES: Final = 32
MAX_PAD_BYTES: Final = 132

_STATE_BYTES: Final = 200
_RATE: Final = 136
_TURN_BYTES: Final = 128
_ROTATIONS: Final = (
    (0, 36, 3, 41, 18),
    (1, 44, 10, 45, 2),
    (62, 6, 43, 15, 61),
    (28, 55, 25, 21, 56),
    (27, 20, 39, 8, 14),
)
_MASK: Final = (1 << 64) - 1


def compiled() -> ModuleType | None:
    """The accelerator, if it is installed."""
    try:
        return importlib.import_module("chancel_accel")
    except ImportError:
        return None


class Agelas:
    """One stream under a 64-byte key. Each byte that is crypted moves it on."""

    def __init__(self, key: Buffer) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"Agelas takes a key of {KEY_BYTES} bytes")
        self._state = bytearray(_STATE_BYTES)
        self._last_key = _pad(b"\x20" + bytes(key[32:]), 0x03)
        self._absorb(_pad(b"\x20" + bytes(key[:32]), 0x01))
        self._stream = self._state[:_RATE]
        self._offset = self._counter = self._text_bytes = self._bound_bytes = 0

    def encrypt(self, data: bytearray | memoryview) -> None:
        """Encrypt in place."""
        self._crypt(data, decrypt=False)

    def decrypt(self, data: bytearray | memoryview) -> None:
        """Decrypt in place."""
        self._crypt(data, decrypt=True)

    def bind(self, data: Buffer) -> None:
        """Have the tag cover ``data`` as well, at most 132 bytes."""
        self._absorb(_pad(bytes(data), 0x0F))
        self._bound_bytes += len(data)

    def tag(self) -> bytes:
        """The tag of all so far, 32 bytes; the stream ends with it."""
        for count in (self._bound_bytes, self._text_bytes):
            self._absorb(_pad(count.to_bytes(8, "big"), 0x1F))
        self._turn(0x3F)
        self._absorb(self._last_key)
        return bytes(self._state[:TAG_BYTES])

    def verify(self, tag: Buffer) -> bool:
        """Whether this is the tag, told in constant time; the stream ends with it."""
        return hmac.compare_digest(self.tag(), bytes(tag))

    def _crypt(self, data: bytearray | memoryview, *, decrypt: bool) -> None:
        self._text_bytes += len(data)
        module = compiled()
        if module is not None:
            self._offset, self._counter = module.agelas_crypt(
                self._state, self._stream, self._offset, self._counter, data, decrypt
            )
            return
        at = 0
        while at < len(data):
            if self._offset == _TURN_BYTES:
                self._turn(0x07)
            used = self._offset
            count = min(_TURN_BYTES - used, len(data) - at)
            before = bytes(data[at : at + count])
            after = _xor(before, self._stream[used : used + count])
            data[at : at + count] = after
            self._stream[used : used + count] = after if decrypt else before
            self._offset += count
            at += count

    def _turn(self, mark: int) -> None:
        self._stream[_TURN_BYTES : _RATE - 1] = self._counter.to_bytes(7, "big")
        self._stream[_RATE - 1] = mark
        self._absorb(self._stream)
        self._stream = self._state[:_RATE]
        self._offset = 0
        self._counter += 1

    def _absorb(self, block: Buffer) -> None:
        self._state[:_RATE] = _xor(self._state[:_RATE], block)
        self._state[:] = permuted(self._state)


def permuted(state: Buffer) -> bytes:
    """Keccak-f[1600] of a state of 200 bytes (FIPS 202, section 3; lanes are little-endian)."""
    lanes = [
        [int.from_bytes(state[8 * (x + 5 * y) : 8 * (x + 5 * y) + 8], "little") for y in range(5)]
        for x in range(5)
    ]
    for constant in _ROUND_CONSTANTS:
        lanes = _round(lanes)
        lanes[0][0] ^= constant
    return b"".join(lanes[x][y].to_bytes(8, "little") for y in range(5) for x in range(5))


def _round(lanes: list[list[int]]) -> list[list[int]]:
    """Theta, rho, pi and chi."""
    parity = [a ^ b ^ c ^ d ^ e for a, b, c, d, e in lanes]
    mixed = [parity[x - 1] ^ _rotated(parity[(x + 1) % 5], 1) for x in range(5)]
    moved = [[0] * 5 for _ in range(5)]
    for x in range(5):
        for y in range(5):
            moved[y][(2 * x + 3 * y) % 5] = _rotated(lanes[x][y] ^ mixed[x], _ROTATIONS[x][y])
    return [
        [moved[x][y] ^ (~moved[(x + 1) % 5][y] & _MASK & moved[(x + 2) % 5][y]) for y in range(5)]
        for x in range(5)
    ]


def _rotated(lane: int, by: int) -> int:
    return ((lane << by) | (lane >> (64 - by))) & _MASK


def _round_constants() -> list[int]:
    """FIPS 202, algorithm 5: the bits of a shift register, at places 2^j - 1."""
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            constant |= (register & 1) << ((1 << j) - 1)
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants


def _pad(data: bytes, mark: int) -> bytes:
    """A block of 136 bytes: its form, the size, the data, zeros, and what it is for."""
    if len(data) > MAX_PAD_BYTES:
        raise ValueError(f"at most {MAX_PAD_BYTES} bytes fit a block")
    head = bytes((0x01, _RATE, 0x01, len(data))) + data
    return head.ljust(_RATE - 1, b"\0") + bytes((mark,))


def _xor(one: Buffer, other: Buffer) -> bytes:
    number = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return number.to_bytes(len(one), "little")


_ROUND_CONSTANTS: Final = tuple(_round_constants())
