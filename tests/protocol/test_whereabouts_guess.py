"""A path that was taken of a peer that acknowledges nothing, and that leads nowhere after all.

Such a peer is believed to hear us, as the reference moves at the first packet that comes directly.
But its packets may come through its NAT while ours are refused there.
"""

from __future__ import annotations

import pytest

from chancel.errors import RemoteProtocolError
from chancel.protocol.path_trial import OPENER
from chancel.protocol.whereabouts import Whereabouts
from chancel.wire.datagram import classify_untrusted
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, MtuProbe, decode_untrusted, encode
from chancel.wire.traffic import OVERHEAD_BYTES
from chancel.wire.types import Address

RELAY = Address("203.0.113.1", 2333)
PEER = Address("198.51.100.2", 4500)


def guessing() -> tuple[Whereabouts, float]:
    """Whereabouts that went to the peer's own address without an acknowledgement."""
    where = Whereabouts(None, 0.0)
    where.cathedral_is(RELAY, 0.0)
    where.announced(PEER, 0.0)
    now = 0.0
    while not where.direct:
        assert now < 10.0
        where.wake(now)
        where.probes()
        where.observe(PEER, now)
        now += 0.5
    return where, now


def asked_for(payload: bytes) -> int:
    """The size that a probe asks about, 0 for a heartbeat."""
    grace = decode_untrusted(payload)
    return grace.size if isinstance(grace, MtuProbe) else 0


def test_who_goes_on_by_the_relay_does_not_hear_us() -> None:
    where, now = guessing()
    where.observe(PEER, now + 1.9)
    where.observe(RELAY, now + 2.0)
    assert not where.direct, "its own packets show nothing"
    at, asked = now, 0
    while at < now + 20.0:
        at += 0.1
        where.wake(at)
        asked = next((size for size in map(asked_for, where.probes()) if size), asked)
        where.observe(PEER, at)
        assert not where.direct, "now it takes an acknowledgement"
    assert where.probe_answered(asked, at)
    assert where.direct
    where.observe(RELAY, at + 5.0)
    assert where.direct, "which counts for more than what is relayed"


def test_a_packet_that_was_overtaken_shows_nothing() -> None:
    where, now = guessing()
    where.observe(RELAY, now - 0.5 + 0.9)
    assert where.direct


def test_an_opener_is_as_long_as_a_heartbeat_and_is_dropped_before_any_key_is_looked_up() -> None:
    assert len(OPENER) == OVERHEAD_BYTES + len(encode(Heartbeat()))
    with pytest.raises(RemoteProtocolError) as dropped:
        classify_untrusted(OPENER)
    assert dropped.value.reason is Drop.ZERO_SPI
