"""Framers: where a message begins and ends in a stream of bytes. No IO.

:class:`LengthPrefix` is for streams that deliver every byte (TCP, TLS, pipes): cheap, and broken
for good by one wrong byte. :class:`Slip` and :class:`Cobs` are for lines that may lose or alter
bytes (serial): a byte that occurs nowhere else stands before and behind each frame, and a CRC-32
inside says whether it came through, so the next good frame is found whatever came before it. SLIP
doubles a message of nothing but special bytes, COBS adds at most one byte in 254.

A frame has delimiters at both of its ends, though one would do: noise between two frames then costs
neither of them.
"""

from __future__ import annotations

import abc
import enum
import struct
import zlib
from collections import Counter
from typing import Literal, Protocol

from chancel.errors import LocalProtocolError
from chancel.links.endpoint import check_size, size_of
from chancel.wire.types import Buffer

MAX_SHORT = 0xFFFF
"""What a length of 16 bits can say (spec of Ockam, section 2.1); the limit of serial frames too."""

MAX_LONG = 1 << 20
"""What is taken behind a length of 32 bits, unless told otherwise. A stranger makes us hold that
much for each connection before anybody has proved anything, so it is no more than is useful."""

_CRC = struct.Struct(">I")


class Damage(enum.StrEnum):
    """Why what came was dropped: the counter's label and the test's assertion."""

    TOO_LONG = "frame-too-long"
    TOO_SHORT = "frame-too-short"
    BAD_CODE = "frame-bad-code"
    BAD_CHECKSUM = "frame-bad-checksum"
    CUT_OFF = "frame-cut-off"
    TLS_REFUSED = "tls-refused"


class Framer(Protocol):
    """One direction's memory and both directions' rules; an object serves one connection."""

    @property
    def max_message(self) -> int:
        """The largest message in bytes, in both directions."""
        ...

    @property
    def drops(self) -> Counter[Damage]:
        """What was dropped, by reason."""
        ...

    @property
    def broken(self) -> Damage | None:
        """Why no further message can be found in this stream; ``None`` while there can."""
        ...

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        ...

    def encode(self, message: Buffer) -> bytes:
        """The frame of a message, to be written in one go. Raises ``LocalProtocolError`` for one
        that is too large."""
        ...

    def feed(self, data: Buffer) -> list[bytes]:
        """Take untrusted bytes, cut anywhere; return the messages that they complete.

        Raises nothing. Holds one unfinished frame of ``max_message`` at most, and no more than has
        arrived of it.
        """
        ...


class LengthPrefix:
    """Length in big-endian, then the message: ``size_bytes`` of 2 is Ockam's TCP framing.

    A length above ``max_message`` breaks the stream: nothing behind it can be told apart.
    """

    def __init__(self, size_bytes: Literal[2, 4] = 2, max_message: int | None = None) -> None:
        self._header = struct.Struct(">H" if size_bytes == 2 else ">I")
        most = (1 << 8 * size_bytes) - 1
        if max_message is None:
            max_message = MAX_SHORT if size_bytes == 2 else MAX_LONG
        if not 0 < max_message <= most:
            raise LocalProtocolError(
                f"a length of {size_bytes} bytes can't say {max_message}: choose 1 to {most}"
            )
        self.max_message = max_message
        self.drops: Counter[Damage] = Counter()
        self.broken: Damage | None = None
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return len(self._buffer) > 0

    def encode(self, message: Buffer) -> bytes:
        """Length and message."""
        check_size(size_of(message), self.max_message)
        return b"".join((self._header.pack(len(message)), message))

    def feed(self, data: Buffer) -> list[bytes]:
        """Take untrusted bytes; return the messages that they complete."""
        messages: list[bytes] = []
        if self.broken is not None:
            return messages
        buffer = self._buffer
        buffer += data
        header, limit, have, start = self._header, self.max_message, len(buffer), 0
        with memoryview(buffer) as view:
            while have - start >= header.size:
                (length,) = header.unpack_from(buffer, start)
                if length > limit:
                    self.broken = Damage.TOO_LONG
                    break
                body = start + header.size
                if have - body < length:
                    break
                start = body + length
                messages.append(bytes(view[body:start]))
        if self.broken is not None:
            self.drops[self.broken] += 1
            start = have
        del buffer[:start]
        return messages


class _Delimited(abc.ABC):
    """What SLIP and COBS share: delimiters, CRC-32 (big-endian, behind the message), limits."""

    delimiter: bytes
    broken: Damage | None = None

    def __init__(self, max_message: int = MAX_SHORT) -> None:
        self.max_message = max_message
        self.drops: Counter[Damage] = Counter()
        self._max_encoded = self._worst(max_message + _CRC.size)
        self._buffer = bytearray()
        self._skipping = False

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return len(self._buffer) > 0 or self._skipping

    def encode(self, message: Buffer) -> bytes:
        """Delimiter, encoded message and CRC, delimiter."""
        check_size(size_of(message), self.max_message)
        whole = b"".join((message, _CRC.pack(zlib.crc32(message))))
        return b"".join((self.delimiter, self._pack(whole), self.delimiter))

    def feed(self, data: Buffer) -> list[bytes]:
        """Take untrusted bytes; return the messages that they complete."""
        messages: list[bytes] = []
        *ends, rest = bytes(data).split(self.delimiter)
        for part in ends:
            self._append(part)
            message = self._finish_untrusted()
            if message is not None:
                messages.append(message)
        self._append(rest)
        return messages

    def _append(self, part: bytes) -> None:
        if self._skipping:
            return
        if len(self._buffer) + len(part) > self._max_encoded:
            self.drops[Damage.TOO_LONG] += 1
            self._skipping = True
            self._buffer.clear()
        else:
            self._buffer += part

    def _finish_untrusted(self) -> bytes | None:
        """A delimiter: the message before it, if there is a good one."""
        encoded = bytes(self._buffer)
        self._buffer.clear()
        if self._skipping or not encoded:
            self._skipping = False
            return None
        whole = self._unpack(encoded)
        if whole is None:
            damage = Damage.BAD_CODE
        elif len(whole) < _CRC.size:
            damage = Damage.TOO_SHORT
        elif len(whole) > self.max_message + _CRC.size:
            damage = Damage.TOO_LONG
        elif zlib.crc32(whole[: -_CRC.size]) != _CRC.unpack(whole[-_CRC.size :])[0]:
            damage = Damage.BAD_CHECKSUM
        else:
            return whole[: -_CRC.size]
        self.drops[damage] += 1
        return None

    @abc.abstractmethod
    def _worst(self, size: int) -> int:
        """How long ``size`` bytes can get."""

    @abc.abstractmethod
    def _pack(self, whole: bytes) -> bytes:
        """Encode, so that no delimiter is in it."""

    @abc.abstractmethod
    def _unpack(self, encoded: bytes) -> bytes | None:
        """The reverse; ``None`` for what no encoder makes."""


class Slip(_Delimited):
    """SLIP (RFC 1055) with a CRC-32: the delimiter and the escape byte become two bytes each."""

    delimiter = b"\xc0"
    _ESCAPE, _ESCAPED_DELIMITER, _ESCAPED_ESCAPE = b"\xdb", b"\xdb\xdc", b"\xdb\xdd"

    def _worst(self, size: int) -> int:
        return 2 * size

    def _pack(self, whole: bytes) -> bytes:
        whole = whole.replace(self._ESCAPE, self._ESCAPED_ESCAPE)
        return whole.replace(self.delimiter, self._ESCAPED_DELIMITER)

    def _unpack(self, encoded: bytes) -> bytes | None:
        pairs = encoded.count(self._ESCAPED_DELIMITER) + encoded.count(self._ESCAPED_ESCAPE)
        if encoded.count(self._ESCAPE) != pairs:
            return None
        # In this order: the second replacement makes escape bytes, which are no escapes any more.
        whole = encoded.replace(self._ESCAPED_DELIMITER, self.delimiter)
        return whole.replace(self._ESCAPED_ESCAPE, self._ESCAPE)


class Cobs(_Delimited):
    """Consistent Overhead Byte Stuffing with a CRC-32: zero is the delimiter.

    What is sent is cut at its zeros and, where there are none, after 254 bytes; each block begins
    with its length, plus one, instead of ending with the zero. An empty block at the end, which
    some encoders leave behind a full one, is accepted and not made.
    """

    delimiter = b"\0"
    _FULL = 0xFF

    def _worst(self, size: int) -> int:
        return size + size // (self._FULL - 1) + 1

    def _pack(self, whole: bytes) -> bytes:
        most = self._FULL - 1
        blocks: list[bytes] = []
        run = b""
        for run in whole.split(b"\0"):
            full = len(run) // most * most
            for at in range(0, full, most):
                blocks += (b"\xff", run[at : at + most])
            blocks += (bytes((len(run) - full + 1,)), run[full:])
        if run and len(run) % most == 0:
            del blocks[-2:]  # the data ends with a full block: no zero follows that one stands for
        return b"".join(blocks)

    def _unpack(self, encoded: bytes) -> bytes | None:
        blocks: list[bytes] = []
        at, end = 0, len(encoded)
        while at < end:
            code = encoded[at]
            following = at + code
            if following > end:
                return None
            blocks.append(encoded[at + 1 : following])
            if code != self._FULL and following < end:
                blocks.append(b"\0")
            at = following
        return b"".join(blocks)
