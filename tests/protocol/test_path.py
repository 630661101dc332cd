"""Where the peer is (protocol section 10)."""

from __future__ import annotations

from chancel.protocol.path import Path
from chancel.wire.types import Address

HERE, THERE = Address("192.0.2.1", 1), Address("192.0.2.2", 2)


def test_the_newest_authentic_packet_says_where_the_peer_is() -> None:
    path = Path(HERE)
    assert not path.observe(HERE, 1.0)
    assert path.observe(THERE, 2.0)
    assert not path.observe(HERE, 1.5)
    assert path.address == THERE
    assert repr(path) == "<Path 192.0.2.2:2>"


def test_a_forgotten_peer_is_found_again() -> None:
    path = Path(None)
    assert path.observe(HERE, 1.0)
    path.forget()
    assert path.address is None
    assert path.observe(HERE, 2.0)
