"""Both twins receive the same from a socket, and pick the same offers out of it.

Protocol section 2. Real datagrams, alone and in trains, of any size, from two sources.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator

from chancel.daemon.hot.receive import UdpReceiver
from chancel.daemon.hot.send import UDP_SEGMENT
from chancel.daemon.run import Run, decode_runs, encode_runs
from chancel.daemon.udp import open_udp
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.datagram import CURRENT, LEGACY
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.types import Address
from fuzz import twinned
from fuzz.script import Script
from tests.daemon.naive import new_slot, packets_of

_NOISE = random.Random(0).randbytes(70_000)
_SLOT = new_slot(160 * 1024)
_ANY = Address("127.0.0.1", 0)
_RECEIVING = {gro: open_udp(_ANY, gro=gro).socket for gro in (True, False)}
_SENDING = tuple(open_udp(_ANY).socket for _ in range(2))
_SIZES = (0, 1, 49, 50, 60, 623, OFFER_BYTES, 1424, 1522, 1523, 3000)
_MOST_SENDS, _MOST_SEGMENTS, _MOST_BYTES = 8, 20, 60_000
_MOST_BATCHES = 20
MOST_BYTES = 256

Sent = tuple[int, bytes, int]
"""From which source, and what, in segments of which size (0 for a datagram alone)."""


def check(data: bytes) -> None:
    script = Script(data)
    gro, cathedrals = script.flag(), script.flag()
    layouts = script.pick((CURRENT, LEGACY))
    sent = [_sent(script) for _ in range(script.number() % _MOST_SENDS + 1)]
    udp = _RECEIVING[gro]

    def receive() -> object:
        for source, content, segment in sent:
            control = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment))] if segment else []
            _SENDING[source].sendmsg([content], control, 0, udp.getsockname())
        receiver = UdpReceiver(udp, layouts)
        return (
            _drain(receiver, cathedrals),
            receiver.drops,
            (
                receiver.datagrams,
                receiver.bytes,
                receiver.calls if gro else 0,
            ),
        )

    twinned.compare(receive)


def _drain(receiver: UdpReceiver, cathedrals: bool) -> list[object]:
    seen: list[object] = []
    for _ in range(_MOST_BATCHES):
        runs: list[Run] = []
        end, is_empty = receiver.drain(_SLOT, runs, 0, 9)
        assert decode_runs(encode_runs(runs), len(_SLOT.memory)) == runs
        arrived = packets_of(_SLOT, runs)
        traffic, offers = receiver.split_offers(_SLOT, runs, cathedrals=cathedrals)
        parted = packets_of(_SLOT, traffic), packets_of(_SLOT, offers)
        seen.append((list(runs), arrived, traffic, offers, parted, end, is_empty))
        if is_empty:
            return seen
    raise AssertionError("the socket is never empty")


def _sent(script: Script) -> Sent:
    size = script.pick(_SIZES) if script.flag() else script.number(2) % 1600
    count = script.number() % _MOST_SEGMENTS + 1 if size else 1
    count = min(count, _MOST_BYTES // max(size, 1))
    parts = []
    for i in range(count):
        mark = script.pick((b"", b"", MAGIC, CATHEDRAL.magic))
        parts.append((mark + _NOISE[i : i + size])[:size])
    if count > 1:
        parts[-1] = parts[-1][: max(1, size - script.number(2) % size)]
    return script.number() % 2, b"".join(parts), size if count > 1 else 0


def seeds() -> Iterator[bytes]:
    for gro in (0, 1):
        for size in range(len(_SIZES)):
            yield bytes((gro, 1, 0, 3)) + bytes((1, size, 6, 0, 2, 0, 3, 0, 0, 0, 0, 5, 0)) * 4
