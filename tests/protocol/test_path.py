"""Where the peer is (protocol section 10)."""

from __future__ import annotations

from chancel.protocol.path import Path
from chancel.wire.types import Address

HERE, THERE = Address("192.0.2.1", 1), Address("192.0.2.2", 2)


def test_the_newest_authentic_packet_says_where_the_peer_is() -> None:
    path = Path(HERE)
    path.observe(HERE, 1.0)
    assert not path.changed()
    path.observe(THERE, 2.0)
    assert path.changed()
    path.observe(HERE, 1.5)
    assert not path.changed()
    assert path.address == THERE
    assert path.offers_to(2.0) == (THERE,)
    assert repr(path) == "<Path 192.0.2.2:2>"


def test_a_forgotten_peer_is_found_again() -> None:
    path = Path(None)
    path.observe(HERE, 1.0)
    assert path.changed()
    path.give_up(2.0)
    assert path.changed()
    assert path.address is None
    assert path.offers_to(2.0) == ()
    path.observe(HERE, 3.0)
    assert path.changed()


def test_a_configured_peer_is_expected_where_it_was_last() -> None:
    path = Path(HERE)
    path.observe(THERE, 1.0)
    path.give_up(2.0)
    assert path.address == THERE
