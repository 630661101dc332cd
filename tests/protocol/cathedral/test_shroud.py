"""Masks: whose a datagram wears, and which one the next hop gets (section 9)."""

from __future__ import annotations

import dataclasses

import pytest

from chancel.crypto.kdf import cathedral_shroud_key, shroud_base_identity, shroud_identity
from chancel.crypto.kdf_cathedral import federation_shroud_key
from chancel.protocol.cathedral import shrouds
from chancel.protocol.cathedral.admission import MAX_DEBT, REFUSED
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Settings, pair
from chancel.protocol.shroud import HEADER_BYTES, MIN_BYTES, SHROUD_BYTES, Shroud
from chancel.protocol.shroud_marks import ROTATE_S, Marks
from chancel.vault.secret import Secret
from chancel.wire.cathedral import Answer
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, encode_local
from chancel.wire.offer import OFFER_BYTES
from chancel.wire.types import Address, FlockId, Flocks, Spi
from tests.protocol.cathedral.parish import (
    FLOCK,
    HERE,
    MTU,
    OTHER,
    SYNC,
    THERE,
    Device,
    Diocese,
    Parish,
    flock,
    left,
    right,
)
from tests.protocol.cathedral_records import SUITE, load

VECTORS = load("cathedral_shroud")


def crossing_settings() -> Settings:
    allows = tuple(Allow(CathedralId(number), number, 0) for number in (1, 2))
    known = {each: FlockSettings(each, allows) for each in (FLOCK, OTHER)}
    return Settings(known, {pair(FLOCK, OTHER): None})


def give(parish: Parish, device: Device, datagram: bytes) -> list[tuple[bytes, Address]]:
    return parish.give(device.masked(datagram, parish.now), device.address)


def registers(parish: Parish, device: Device) -> list[Answer]:
    """What a device hears, which wears a mask and knows its own."""
    return [
        device.hears(device.shroud.unwrap(answer)).body
        for answer, to in give(parish, device, device.info(parish.wall))
        if to == device.address
    ]


def both(settings: Settings | None = None) -> tuple[Parish, Device, Device]:
    parish, one, other = Parish(settings=settings, shroud=True), left(), right()
    registers(parish, one)
    registers(parish, other)
    assert parish.drops == {}
    return parish, one, other


class TestClients:
    def test_are_answered_under_their_own_mask(self) -> None:
        parish, one, other = Parish(shroud=True), left(), right()
        assert registers(parish, one) == []
        assert registers(parish, other) == [AnswerBody(HERE, encode_local(None))]
        [(answer, _)] = give(parish, other, other.info(parish.wall))
        assert len(answer) >= OFFER_BYTES + SHROUD_BYTES
        header = bytes(HEADER_BYTES)
        assert bytes(one.shroud.masks(header, 1, 32)) != bytes(other.shroud.masks(header, 1, 32))

    def test_no_two_masks_begin_alike(self) -> None:
        parish, _, other = both()
        sent = [give(parish, other, other.info(parish.wall))[0][0] for _ in range(3)]
        assert len({each[:16] for each in sent}) == len({each[16:32] for each in sent}) == 3

    def test_traffic_gets_the_receivers_mask(self) -> None:
        parish, one, other = both()
        packet = one.traffic(other.receiving or Spi(0))
        [(masked, to)] = give(parish, one, packet)
        assert to == other.address
        assert other.shroud.unwrap(masked) == packet
        offer = other.exchange()
        [(masked, to)] = give(parish, other, offer)
        assert to == one.address
        assert one.shroud.unwrap(masked) == offer

    def test_small_packets_grow(self) -> None:
        parish, one, other = both()
        packet = one.traffic(other.receiving or Spi(0), 60)
        sizes = {len(give(parish, one, packet)[0][0]) for _ in range(20)}
        assert len(sizes) > 10
        assert max(sizes) < MTU

    def test_bandwidth_counts_what_is_under_the_mask(self) -> None:
        settings = flock(Allow(CathedralId(1), 1, 0), Allow(CathedralId(2), 2, 1))
        parish, one, other = both(settings)
        packet = one.traffic(other.receiving or Spi(0), 1000)
        passed = sum(len(give(parish, one, packet)) for _ in range(150))
        assert passed == 132
        assert parish.cathedral.statistics().traffic_octets == 132_000

    def test_the_mask_of_the_identity_at_hand(self) -> None:
        """The reference keeps that of the first one."""
        settings = flock(
            Allow(CathedralId(1), 1, 0), Allow(CathedralId(2), 2, 0), Allow(CathedralId(3), 2, 0)
        )
        parish, one, other = both(settings)
        heir = dataclasses.replace(other, identity=CathedralId(3))
        registers(parish, heir)
        packet = one.traffic(other.receiving or Spi(0))
        [(masked, _)] = give(parish, one, packet)
        assert heir.shroud.unwrap(masked) == packet

    def test_an_identity_that_is_replaced_ends_nothing_else(self) -> None:
        parish, one, other = both()
        allows = (Allow(CathedralId(1), 1, 0), Allow(CathedralId(9), 2, 0))
        parish.cathedral.reconfigure(flock(*allows), parish.now)
        packet = one.traffic(other.receiving or Spi(0))
        assert give(parish, one, packet) == []
        assert parish.drops == {Drop.TUNNEL_UNKNOWN: 1}
        heir = dataclasses.replace(other, identity=CathedralId(9))
        assert len(registers(parish, heir)) == 1

    def test_another_key_counts_at_once(self) -> None:
        parish, one, _ = both()
        parish.keys.replace(FLOCK, one.identity, bytes(32))
        masked = one.masked(one.info(parish.wall), parish.now)
        assert parish.refused(masked, one.address) is Drop.BAD_MASK
        one.shroud = Shroud(cathedral_shroud_key(SUITE, bytes(32), one.flocks), SUITE)
        masked = one.masked(one.info(parish.wall), parish.now)
        assert parish.refused(masked, one.address) is Drop.OFFER_BAD_TAG, "its mask is right"

    def test_nat_detection_and_liturgies_too(self) -> None:
        parish, one, other = both()
        parish.after(20)
        for device in (one, other):
            registers(parish, device)
            told = give(parish, device, device.probe(parish.wall))
        assert [to for _, to in told] == [other.address, one.address]
        for device, peer, (answer, _) in zip((other, one), (one, other), told, strict=True):
            body = device.hears(device.shroud.unwrap(answer)).body
            assert body == AnswerBody(peer.address, encode_local(device.address))
        assert registers(parish, one) == [AnswerBody(other.address, encode_local(one.address))]
        for device in (one, other):
            [(answer, to)] = give(parish, device, device.liturgy(parish.wall))
            assert to == device.address
            assert device.hears(device.shroud.unwrap(answer))
        assert parish.drops == {}


class TestRecognition:
    def test_a_mark_is_searched_for_once(self) -> None:
        parish, one, _ = both()
        known = parish.cathedral._shrouds
        assert known is not None
        known._groups.clear()
        for _ in range(3):
            registers(parish, one)
        assert parish.drops == {}

    def test_a_new_mark_from_the_same_address_needs_no_search(self) -> None:
        parish, one, _ = both()
        known = parish.cathedral._shrouds
        assert known is not None
        known._groups.clear()
        old = one.marks.current(parish.now)
        parish.now += ROTATE_S
        assert one.marks.current(parish.now) != old
        registers(parish, one)
        assert parish.drops == {}

    def test_what_is_remembered_has_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shrouds, "MAX_REMEMBERED", 3)
        parish = Parish(shroud=True)
        known = parish.cathedral._shrouds
        assert known is not None
        devices = [Device(number, 9, Address("192.0.2.9", number)) for number in range(1, 8)]
        for _ in range(3):
            for device in devices:
                registers(parish, device)
                assert len(known._by_mark._table) <= 3
                assert len(known._by_source._table) <= 3
        assert parish.drops == {}
        assert parish.cathedral.statistics().tunnels_local == len(devices)

    def test_who_is_not_found_yet_is_tried_first(self) -> None:
        parish, one, other = both()
        known = parish.cathedral._shrouds
        assert known is not None
        last = [each[0].identity for each in known._groups.values()][-2:]
        assert last == [one.identity, other.identity]

    def test_nobodys_mark(self) -> None:
        parish, one, _ = both()
        assert parish.refused(bytes(MIN_BYTES), one.address) is Drop.SHROUD_UNKNOWN
        assert parish.refused(one.info(parish.wall), one.address) is Drop.SHROUD_UNKNOWN
        assert parish.refused(bytes(MIN_BYTES - 1), one.address) is Drop.TOO_SHORT

    def test_a_mark_of_zeros_matches_nothing_that_is_not_there(self) -> None:
        parish = Parish(shroud=True)
        assert parish.refused(bytes(700), left().address) is Drop.SHROUD_UNKNOWN

    def test_a_mark_that_a_stranger_made(self) -> None:
        """Its inputs are public; what is under it makes no sense."""
        parish, one, _ = both()
        known = parish.cathedral._shrouds
        assert known is not None
        stranger = dataclasses.replace(one)
        stranger.shroud = Shroud(bytes(32), SUITE)
        stranger.marks = Marks(SUITE, shroud_base_identity(SUITE, one.flocks, one.identity))
        remembered = len(known._by_mark._table)
        for number in range(20):
            masked = stranger.masked(one.info(parish.wall), parish.now + number * ROTATE_S)
            assert parish.refused(masked, Address("192.0.2.66", 6)) is Drop.BAD_MASK
        assert len(known._by_mark._table) == remembered

    def test_searches_in_vain_are_a_debt(self) -> None:
        parish, one, _ = both()
        thief = Address("192.0.2.66", 6)
        most = int(MAX_DEBT / REFUSED)
        for number in range(most):
            parish.give(number.to_bytes(2, "big") * 100, thief)
        assert parish.drops[Drop.SOURCE_LIMIT] > most / 2
        before = parish.drops
        registers(parish, one)
        assert parish.drops == before

    def test_lost_keys(self) -> None:
        parish, one, other = both()
        parish.keys.lost.add(one.identity)
        assert parish.refused(one.masked(one.info(parish.wall), parish.now), one.address) is (
            Drop.CLIENT_UNKNOWN
        )
        packet = other.traffic(one.receiving or Spi(0))
        assert parish.refused(other.masked(packet, parish.now), other.address) is (
            Drop.CLIENT_UNKNOWN
        )

    def test_what_is_too_small_under_its_mask(self) -> None:
        parish, one, _ = both()
        masked = one.masked(bytes(49), parish.now)
        assert parish.refused(masked, one.address) in (Drop.TOO_SHORT, Drop.BAD_MASK)

    def test_the_fast_path_is_for_what_wears_none(self) -> None:
        parish, one, other = both()
        masked = one.masked(one.traffic(other.receiving or Spi(0)), parish.now)
        assert parish.cathedral.route(masked[:32]) is None


class TestCrossingFlocks:
    """The reference refuses these clients: its records know one flock alone."""

    def pair(self) -> tuple[Parish, Device, Device]:
        parish = Parish(settings=crossing_settings(), shroud=True)
        one = Device(1, 2, left().address, Flocks(FLOCK, OTHER), receiving=Spi(0x0102_0001))
        other = Device(2, 1, right().address, Flocks(OTHER, FLOCK), receiving=Spi(0x0201_0002))
        return parish, one, other

    def test_are_served(self) -> None:
        parish, one, other = self.pair()
        assert registers(parish, one) == []
        assert len(registers(parish, other)) == 1
        packet = one.traffic(other.receiving or Spi(0))
        [(masked, _)] = give(parish, one, packet)
        assert other.shroud.unwrap(masked) == packet

    def test_one_identity_in_both_has_one_base_identity_and_two_keys(self) -> None:
        parish, one, other = self.pair()
        twin = Device(1, 2, other.address, Flocks(OTHER, FLOCK), receiving=Spi(0x0102_0007))
        assert shroud_base_identity(SUITE, one.flocks, 1) == shroud_base_identity(
            *(SUITE, twin.flocks, 1)
        )
        seed = bytes(range(16))
        mark = shroud_identity(SUITE, shroud_base_identity(SUITE, one.flocks, 1), seed) + seed
        for device in (one, twin, one, twin):
            masked = device.shroud.wrap(device.info(parish.wall), MTU, mark)
            parish.give(masked, device.address)
        assert parish.drops == {}
        assert parish.cathedral.statistics().tunnels_local == 2
        ends = {(each.flocks.own, each.route.destination) for each in parish.cathedral._tunnels}
        assert ends == {(FLOCK, one.address), (OTHER, twin.address)}

    def test_within_a_flock_beside_it(self) -> None:
        parish, one, _ = self.pair()
        plain = Device(1, 2, one.address)
        registers(parish, one)
        registers(parish, plain)
        assert parish.drops == {}

    def test_a_base_identity_is_kept_over_other_settings(self) -> None:
        parish, one, _ = self.pair()
        registers(parish, one)
        known = parish.cathedral._shrouds
        assert known is not None
        before = dict(known._records)
        parish.cathedral.reconfigure(crossing_settings(), parish.now)
        assert all(known._records[key] is record for key, record in before.items())
        parish.cathedral.reconfigure(Settings(), parish.now)
        assert known._records == {}
        masked = one.masked(one.info(parish.wall), parish.now)
        assert parish.refused(masked, one.address) is Drop.SHROUD_UNKNOWN


class TestFederation:
    def test_infos_traffic_and_offers_over_two_cathedrals(self) -> None:
        diocese, one, other = Diocese(shroud=True), left(), right()
        here, there = diocese.here, diocese.there
        for parish, device in ((here, one), (there, other)):
            masked = device.masked(device.info(parish.wall), parish.now)
            diocese.give(parish, masked, device.address)
        assert here.cathedral.statistics().tunnels_federated == 1
        packet = one.traffic(other.receiving or Spi(0))
        [(masked, to)] = diocese.give(here, one.masked(packet, here.now), one.address)
        assert to == other.address
        assert other.shroud.unwrap(masked) == packet
        [(masked, to)] = diocese.give(
            there, other.masked(other.exchange(), there.now), other.address
        )
        assert one.shroud.unwrap(masked) == other.exchange()
        assert (here.drops, there.drops) == ({}, {})

    def test_without_the_secret(self) -> None:
        diocese, one = Diocese(shroud=True), left()
        diocese.there.sync = None
        diocese.give(diocese.here, one.masked(one.info(diocese.here.wall), 0.0), one.address)
        assert diocese.there.drops == {Drop.NO_SECRET: 2}

    def test_another_secret(self) -> None:
        diocese, one = Diocese(shroud=True), left()
        diocese.there.sync = Secret(bytes(32))
        diocese.give(diocese.here, one.masked(one.info(diocese.here.wall), 0.0), one.address)
        assert sum(diocese.there.drops.values()) == 2
        assert diocese.there.cathedral.statistics().tunnels_federated == 0


@pytest.mark.parametrize("vector", VECTORS["client_to_cathedral"], ids=range(3))
def test_the_reference_clients_are_recognised(vector: dict[str, str]) -> None:
    """What the recorded ones carry is noise; so a request is put under the same header."""
    own, peer = (FlockId(int(vector[name], 16) & ~0xFF) for name in ("flock_src", "flock_dst"))
    identity = CathedralId(int(vector["cathedral_id"], 16))
    allows = (Allow(identity, 1, 0),)
    known = {each: FlockSettings(each, allows) for each in (own, peer)}
    crossing = {} if own == peer else {pair(own, peer): None}
    parish = Parish(settings=Settings(known, crossing), shroud=True)
    secret = bytes.fromhex(VECTORS["cathedral_secret"])
    for each in known:
        parish.keys.replace(each, identity, secret)
    wire = bytes.fromhex(vector["wire"])
    assert parish.refused(wire, left().address) is Drop.BAD_MASK

    flocks = Flocks(*(FlockId(int(vector[name], 16)) for name in ("flock_src", "flock_dst")))
    device = Device(1, 2, left().address, flocks, identity=identity)
    packet = device.exchange()
    inner = Shroud(bytes.fromhex(vector["shroud_key"]), SUITE)
    masked = inner.wrap(packet, MTU, wire[:HEADER_BYTES])
    assert masked[:HEADER_BYTES] == wire[:HEADER_BYTES]
    assert parish.refused(masked, left().address) is Drop.TUNNEL_UNKNOWN


def test_the_reference_cathedrals_mask() -> None:
    """The recorded inner datagram is noise, and so is traffic of a flock that nobody has."""
    vector = VECTORS["inter_cathedral"]
    parish = Parish(settings=flock(federation=(THERE,)), shroud=True)
    parish.sync = Secret(bytes.fromhex(VECTORS["sync_secret"]))
    assert parish.refused(bytes.fromhex(vector["wire"]), THERE) is Drop.FLOCK_UNKNOWN
    parish.after(1)
    parish.sync = Secret(SYNC)
    assert federation_shroud_key(SUITE, SYNC).hex() != vector["shroud_key"]
    reason = parish.refused(bytes.fromhex(vector["wire"]), THERE)
    assert reason in (Drop.BAD_MASK, Drop.FLOCK_UNKNOWN)
