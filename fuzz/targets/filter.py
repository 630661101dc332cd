"""The filter passes of a run exactly the packets that it passes one by one, in their order.

Protocol section 3.4. What it doesn't pass is counted, each packet once, by the same reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from chancel.daemon.filter import Filter, FrameFilter, InnerFilter, allowed
from chancel.wire.drop import Drop
from fuzz.script import Script
from tests.daemon.naive import TAIL, Flow, fill, new_slot, packets_of

_NETWORKS = (IPv4Network("10.77.0.0/30"), IPv4Network("172.16.0.0/12"), IPv6Network("fd00::/64"))
_FLOWS = (
    Flow(),
    Flow(protocol=17),
    Flow(source="172.16.0.1"),
    Flow(destination="192.0.2.1"),
    Flow(version=6, source="fd00::1", destination="fd00::2"),
)
_MOST_PACKETS = 12
_SLOT = new_slot(64 * 1024)


def check(data: bytes) -> None:
    script = Script(data)
    size = script.number() % 200 + 1
    packets = [_packet(script, size) for _ in range(script.number() % _MOST_PACKETS + 1)]
    packets[-1] = packets[-1][: max(1, size - script.number() % 64)]
    run = fill(_SLOT, [packet + bytes(TAIL) for packet in packets], script.number())
    drops: dict[Drop, int] = {}
    ethernet = script.flag()
    passed = allowed(_rules(ethernet), _SLOT, run, drops)

    one_by_one = _rules(ethernet)
    reasons = [one_by_one.judge(memoryview(packet)) for packet in packets]
    kept = [packet for packet, reason in zip(packets, reasons, strict=True) if reason is None]
    assert [packet[:-TAIL] for packet in packets_of(_SLOT, passed)] == kept
    assert Counter(drops) == Counter(reason for reason in reasons if reason is not None)


def _rules(ethernet: bool) -> Filter:
    return FrameFilter() if ethernet else InnerFilter(_NETWORKS)


def _packet(script: Script, size: int) -> bytes:
    packet = bytearray(script.pick(_FLOWS).packet(bytes(200)))
    if script.flag():
        packet[script.number() % len(packet)] = script.number()
    return bytes(packet[:size])


def seeds() -> Iterator[bytes]:
    yield bytes((99, 3, 0, 0, 1, 0, 2, 0, 0))
    yield bytes((99, 5, 0, 1, 0, 0x60, 1, 1, 9, 47, 2, 0, 3, 0, 4, 0, 5))
    yield bytes((18, 2, 0, 0, 0, 0))
