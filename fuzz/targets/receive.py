"""Whatever a UDP socket gives, a batch has runs that fit, and no datagram is lost or twice there.

Protocol section 2: 50 to 1522 bytes go on, the others are counted. Offers are parted from traffic;
neither is changed, nor put out of its order.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from typing import Any

from chancel.daemon.hot.receive import UDP_GRO, UdpReceiver, drain, split_offers
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run, decode_runs, encode_runs
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.traffic import OVERHEAD_BYTES
from fuzz.script import Script
from tests.daemon.naive import new_slot, packets_of

_SOURCES = (("192.0.2.1", 2333), ("192.0.2.1", 0), ("255.255.255.255", 65535))
_NOISE = random.Random(0).randbytes(70_000)
_SLOT = new_slot(160 * 1024)
_MOST_READS = 40
MOST_BYTES = 512


class _Socket:
    """Gives what the script says: a size, a segment size of the kernel's, and where it is from."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.given: list[bytes] = []
        self._reads = 0

    def recvmsg_into(
        self, buffers: list[memoryview], _control: int, _flags: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        script = self._script
        self._reads += 1
        if not script.more() or self._reads > _MOST_READS:
            raise BlockingIOError
        size = min(script.number(2), len(buffers[0]))
        segment = script.pick((0, 0, script.number(2), 1472, OFFER_BYTES, 50, -1))
        start = script.number()
        data = bytearray(_NOISE[start : start + size])
        step = segment if 0 < segment <= size else max(size, 1)
        for at in range(0, size, step):
            if script.number() & 1:
                mark = MAGIC[: size - at]
                data[at : at + len(mark)] = mark
        buffers[0][:size] = data
        self.given += [bytes(data[at : at + step]) for at in range(0, size, step)] or [b""]
        control = [(socket.SOL_UDP, UDP_GRO, segment.to_bytes(4, "little", signed=True))]
        return size, control if segment else [], 0, script.pick(_SOURCES)


def check(data: bytes) -> None:
    udp: Any = _Socket(Script(data))
    receiver = UdpReceiver(udp)
    runs: list[Run] = []
    drain(receiver, _SLOT, runs, 0, 7)
    assert decode_runs(encode_runs(runs), len(_SLOT.memory)) == runs
    fitting = [each for each in udp.given if OVERHEAD_BYTES <= len(each) <= MAX_DATAGRAM_BYTES]
    assert packets_of(_SLOT, runs) == fitting
    assert receiver.datagrams == len(udp.given)
    assert sum(receiver.drops.values()) == len(udp.given) - len(fitting)
    assert set(receiver.drops) <= {Drop.TOO_SHORT, Drop.TOO_LONG}
    _part(_SLOT, runs, fitting)


def _part(slot: SlotView, runs: list[Run], datagrams: list[bytes]) -> None:
    traffic, offers = split_offers(slot, runs)
    assert decode_runs(encode_runs(traffic), len(slot.memory)) == traffic
    marked = [each for each in datagrams if each.startswith(MAGIC) and len(each) >= OFFER_BYTES]
    assert packets_of(slot, offers) == marked
    rest = set(marked)
    assert packets_of(slot, traffic) == [each for each in datagrams if each not in rest]


def seeds() -> Iterator[bytes]:
    yield bytes((0x05, 0xB0, 0, 1, 0, 0))
    yield bytes((0xFF, 0xE3, 3, 0, 0)) + bytes(44) + bytes((0x02, 0x6F, 0, 1, 1, 0))
    yield bytes((0, 49, 0, 0, 0, 0, 0xFF, 0xFF, 2, 0x05, 0xF3, 9)) + bytes(45)
    yield bytes.fromhex(  # two short datagrams with an offer's mark, one of them behind a long one
        "ffe303000000000a00ffffffffffffff00000000000006000000000a00000300ff00026f000000ffff00ffffff"
    )
