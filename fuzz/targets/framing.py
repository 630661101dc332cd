"""A framer finds in any bytes, cut anywhere, what a naive one finds byte by byte, and never swells.

What it finds can be framed again, and what it holds stays below its limit. On a serial line an
honest frame is found whatever came before it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from chancel.errors import LocalProtocolError
from chancel.links.framing import Cobs, Damage, Framer, LengthPrefix, Slip
from fuzz.script import Script
from tests.links.test_framing import (
    naive_cobs,
    naive_slip,
    naive_uncobs,
    naive_unslip,
    with_crc,
)

_MAX = 504
"""With its checksum a message of this size takes two full blocks of COBS."""
_SPECIAL = b"\x00\x01\xc0\xdb\xdc\xdd\xfe\xff"
_WHOLE = 1 << 16
MOST_BYTES = 1024


class _Naive(Protocol):
    """A framer that looks at one byte after the other."""

    drops: Counter[Damage]
    broken: Damage | None

    @property
    def held(self) -> int: ...

    @property
    def partial(self) -> bool: ...

    def feed(self, byte: int) -> list[bytes]: ...


class _NaiveLength:
    """A length of ``size`` bytes, then as many bytes as it says."""

    def __init__(self, size: int) -> None:
        self.drops: Counter[Damage] = Counter()
        self.broken: Damage | None = None
        self._size = size
        self._came: list[int] = []

    @property
    def held(self) -> int:
        return len(self._came)

    @property
    def partial(self) -> bool:
        return bool(self._came)

    def feed(self, byte: int) -> list[bytes]:
        if self.broken:
            return []
        self._came.append(byte)
        if len(self._came) < self._size:
            return []
        length = 0
        for each in self._came[: self._size]:
            length = length * 256 + each
        if length > _MAX:
            self.broken = Damage.TOO_LONG
            self.drops[self.broken] += 1
            self._came.clear()
        if self.broken or len(self._came) < self._size + length:
            return []
        message = bytes(self._came[self._size :])
        self._came.clear()
        return [message]


class _NaiveLine:
    """Frames between delimiters: a code with at most ``most`` bytes, a checksum in it."""

    broken: Damage | None = None

    def __init__(self, delimiter: int, decode: Callable[[bytes], bytes | None], most: int) -> None:
        self.drops: Counter[Damage] = Counter()
        self._delimiter, self._decode, self._most = delimiter, decode, most
        self._came: list[int] | None = []
        """``None`` in a frame that is too long, up to its end."""

    @property
    def held(self) -> int:
        return len(self._came or [])

    @property
    def partial(self) -> bool:
        return self._came != []

    def feed(self, byte: int) -> list[bytes]:
        came = self._came
        if byte == self._delimiter:
            self._came = []
            return self._judged(bytes(came)) if came else []
        if came is not None:
            came.append(byte)
            if len(came) > self._most:
                self.drops[Damage.TOO_LONG] += 1
                self._came = None
        return []

    def _judged(self, code: bytes) -> list[bytes]:
        whole = self._decode(code)
        if whole is None:
            self.drops[Damage.BAD_CODE] += 1
        elif len(whole) < 4:
            self.drops[Damage.TOO_SHORT] += 1
        elif len(whole) > _MAX + 4:
            self.drops[Damage.TOO_LONG] += 1
        elif with_crc(whole[:-4]) != whole:
            self.drops[Damage.BAD_CHECKSUM] += 1
        else:
            return [whole[:-4]]
        return []


@dataclasses.dataclass(frozen=True)
class _Kind:
    """One framer and its naive twin; ``most`` is what it may hold."""

    make: Callable[[], Framer]
    naive: Callable[[], _Naive]
    encode: Callable[[bytes], bytes]
    most: int
    line: bool


_MOST_SLIP = len(naive_slip(b"\xc0" * (_MAX + 4)))
_MOST_COBS = len(naive_cobs(b"\xc0" * (_MAX + 4))) + 1
"""With the empty block that some encoders leave behind a full one."""

_KINDS = (
    _Kind(
        lambda: LengthPrefix(2, _MAX),
        lambda: _NaiveLength(2),
        lambda message: len(message).to_bytes(2, "big") + message,
        2 + _MAX,
        line=False,
    ),
    _Kind(
        lambda: LengthPrefix(4, _MAX),
        lambda: _NaiveLength(4),
        lambda message: len(message).to_bytes(4, "big") + message,
        4 + _MAX,
        line=False,
    ),
    _Kind(
        lambda: Slip(_MAX),
        lambda: _NaiveLine(0xC0, naive_unslip, _MOST_SLIP),
        lambda message: b"\xc0" + naive_slip(with_crc(message)) + b"\xc0",
        _MOST_SLIP,
        line=True,
    ),
    _Kind(
        lambda: Cobs(_MAX),
        lambda: _NaiveLine(0, naive_uncobs, _MOST_COBS),
        lambda message: b"\0" + naive_cobs(with_crc(message)) + b"\0",
        _MOST_COBS,
        line=True,
    ),
)


class _Run:
    """A framer that gets pieces, its twin that gets the same bytes, and all that they got."""

    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self.framer, self.naive = kind.make(), kind.naive()
        self.stream = bytearray()
        self.found: list[bytes] = []

    def feed(self, data: bytes, piece: int) -> list[bytes]:
        """Give bytes in pieces of this size; what came out of them."""
        expected = [message for byte in data for message in self.naive.feed(byte)]
        arrived = []
        for at in range(0, len(data), piece):
            arrived += self.framer.feed(memoryview(data)[at : at + piece])
            assert len(self.framer._buffer) <= self.kind.most  # type: ignore[attr-defined]
        assert arrived == expected
        self.agree(self.framer)
        self.stream += data
        self.found += arrived
        return arrived

    def agree(self, framer: Framer) -> None:
        """A framer that has got everything is in the state that the twin is in."""
        naive = self.naive
        assert framer.drops == naive.drops
        assert framer.broken == naive.broken
        assert framer.partial == naive.partial
        assert len(framer._buffer) == naive.held  # type: ignore[attr-defined]

    def honest(self, message: bytes, piece: int) -> None:
        """Give the frame of a message, which arrives where something can arrive at all."""
        clean = not self.framer.partial and self.framer.broken is None
        frame = self.framer.encode(message)
        assert frame == self.kind.encode(message)
        arrived = self.feed(frame, piece)
        if self.kind.line or clean:
            assert arrived[-1] == message


def check(data: bytes) -> None:
    script = Script(data)
    run = _Run(script.pick(_KINDS))
    while script.more():
        piece = script.pick((1, 2, 3, 7, 64, 255, _WHOLE, _WHOLE))
        match script.number() % 6:
            case 0:
                run.feed(script.chunk(256), piece)
            case 1:
                run.feed(bytes((script.pick(_SPECIAL),)) * (script.number(2) % 1200), piece)
            case 2 | 3:
                run.honest(_message(script), piece)
            case 4:
                frame = bytearray(run.kind.encode(_message(script)))
                frame[script.number(2) % len(frame)] ^= script.number()
                run.feed(bytes(frame[: max(1, len(frame) - script.number() % 8)]), piece)
            case _:
                frame = bytearray(run.kind.encode(_message(script)))
                frame[-1:-1] = script.chunk(4)  # one byte of these is an empty block for COBS
                run.feed(bytes(frame[script.number() :]), piece)
    whole = run.kind.make()
    assert whole.feed(run.stream) == run.found
    run.agree(whole)
    for message in run.found:
        assert run.kind.make().feed(whole.encode(message)) == [message]
    _refuse_too_large(whole)


def _message(script: Script) -> bytes:
    """Some bytes behind a run of one byte, no more than the limit."""
    run = bytes((script.pick(_SPECIAL),)) * (script.number(2) % (_MAX + 1))
    return (run + script.chunk(64))[:_MAX]


def _refuse_too_large(framer: Framer) -> None:
    try:
        framer.encode(bytes(_MAX + 1))
    except LocalProtocolError:
        return
    raise AssertionError("a message above the limit was framed")


def _repeated(value: int, count: int, rest: bytes = b"") -> bytes:
    """The part of a script that makes a message."""
    return bytes((value,)) + count.to_bytes(2, "big") + len(rest).to_bytes(2, "big") + rest


def seeds() -> Iterator[bytes]:
    for kind in range(len(_KINDS)):
        for piece in (0, 4, 6):
            frames = ((2, 0), (3, 253), (7, 254), (2, 504), (0, 504))
            yield bytes((kind,)) + b"".join(
                bytes((piece, 2)) + _repeated(value, count, b"ping") for value, count in frames
            )
        honest = bytes((6, 2)) + _repeated(1, 5, b"after")
        yield bytes((kind, 6, 0, 0, 5)) + b"noise" + honest
        yield bytes((kind, 6, 1, 7, 4, 100)) + honest + bytes((5, 1, 3, 4, 0)) + honest
        yield bytes((kind, 4, 4)) + _repeated(1, 20) + bytes((0, 9, 1, 0)) + honest
        yield bytes((kind, 4, 5)) + _repeated(3, 20) + bytes((0, 0, 4)) + honest
        yield bytes((kind, 4, 5)) + _repeated(1, _MAX) + bytes((0, 1, 1, 0)) + honest
        yield bytes((kind, 4, 0, 0, 4, 0, 0, 1, 0xF9, 6, 0, 0, 2, 1, 0xF9)) + honest
