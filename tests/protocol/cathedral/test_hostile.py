"""Whatever arrives, from wherever and in whatever order: nothing raises, and tables agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto import ed25519
from chancel.crypto.kdf import OfferKind
from chancel.errors import LocalProtocolError
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings, pair
from chancel.protocol.sealing import seal_offer
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.offer import (
    DATA_BYTES,
    MAGIC,
    PLAINTEXT_BYTES,
    OfferHeader,
)
from chancel.wire.traffic import CURRENT, TrafficHeader
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi
from tests.protocol.cathedral.parish import (
    FLOCK,
    HERE,
    MTU,
    OTHER,
    OWN_FLOCKS,
    THERE,
    Device,
    Parish,
    cosk_of,
    flock,
    left,
    right,
)

MAGICS = [CATHEDRAL.magic, NAT.magic, FEDERATION.magic, MAGIC]
STRANGER = Address("192.0.2.99", 99)
SOURCES = [left().address, right().address, THERE, Address("192.0.2.66", 0)]
BYTES = st.one_of(
    st.binary(max_size=1600),
    st.builds(bytes.__add__, st.sampled_from(MAGICS), st.binary(max_size=1600)),
    st.builds(bytes.ljust, st.sampled_from(MAGICS), st.integers(40, 1600), st.just(b"\0")),
)


@given(st.lists(st.tuples(BYTES, st.sampled_from(SOURCES)), max_size=20), st.booleans())
def test_any_bytes(datagrams: list[tuple[bytes, Address]], shroud: bool) -> None:
    parish = Parish(settings=flock(federation=(THERE,)), shroud=shroud)
    for count, (datagram, source) in enumerate(datagrams, start=1):
        assert parish.give(datagram, source) == []
        assert sum(parish.cathedral.drops.values()) == count
        assert parish.cathedral.route(datagram[:32]) is None
    assert parish.cathedral.statistics().tunnels_local == 0


@given(
    st.binary(min_size=DATA_BYTES, max_size=DATA_BYTES),
    st.sampled_from([1, 2, 3, 4, 5, 6, 7, 255]),
    st.sampled_from([CATHEDRAL, NAT]),
    st.tuples(st.sampled_from([FLOCK, OTHER, FLOCK | 7]), st.sampled_from([0, FLOCK, FLOCK | 7])),
)
def test_anything_that_a_client_signs(
    data: bytes, kind: int, layout: object, flocks: tuple[int, int]
) -> None:
    assert isinstance(layout, type(CATHEDRAL))
    parish, one = Parish(settings=flock(federation=(THERE,))), left()
    one.remembers = True
    said = bytes((kind,)) + int(parish.wall).to_bytes(8, "big") + data[9:]
    inside = said + ed25519.sign(cosk_of(one.identity)[:32], said)
    own, peer = (FlockId(each) for each in flocks)
    one = Device(1, 2, one.address, Flocks(own, own))
    header = OfferHeader(Spi(1), Flocks(own, peer), bytes(64))
    datagram = seal_offer(one.suite, OfferKind.CATHEDRAL, one.base, header, inside, layout)
    for source in SOURCES:
        parish.give(datagram, source)
    assert len(inside) == PLAINTEXT_BYTES
    counts = parish.cathedral.statistics()
    assert counts.tunnels_local + counts.liturgies_local <= 1


KNOWN = {
    each: FlockSettings(each, tuple(Allow(CathedralId(n), n, 0) for n in (1, 2, 3)))
    for each in (FLOCK, OTHER)
}
SETTINGS = [
    Settings(KNOWN, {pair(FLOCK, OTHER): None}),
    Settings(KNOWN),
    Settings({FLOCK: KNOWN[FLOCK]}),
    Settings({FLOCK: FlockSettings(FLOCK, (Allow(CathedralId(1), 1, 8),))}),
]
ENDS = st.builds(
    Device,
    number=st.sampled_from([1, 2]),
    peer=st.sampled_from([1, 2]),
    address=st.sampled_from(SOURCES[:2]),
    flocks=st.sampled_from(
        [OWN_FLOCKS, Flocks(FLOCK, OTHER), Flocks(OTHER, FLOCK), Flocks(OTHER, OTHER)]
    ),
    instance=st.sampled_from([InstanceId(1), InstanceId(2)]),
    receiving=st.sampled_from([None, *(Spi(at << 16 | 1) for at in (0x101, 0x102, 0x201))]),
    pending=st.sampled_from([None, *(Spi(at << 16 | 2) for at in (0x101, 0x102, 0x201))]),
)
STEPS = st.one_of(
    ENDS, st.sampled_from([1.0, 5.0, 60.0, 131.0]), st.sampled_from(SETTINGS), st.none()
)


@given(st.lists(STEPS, max_size=25))
def test_the_fast_path_is_the_slow_one(steps: list[Device | float | Settings | None]) -> None:
    parish = Parish(settings=SETTINGS[0])
    for step in steps:
        if isinstance(step, Device):
            parish.registers(step)
        elif isinstance(step, float):
            parish.after(step)
        elif isinstance(step, Settings):
            parish.cathedral.reconfigure(step, parish.now)
        for sender in (OWN_FLOCKS, Flocks(FLOCK, OTHER), Flocks(OTHER, FLOCK)):
            for spi in (0x0101_0001, 0x0102_0001, 0x0201_0001, 0x0201_0002):
                packet = CURRENT.encode(TrafficHeader(Spi(spi), 1, *sender)).ljust(60, b"x")
                route = parish.cathedral.route(packet[:32])
                for source in (STRANGER, SOURCES[0]):
                    sent = parish.give(packet, source)
                    if source is not STRANGER:  # from where a client is, an SPI may become known
                        route = parish.cathedral.route(packet[:32])
                    assert sent == ([] if route is None else [(packet, route.destination)])
    parish.after(140)
    tables = parish.cathedral._tunnels
    assert (tables._ends, tables.routes, tables._counts) == ({}, {}, {})
    assert not parish.cathedral._admission._registered._counts


def test_sources_are_ipv4() -> None:
    parish = Parish()
    with pytest.raises(LocalProtocolError, match="IPv4 socket"):
        parish.give(bytes(100), Address("2001:db8::1", 5))


@pytest.mark.parametrize(
    ("address", "mtu", "shroud"),
    [
        (HERE, 622, False),
        (HERE, 1423, False),
        (HERE, MTU + 1, True),
        (Address("2001:db8::1", 1), 1422, False),
        (Address("192.0.2.1", 0), 1422, False),
    ],
)
def test_options_that_cant_be(address: Address, mtu: int, shroud: bool) -> None:
    with pytest.raises(LocalProtocolError):
        Options(address, mtu, shroud=shroud)
