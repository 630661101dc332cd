"""A filled packet is cut to a length that it has, or raises RemoteProtocolError alone.

Protocol section 12.1. A packet whose header tells its length comes out as it went in.
"""

from __future__ import annotations

from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.protocol.tfc import MIN_INNER_BYTES, Tfc
from tests.daemon.naive import Flow

_MTU = 1422


def check(data: bytes) -> None:
    tfc = Tfc(_MTU)
    try:
        packet = tfc.cut_untrusted(data)
    except RemoteProtocolError:
        return
    assert MIN_INNER_BYTES <= len(packet) <= len(data)
    assert data.startswith(packet)
    if len(packet) <= _MTU:
        filled = tfc.fill(memoryview(packet))
        assert len(filled) == _MTU
        assert tfc.cut_untrusted(filled) == packet


def seeds() -> Iterator[bytes]:
    for flow in (
        Flow(),
        Flow(protocol=17),
        Flow(version=6, source="fd00::1", destination="fd00::2"),
    ):
        yield flow.packet(b"payload")
        yield flow.packet(b"payload") + bytes(100)
