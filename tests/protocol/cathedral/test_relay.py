"""What clients say to each other is passed on, by its receiver's end alone (4.5 to 4.8)."""

from __future__ import annotations

import dataclasses

import pytest

from chancel.protocol.cathedral.settings import Allow, FlockSettings, Settings, pair
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.offer import HEADER_BYTES
from chancel.wire.traffic import OVERHEAD_BYTES
from chancel.wire.types import Address, FlockId, Flocks, Spi
from tests.protocol.cathedral.parish import (
    FLOCK,
    OTHER,
    OWN_FLOCKS,
    SECOND,
    THERE,
    Device,
    Diocese,
    Parish,
    flock,
    left,
    right,
)

STRANGER = Address("192.0.2.66", 666)


def both(parish: Parish | None = None) -> tuple[Parish, Device, Device]:
    parish, one, other = parish or Parish(), left(), right()
    parish.registers(one)
    parish.registers(other)
    return parish, one, other


def spi(device: Device) -> Spi:
    assert device.receiving is not None
    return device.receiving


class TestTraffic:
    @pytest.mark.parametrize("size", [OVERHEAD_BYTES, 51, 1472, 1522])
    def test_it_is_passed_on_as_it_is(self, size: int) -> None:
        parish, one, other = both()
        packet = one.traffic(spi(other), size)
        assert parish.give(packet, one.address) == [(packet, other.address)]
        answer = other.traffic(spi(one), size)
        assert parish.give(answer, other.address) == [(answer, one.address)]
        assert parish.drops == {}

    def test_wherever_it_comes_from(self) -> None:
        """A device that roams is unknown at its new address for some seconds."""
        parish, one, other = both()
        packet = one.traffic(spi(other))
        assert parish.give(packet, STRANGER) == [(packet, other.address)]

    def test_also_from_a_tunnel_that_is_not_registered(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(other)
        packet = one.traffic(spi(other))
        assert parish.give(packet, one.address) == [(packet, other.address)]

    def test_under_both_spis_and_no_other(self) -> None:
        parish, one, other = Parish(), left(), right()
        other.pending = Spi(0x0201_0009)
        parish.registers(other)
        for known in (other.receiving, other.pending):
            packet = one.traffic(known or Spi(0))
            assert parish.give(packet, one.address) == [(packet, other.address)]
        unknown = one.traffic(Spi(0x0201_0003))
        assert parish.refused(unknown, STRANGER) is Drop.SPI_UNKNOWN

    def test_the_spis_of_the_last_info(self) -> None:
        parish, one, other = both()
        old, other.receiving = spi(other), Spi(0x0201_0005)
        parish.after(5)
        parish.registers(other)
        assert parish.refused(one.traffic(old), STRANGER) is Drop.SPI_UNKNOWN
        assert parish.cathedral.route(one.traffic(old)[:32]) is None
        assert len(parish.give(one.traffic(spi(other)), STRANGER)) == 1
        other.receiving = None
        parish.after(5)
        parish.registers(other)
        assert parish.refused(one.traffic(Spi(0x0201_0005)), STRANGER) is Drop.SPI_UNKNOWN
        assert parish.refused(one.traffic(Spi(0x0201_0000)), STRANGER) is Drop.SPI_UNKNOWN
        assert len(parish.cathedral._tunnels.routes) == 1

    def test_an_spi_of_another_tunnel_catches_nothing(self) -> None:
        parish, one, other = both()
        thief = Device(3, 9, STRANGER, receiving=other.receiving)
        parish.registers(thief)
        packet = one.traffic(spi(other))
        assert parish.give(packet, one.address) == [(packet, other.address)]
        route = parish.cathedral.route(packet[:32])
        assert route is not None
        assert route.destination == other.address

    def test_nobody_there(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(one)
        packet = one.traffic(spi(other))
        assert parish.refused(packet, one.address) is Drop.TUNNEL_UNKNOWN
        away = dataclasses.replace(one, flocks=Flocks(OTHER, OTHER))
        assert parish.refused(away.traffic(spi(other)), one.address) is Drop.FLOCK_UNKNOWN
        domain = FlockId(FLOCK | 1)
        apart = dataclasses.replace(one, flocks=Flocks(FLOCK, domain))
        assert parish.refused(apart.traffic(spi(other)), one.address) is Drop.FLOCKS_APART

    def test_between_flocks(self) -> None:
        known = {
            each: FlockSettings(each, (Allow(CathedralId(1), 1, 0),)) for each in (FLOCK, OTHER)
        }
        parish = Parish(settings=Settings(known, {pair(OTHER, FLOCK): None}))
        one = Device(1, 1, left().address, Flocks(FLOCK, OTHER), receiving=Spi(0x0101_0001))
        other = Device(1, 1, right().address, Flocks(OTHER, FLOCK), receiving=Spi(0x0101_0002))
        parish.registers(one)
        parish.registers(other)
        packet = one.traffic(spi(other))
        assert parish.give(packet, one.address) == [(packet, other.address)]
        parish.cathedral.reconfigure(Settings(known), parish.now)
        assert parish.refused(packet, one.address) is Drop.FLOCKS_APART

    def test_a_buffer_is_not_kept(self) -> None:
        parish, one, other = both()
        packet = bytearray(one.traffic(spi(other)))
        parish.cathedral.receive(memoryview(packet), one.address, parish.now, parish.wall)
        kept = bytes(packet)
        packet[:] = bytes(len(packet))
        assert parish.cathedral.datagrams() == [(kept, other.address)]


class TestAnSpiThatIsNotReportedYet:
    """Its receiver's next info may be five seconds away, and its peer uses it."""

    NEW, NEWER = Spi(0x0201_0AAA), Spi(0x0201_0BBB)

    def test_it_passes_from_where_the_other_end_is_registered(self) -> None:
        parish, one, other = both()
        packet = one.traffic(self.NEW)
        assert parish.give(packet, one.address) == [(packet, other.address)]
        assert parish.drops == {}

    def test_from_anywhere_else_it_must_have_been_reported(self) -> None:
        parish, one, _ = both()
        packet = one.traffic(self.NEW)
        neighbour = one.address._replace(port=one.address.port + 1)
        for source in (STRANGER, neighbour, right().address):
            assert parish.refused(packet, source) is Drop.SPI_UNKNOWN
        assert parish.cathedral.route(packet[:32]) is None

    def test_not_while_the_sender_is_unknown(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(other)
        assert parish.refused(one.traffic(self.NEW), one.address) is Drop.SPI_UNKNOWN

    def test_also_before_any_was_reported(self) -> None:
        parish, one, other = Parish(), left(), right()
        one.receiving = other.receiving = None
        parish.registers(one)
        parish.registers(other)
        packet = one.traffic(self.NEW)
        assert parish.give(packet, one.address) == [(packet, other.address)]

    def test_then_it_has_a_route(self) -> None:
        """The next packets go the fast way, and those of its own count with the reported ones."""
        parish, one, other = both()
        packet = one.traffic(self.NEW)
        parish.give(packet, one.address)
        route = parish.cathedral.route(packet[:32])
        assert route is parish.cathedral.route(one.traffic(spi(other))[:32])
        assert route is not None
        assert route.destination == other.address

    def test_the_newest_alone(self) -> None:
        parish, one, other = both()
        parish.give(one.traffic(self.NEW), one.address)
        parish.give(one.traffic(self.NEWER), one.address)
        assert parish.cathedral.route(one.traffic(self.NEW)[:32]) is None
        assert parish.cathedral.route(one.traffic(self.NEWER)[:32]) is not None
        assert parish.cathedral.route(one.traffic(spi(other))[:32]) is not None
        for number in range(500):
            parish.give(one.traffic(Spi(0x0201_1000 + number)), one.address)
        assert len(parish.cathedral._tunnels.routes) == 3

    @pytest.mark.parametrize("reported", [None, NEW, NEWER])
    def test_until_the_receivers_next_info(self, reported: Spi | None) -> None:
        parish, one, other = both()
        parish.give(one.traffic(self.NEW), one.address)
        other.pending = reported
        parish.after(5)
        parish.registers(other)
        is_known = parish.cathedral.route(one.traffic(self.NEW)[:32]) is not None
        assert is_known == (reported == self.NEW)

    def test_an_info_of_the_sender_changes_nothing(self) -> None:
        parish, one, _ = both()
        parish.give(one.traffic(self.NEW), one.address)
        parish.after(5)
        parish.registers(one)
        assert parish.cathedral.route(one.traffic(self.NEW)[:32]) is not None

    def test_it_counts_against_the_receivers_bandwidth(self) -> None:
        allows = Allow(CathedralId(1), 1, 0), Allow(CathedralId(2), 2, 8)
        parish, one, _ = both(Parish(settings=flock(*allows)))
        packet = one.traffic(self.NEW, 1000)
        assert sum(len(parish.give(packet, one.address)) for _ in range(1100)) == 1049

    def test_over_two_cathedrals(self) -> None:
        diocese, one, other = Diocese(), left(), right()
        diocese.registers(diocese.here, one)
        diocese.registers(diocese.there, other)
        packet = one.traffic(self.NEW)
        assert diocese.give(diocese.here, packet, one.address) == [(packet, other.address)]
        answer = other.traffic(Spi(0x0102_0CCC))
        assert diocese.give(diocese.there, answer, other.address) == [(answer, one.address)]
        assert (diocese.here.drops, diocese.there.drops) == ({}, {})
        foreign = one.traffic(self.NEWER)
        assert diocese.there.refused(foreign, one.address) is Drop.SPI_UNKNOWN


class TestTheFastPath:
    def test_it_agrees_with_the_slow_one(self) -> None:
        parish, one, other = both()
        packet = one.traffic(spi(other))
        route = parish.cathedral.route(packet[:32])
        assert route is not None
        assert route.destination == other.address
        assert parish.cathedral.route(packet[:32], one.address) is route
        for wrong in (one.traffic(Spi(0x0201_0003)), bytes(32), one.exchange()):
            assert parish.cathedral.route(wrong[:32]) is None

    def test_a_route_stays_while_its_tunnel_does(self) -> None:
        parish, one, other = both()
        head = one.traffic(spi(other))[:32]
        route = parish.cathedral.route(head)
        assert route is not None
        other.address, other.instance = STRANGER, SECOND
        parish.after(5)
        parish.registers(other)
        assert parish.cathedral.route(head) is route
        assert route.destination == STRANGER
        parish.after(131)
        assert parish.cathedral.route(head) is None

    def test_an_offers_magic_is_no_spi(self) -> None:
        tunnel = int.from_bytes(b"KA", "big")
        parish = Parish()
        odd = Device(tunnel >> 8, tunnel & 0xFF, left().address)
        odd.receiving = Spi(int.from_bytes(b"KATE", "big"))
        parish.registers(odd)
        peer = Device(odd.peer, odd.number, right().address)
        packet = peer.traffic(odd.receiving)
        assert parish.give(packet, peer.address) == [(packet, odd.address)]
        assert parish.cathedral.route(packet[:32]) is None
        marked = b"KATEDRAL" + packet[8:]
        assert parish.cathedral.route(marked[:32]) is None
        assert parish.refused(marked, peer.address) is Drop.OFFER_TOO_SHORT

    def test_counts_of_both_paths(self) -> None:
        parish, one, other = both()
        packet = one.traffic(spi(other), 1000)
        route = parish.cathedral.route(packet[:32])
        assert route is not None
        assert route.admit(1000, 40, parish.now) == 40
        parish.give(packet, one.address)
        parish.give(one.traffic(Spi(0x0201_0003)), STRANGER)
        counts = parish.cathedral.statistics()
        assert (counts.traffic_in, counts.traffic_out, counts.traffic_octets) == (42, 41, 41_000)
        parish.cathedral.reset_statistics()
        counts = parish.cathedral.statistics()
        assert (counts.traffic_in, counts.traffic_out, counts.traffic_octets) == (0, 0, 0)
        assert counts.tunnels_local == 2


class TestOffers:
    def test_both_ends_have_to_be_known(self) -> None:
        parish, one, other = Parish(), left(), right()
        assert parish.refused(one.exchange(), one.address) is Drop.TUNNEL_UNKNOWN
        parish.registers(one)
        assert parish.refused(one.exchange(), one.address) is Drop.TUNNEL_UNKNOWN
        assert parish.refused(other.exchange(), other.address) is Drop.TUNNEL_UNKNOWN
        parish.registers(other)
        for sender, receiver in ((one, other), (other, one)):
            offer = sender.exchange()
            assert parish.give(offer, STRANGER) == [(offer, receiver.address)]
        counts = parish.cathedral.statistics()
        assert (counts.offers_in, counts.offers_out, counts.offers_octets) == (5, 2, 2 * 623)
        parish.cathedral.reset_statistics()
        assert parish.cathedral.statistics().offers_in == 0

    def test_any_size_that_has_a_header(self) -> None:
        parish, one, other = both()
        short = one.exchange(HEADER_BYTES)
        assert parish.give(short, one.address) == [(short, other.address)]
        assert parish.refused(short[:-1], one.address) is Drop.OFFER_TOO_SHORT

    def test_flocks(self) -> None:
        parish, one, _ = both()
        away = dataclasses.replace(one, flocks=Flocks(OTHER, OTHER))
        assert parish.refused(away.exchange(), one.address) is Drop.FLOCK_UNKNOWN
        apart = dataclasses.replace(one, flocks=Flocks(FLOCK, FlockId(FLOCK | 1)))
        assert parish.refused(apart.exchange(), one.address) is Drop.FLOCKS_APART


class TestBandwidth:
    def limited(self, mbit: int) -> Settings:
        return flock(Allow(CathedralId(1), 1, 0), Allow(CathedralId(2), 2, mbit))

    def burst(self, parish: Parish, one: Device, other: Device) -> int:
        packet = one.traffic(spi(other), 1000)
        return sum(len(parish.give(packet, one.address)) for _ in range(2500))

    def test_it_is_the_receivers(self) -> None:
        parish, one, other = both(Parish(settings=self.limited(8)))
        assert self.burst(parish, one, other) == 1049
        assert self.burst(parish, other, one) == 2500
        assert parish.drops == {Drop.BANDWIDTH: 2500 - 1049}

    def test_a_change_counts_for_who_is_registered(self) -> None:
        parish, one, other = both(Parish(settings=self.limited(0)))
        assert self.burst(parish, one, other) == 2500
        parish.cathedral.reconfigure(self.limited(8), parish.now)
        parish.after(10)
        assert self.burst(parish, one, other) == 1049

    def test_it_is_that_of_the_identity_at_hand(self) -> None:
        settings = flock(
            Allow(CathedralId(1), 1, 0), Allow(CathedralId(2), 2, 0), Allow(CathedralId(3), 2, 8)
        )
        parish, one, other = both(Parish(settings=settings))
        assert self.burst(parish, one, other) == 2500
        heir = dataclasses.replace(other, identity=CathedralId(3))
        parish.after(5)
        parish.registers(heir)
        assert self.burst(parish, one, heir) == 1049

    def test_offers_have_no_limit(self) -> None:
        parish, one, other = both(Parish(settings=self.limited(1)))
        assert self.burst(parish, one, other) == 132
        assert len(parish.give(one.exchange(), one.address)) == 1


def test_a_packet_goes_to_another_cathedral_once() -> None:
    parish, one = Parish(settings=flock(federation=(THERE,))), left()
    assert one.flocks == OWN_FLOCKS
    parish.registers(one)
    assert parish.refused(one.traffic(Spi(0x0201_0002)), THERE) is Drop.TUNNEL_UNKNOWN
