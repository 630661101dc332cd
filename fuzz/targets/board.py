"""Whatever the owners of the boards write, control says it in valid forms or finds them lying.

``status`` answers strict JSON, the reference's tools get their 88 bytes; a neighbour that writes
what can't be true is told by NeighbourLied, and by nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from ipaddress import IPv4Interface

from chancel.daemon.board import HEADS_BYTES, BoardReader, BoardWriter, make_board
from chancel.daemon.config_types import Mode
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.metrics import exposition
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.status import StatusBook
from chancel.daemon.topology import of
from chancel.wire.types import NO_FLOCKS
from fuzz.script import Script

_BOARDS = of(Mode.TUNNEL).boards
_MEMORY = {name: make_board(name) for name in _BOARDS}
_READERS = {name: BoardReader(_MEMORY[name], spec.record) for name, spec in _BOARDS.items()}
_HEAD = struct.Struct("=II")
_DATAGRAM_BYTES = 88
_NOW = 1000.0
_SETTINGS = TunnelSettings(
    "t0", IPv4Interface("10.77.0.1/30"), (), 1422, True, None, NO_FLOCKS, 0, "key"
)
MOST_BYTES = 1024


def check(data: bytes) -> None:
    script = Script(data)
    for name, spec in _BOARDS.items():
        _write(name, script.take(spec.record.size()) if script.flag() else b"")
    with contextlib.suppress(NeighbourLied):
        for reader in _READERS.values():
            reader.read(0)
        book = StatusBook(_READERS, 0.0)
        book.group = {"started_wall": 0.0, "processes": {}}
        book.add(0, _SETTINGS, {})
        status = book.status(_NOW, 1)
        json.dumps(status, allow_nan=False).encode()
        assert exposition(status).endswith(b"\n")
        assert len(book.datagram(0)) == _DATAGRAM_BYTES


def _write(name: str, record: bytes) -> None:
    """An entry as its owner could write it: the checksum fits, as a lie is no accident."""
    size = len(_DEFAULTS[name]) if record else 0
    body = (record + _DEFAULTS[name][len(record) :]) if record else b""
    os.pwrite(_MEMORY[name], body, HEADS_BYTES)
    os.pwrite(_MEMORY[name], _HEAD.pack(size, zlib.crc32(body)), 0)


def _default(name: str) -> bytes:
    """The body of an entry that says nothing."""
    memory = make_board(name)
    BoardWriter(memory).write(0, _BOARDS[name].record())
    size, _checksum = _HEAD.unpack(os.pread(memory, _HEAD.size, 0))
    body = os.pread(memory, size, HEADS_BYTES)
    os.close(memory)
    return body


_DEFAULTS = {name: _default(name) for name in _BOARDS}


def seeds() -> Iterator[bytes]:
    yield bytes(1)
    true = b"".join(b"\1" + spec.record().pack() for spec in _BOARDS.values())
    yield true
    yield b"".join(b"\1" + b"\xff" * spec.record.size() for spec in _BOARDS.values())
    yield b"".join(b"\1" + b"\0\0\0\0\0\0\xf0\x7f" * 16 for _ in _BOARDS)
