"""Messages as short lines of text, and back. No IO.

A line::

    tag ":" base64( sender 4 | number be16 | index 1 | count 1 | message CRC be32 |
                    line CRC be16 | part )

``tag`` is a word that both ends agree on; it tells their lines from everybody else's. ``sender`` is
drawn at random by each end, so that one knows its own lines when a room repeats them. ``number``
counts messages. The line CRC, the lower half of a CRC-32 over everything else in the line, finds a
damaged line; the message CRC, parts that don't belong together.

**Base64** (RFC 4648, section 4, without padding), because its 64 characters mean the same to IRC,
to SMS (GSM 03.38), to markdown and to whatever bridges one chat to another. Base85 is 7% shorter,
which saves no line where an offer of a key exchange takes two, and is full of ```* _ < ` ~```.

Anybody in a room can write such lines, and replay those of others. A checksum keeps nobody out;
whoever is on top (a tunnel, a channel) does. What a stranger can do here is bounded: memory by the
limits below; and as parts are put together by sender, number, count *and* message CRC, a forged
line can make a message be lost, but not be altered, nor take the place of one that is to come.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
import struct
import zlib
from collections import Counter, OrderedDict
from typing import Final, NamedTuple

from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer

SENDER_BYTES: Final = 4

MAX_PARTS: Final = 64
"""Lines of one message. A datagram of 1522 bytes takes 16 in SMS of 160 characters."""

MAX_PARTIAL: Final = 64
"""Messages that have begun and aren't complete; then the oldest gives way. Peers send one after the
other, so more than a few are a stranger's."""

MAX_LINE: Final = 4096
"""Characters of a line that is looked at, many times what chats allow."""

MAX_FINISHED: Final = 1024
"""Messages that are remembered so that they aren't delivered twice."""

PARTIAL_S: Final = 60.0
"""How long the lines of a message may take."""

_HEAD = struct.Struct("!4sHBBI")
_CHECK = struct.Struct("!H")
_OVERHEAD: Final = _HEAD.size + _CHECK.size
_TAG = re.compile(r"[A-Za-z0-9]{1,16}")


class Unused(enum.StrEnum):
    """Why a line was of no use: the counter's label."""

    NOT_OURS = "not-ours"
    """Another tag, or none: somebody else's conversation."""
    ECHO = "echo"
    """Our own line came back."""
    DAMAGED = "damaged"
    REPEATED = "repeated"
    """This line was here already, or its message is complete."""
    TOO_LARGE = "too-large"
    """Its message would be larger than we take."""
    MIXED = "mixed"
    """Parts that don't belong together: all of them are dropped."""
    INCOMPLETE = "incomplete"
    """A message whose other lines didn't come in time, or that gave way to newer ones."""


class _Key(NamedTuple):
    """What all lines of one message have in common."""

    sender: bytes
    number: int
    parts: int
    checksum: int


class _Partial:
    """Parts of one message, by index."""

    __slots__ = ("parts", "since", "size")

    def __init__(self, now: float) -> None:
        self.since = now
        self.size = 0
        self.parts: dict[int, bytes] = {}


def check_tag(tag: str) -> None:
    """Raise ``LocalProtocolError`` for what can't be a tag."""
    if not _TAG.fullmatch(tag):
        raise LocalProtocolError(f"the tag {tag!r}: use 1 to 16 letters and digits")


def part_bytes(tag: str, max_line: int) -> int:
    """How many bytes of a message a line of ``max_line`` characters carries; not above 0: none."""
    return (max_line - len(tag) - 1) * 3 // 4 - _OVERHEAD


def split(message: Buffer, *, tag: str, sender: bytes, number: int, max_line: int) -> list[str]:
    """The lines of a message, at least one, none longer than ``max_line`` characters.

    ``number`` (16 bits) differs from those of the messages before. Raises ``LocalProtocolError`` if
    the message takes more than :data:`MAX_PARTS` lines.
    """
    room = part_bytes(tag, max_line)
    count = max(1, -(-len(message) // room)) if room > 0 else MAX_PARTS + 1
    if count > MAX_PARTS:
        raise LocalProtocolError(
            f"{len(message)} bytes take more than {MAX_PARTS} lines of {max_line} characters:"
            f" send less at once"
        )
    checksum = zlib.crc32(message)
    lines: list[str] = []
    for index in range(count):
        head = _HEAD.pack(sender, number, index, count, checksum)
        part = message[index * room : (index + 1) * room]
        whole = b"".join((head, _check(tag, head, part), part))
        lines.append(f"{tag}:{base64.b64encode(whole).decode().rstrip('=')}")
    return lines


class Reassembly:
    """Puts lines together. Feed it each line that comes; ``unused`` counts those of no use."""

    def __init__(self, tag: str, sender: bytes, max_message: int) -> None:
        self.unused: Counter[Unused] = Counter()
        self._prefix = f"{tag}:"
        self._tag = tag
        self._sender = sender
        self._max_message = max_message
        self._partial: OrderedDict[_Key, _Partial] = OrderedDict()
        self._finished: OrderedDict[_Key, None] = OrderedDict()

    def __len__(self) -> int:
        """Messages that have begun and aren't complete."""
        return len(self._partial)

    def receive_untrusted(self, line: str, now: float) -> bytes | None:
        """Take a line that came at ``now`` (seconds); return the message that it completes.

        Raises nothing.
        """
        self._expire(now)
        decoded = self._decode(line)
        if isinstance(decoded, Unused):
            self.unused[decoded] += 1
            return None
        key, index, part = decoded
        partial = self._partial.get(key)
        if key in self._finished or (partial is not None and index in partial.parts):
            self.unused[Unused.REPEATED] += 1
            return None
        if partial is None:
            partial = _Partial(now)
        partial.size += len(part)
        partial.parts[index] = part
        if partial.size > self._max_message:
            self._partial.pop(key, None)
            self.unused[Unused.TOO_LARGE] += 1
            return None
        if len(partial.parts) < key.parts:
            self._keep(key, partial)
            return None
        self._partial.pop(key, None)
        return self._finish(key, partial)

    def _decode(self, line: str) -> tuple[_Key, int, bytes] | Unused:
        if not line.startswith(self._prefix) or len(line) > MAX_LINE:
            return Unused.NOT_OURS
        whole = _unbase64(line[len(self._prefix) :])
        if whole is None or len(whole) < _OVERHEAD:
            return Unused.DAMAGED
        head, check, part = whole[: _HEAD.size], whole[_HEAD.size : _OVERHEAD], whole[_OVERHEAD:]
        sender, number, index, count, checksum = _HEAD.unpack(head)
        if check != _check(self._tag, head, part) or not index < count <= MAX_PARTS:
            return Unused.DAMAGED
        if sender == self._sender:
            return Unused.ECHO
        return _Key(sender, number, count, checksum), index, part

    def _keep(self, key: _Key, partial: _Partial) -> None:
        if key not in self._partial and len(self._partial) >= MAX_PARTIAL:
            self._partial.popitem(last=False)
            self.unused[Unused.INCOMPLETE] += 1
        self._partial[key] = partial

    def _finish(self, key: _Key, partial: _Partial) -> bytes | None:
        message = b"".join(partial.parts[index] for index in range(key.parts))
        if zlib.crc32(message) != key.checksum:
            self.unused[Unused.MIXED] += 1
            return None
        self._finished[key] = None
        if len(self._finished) > MAX_FINISHED:
            self._finished.popitem(last=False)
        return message

    def _expire(self, now: float) -> None:
        while self._partial:
            key, partial = next(iter(self._partial.items()))
            if now - partial.since < PARTIAL_S:
                return
            del self._partial[key]
            self.unused[Unused.INCOMPLETE] += 1


def _check(tag: str, head: bytes, part: Buffer) -> bytes:
    return _CHECK.pack(zlib.crc32(part, zlib.crc32(head, zlib.crc32(tag.encode()))) & 0xFFFF)


def _unbase64(text: str) -> bytes | None:
    """Decode; ``None`` for everything but the one text that an encoder makes of some bytes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode().rstrip("=") == text else None
