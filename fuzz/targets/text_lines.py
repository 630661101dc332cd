"""Lines of text, whoever wrote them, give the messages that a naive reading of all of them gives.

What a stranger can't forge arrives unaltered and once if all of its lines arrive, in any order, any
number of times; memory stays within its limits.
"""

from __future__ import annotations

import base64
import itertools
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from chancel.links.text_lines import (
    MAX_FINISHED,
    MAX_LINE,
    MAX_PARTIAL,
    MAX_PARTS,
    PARTIAL_S,
    Reassembly,
    Unused,
    part_bytes,
    split,
)
from fuzz.script import Script

_TAG, _OURS = "chancel", b"ours"
_SENDERS = (b"them", b"also", b"evil", _OURS)
_HONEST = _SENDERS[:2]
_MAX_MESSAGE = 1000
_ROOMS = (40, 80, 443)
_MOST_FLOOD = 300
MOST_BYTES = 512


class _Key(NamedTuple):
    """What the lines of one message have in common."""

    sender: bytes
    number: int
    parts: int
    checksum: int


class _Line(NamedTuple):
    """What a line says."""

    key: _Key
    place: int
    part: bytes

    def text(self) -> str:
        """The line, as the module's head describes it."""
        key = self.key
        head = key.sender + struct.pack(">HBBI", key.number, self.place, key.parts, key.checksum)
        check = zlib.crc32(_TAG.encode() + head + self.part) % 0x10000
        whole = head + check.to_bytes(2, "big") + self.part
        return f"{_TAG}:{base64.b64encode(whole).decode().rstrip('=')}"


def _read(text: str) -> _Line | None:
    """What a line says, if writing that gives this very line."""
    try:
        whole = base64.b64decode(text.partition(":")[2].encode() + b"===")
        sender, number, index, count, checksum, _ = struct.unpack(">4sHBBIH", whole[:14])
    except (ValueError, struct.error):
        return None
    line = _Line(_Key(sender, number, count, checksum), index, whole[14:])
    return line if line.text() == text else None


class _Naive:
    """All lines that were of use, in a list."""

    def __init__(self) -> None:
        self.unused: Counter[Unused] = Counter()
        self.kept: list[tuple[float, _Line]] = []
        self.finished: list[_Key] = []

    def begun(self) -> dict[_Key, float]:
        """Messages that aren't complete, and when their first line came; the oldest first."""
        since: dict[_Key, float] = {}
        for at, line in self.kept:
            since.setdefault(line.key, at)
        return since

    def receive(self, text: str, now: float) -> bytes | None:
        """The message that is complete now."""
        for key, since in self.begun().items():
            if now - since >= PARTIAL_S:
                self._forget(key, Unused.INCOMPLETE)
        if not text.startswith(_TAG + ":") or len(text) > MAX_LINE:
            self.unused[Unused.NOT_OURS] += 1
            return None
        line = _read(text)
        if line is None or line.place >= line.key.parts or line.key.parts > MAX_PARTS:
            self.unused[Unused.DAMAGED] += 1
        elif line.key.sender == _OURS:
            self.unused[Unused.ECHO] += 1
        else:
            return self._take(line, now)
        return None

    def _take(self, line: _Line, now: float) -> bytes | None:
        key = line.key
        parts = {each.place: each.part for _, each in self.kept if each.key == key}
        if key in self.finished[-MAX_FINISHED:] or line.place in parts:
            self.unused[Unused.REPEATED] += 1
            return None
        parts[line.place] = line.part
        message = b"".join(parts[index] for index in sorted(parts))
        if len(message) > _MAX_MESSAGE:
            self._forget(key, Unused.TOO_LARGE)
        elif len(parts) < key.parts:
            self.kept.append((now, line))
            if len(begun := self.begun()) > MAX_PARTIAL:
                self._forget(next(iter(begun)), Unused.INCOMPLETE)
        elif zlib.crc32(message) != key.checksum:
            self._forget(key, Unused.MIXED)
        else:
            self._forget(key)
            self.finished.append(key)
            return message
        return None

    def _forget(self, key: _Key, reason: Unused | None = None) -> None:
        self.kept = [(at, line) for at, line in self.kept if line.key != key]
        if reason is not None:
            self.unused[reason] += 1


class _Message(NamedTuple):
    """A message of an honest sender, and its lines."""

    key: _Key
    content: bytes
    lines: list[str]


class _Run:
    """A room, one who reads it, and what was said in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.taken = Reassembly(_TAG, _OURS, _MAX_MESSAGE)
        self.naive = _Naive()
        self.messages: list[_Message] = []
        self.forged: set[_Key] = set()
        """Messages that a stranger has written lines of."""
        self.flooded = itertools.count()

    def say(self, text: str) -> bytes | None:
        """A line appears; the message that it completes."""
        arrived = self.taken.receive_untrusted(text, self.now)
        assert arrived == self.naive.receive(text, self.now)
        if arrived is not None:
            key = self.naive.finished[-1]
            for message in self.messages:
                assert key != message.key or key in self.forged or arrived == message.content
        return arrived

    def strange(self, text: str) -> None:
        """A stranger says something."""
        line = _read(text)
        if line is not None and line.text() not in self._honest_lines(line.key):
            self.forged.add(line.key)
        self.say(text)

    def _honest_lines(self, key: _Key) -> list[str]:
        return [text for message in self.messages if message.key == key for text in message.lines]

    def compose(self, script: Script) -> None:
        """An honest sender has something to say, but hasn't said it yet."""
        room, sender = script.pick(_ROOMS), script.pick(_HONEST)
        most = MAX_PARTS * part_bytes(_TAG, room)
        content = bytes((script.number(),)) * script.pick((0, 1, 50, 300, _MAX_MESSAGE, 1 << 12))
        content = (content + script.chunk(64))[-most:]
        number = len(self.messages)
        lines = split(content, tag=_TAG, sender=sender, number=number, max_line=room)
        key = _Key(sender, number, len(lines), zlib.crc32(content))
        size = part_bytes(_TAG, room)
        parts = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
        assert lines == [_Line(key, index, part).text() for index, part in enumerate(parts)]
        assert max(map(len, lines)) <= room
        self.messages.append(_Message(key, content, lines))

    def whole(self, script: Script) -> None:
        """All lines of an honest message appear, some of them twice."""
        message = script.pick(self.messages)
        lines = list(message.lines)
        for _ in range(script.number() % 4):
            lines.insert(script.number() % len(lines), lines.pop(script.number() % len(lines)))
            lines.append(script.pick(lines))
        before = message.key in self.naive.finished[-MAX_FINISHED:]
        arrived = [each for line in lines if (each := self.say(line)) is not None]
        if message.key not in self.forged:
            fits = len(message.content) <= _MAX_MESSAGE
            assert arrived == ([message.content] if fits and not before else [])

    def forge(self, script: Script) -> None:
        """Somebody who knows the format writes a line, perhaps of somebody else's message."""
        part = script.chunk(_MAX_MESSAGE)
        key = _Key(script.pick(_SENDERS), script.number(), script.pick((1, 2, 64, 65, 0)), 0)
        checksum = script.pick((zlib.crc32(part), zlib.crc32(part + part), script.number(4)))
        key = key._replace(checksum=checksum)
        if self.messages and script.flag():
            key = script.pick(self.messages).key
        self.strange(_Line(key, script.number() % 66, part).text())

    def flood(self, script: Script) -> None:
        """A stranger begins, or says, many messages."""
        parts, content = script.pick((1, 2)), script.take(2)
        for number in itertools.islice(self.flooded, script.number(2) % _MOST_FLOOD):
            key = _Key(b"evil", number % 0x10000, parts, zlib.crc32(content))
            self.strange(_Line(key, 0, content).text())

    def judge(self) -> None:
        """Nothing has grown beyond its limit, and both count the same."""
        taken, naive = self.taken, self.naive
        assert taken.unused == naive.unused
        assert list(map(tuple, taken._partial)) == list(map(tuple, naive.begun()))
        finished = map(tuple, naive.finished[-MAX_FINISHED:])
        assert list(map(tuple, taken._finished)) == list(finished)
        assert len(taken) <= MAX_PARTIAL
        for key, partial in taken._partial.items():
            assert len(partial.parts) < key.parts <= MAX_PARTS
            assert sum(map(len, partial.parts.values())) == partial.size <= _MAX_MESSAGE


def check(data: bytes) -> None:
    script = Script(data)
    run = _Run()
    run.compose(script)
    while script.more():
        match script.number() % 8:
            case 0:
                run.compose(script)
            case 1:
                run.whole(script)
            case 2:
                run.say(script.pick(script.pick(run.messages).lines))
            case 3:
                text = script.pick(script.pick(run.messages).lines)
                at = len(text) - 1 - script.number(2) % len(text)
                other = chr((ord(text[at]) + script.number(2)) % 0x10000)
                run.strange(text[:at] + other * script.pick((1, 1, 0, 2)) + text[at + 1 :])
            case 4:
                text = script.chunk(100).decode("utf-8", "surrogateescape")
                run.strange(script.pick(("", f"{_TAG}:")) + text * script.pick((1, 1, 99)))
            case 5:
                run.forge(script)
            case 6:
                run.flood(script)
            case _:
                run.now += script.number() / 2
        run.judge()


def _composed(size: int, room: int, sender: int = 0) -> bytes:
    """The part of a script that makes a message, of the third size for instance."""
    return bytes((room, sender, 7, size, 0, 2)) + b"ab"


def seeds() -> Iterator[bytes]:
    for size, room in itertools.product(range(6), range(3)):
        whole = bytes((1, 0, 2, 1, 2, 3, 4, 5, 6))
        yield _composed(size, room) + bytes((2, 0, 3, 2, 0, 0)) + whole + whole
        yield _composed(size, room) + b"\0" + _composed(size, room, 1) + whole + bytes((1, 1, 0))
    yield _composed(0, 1) + bytes((3, 0, 0, 0, 0, 0, 1, 0)) + bytes((3, 0, 0, 0, 0, 1, 0, 1))
    first = _composed(3, 1)
    yield first + bytes((2, 0, 0, 7, 119, 2, 0, 1, 7, 1, 1, 0, 0))
    yield (
        first + bytes((3, 0, 0, 0, 20, 0, 65, 1)) + bytes((4, 1, 0, 3)) + b"AAA" + bytes((1, 0, 0))
    )
    yield first + bytes((2, 0, 0, 6, 1, 1, 2, 0, 100, 1, 0, 0, 6, 0, 1, 2, 1, 0))
    yield first + bytes((5, 0, 1)) + b"x" + bytes((0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0))
    yield first + bytes((5, 0, 1)) + b"x" + bytes((2, 9, 0, 0, 0, 0))
    yield first + bytes((1, 0, 0)) + bytes((6, 0, 1, 2, 1, 43)) * 4 + bytes((1, 0, 0))
