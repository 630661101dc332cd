"""No table grows without end, whoever fills it; and who is registered keeps its service."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from chancel.protocol.cathedral import liturgies, tunnels
from chancel.protocol.cathedral.admission import DEBT_PER_S, FORGED, MAX_DEBT, MAX_SOURCES
from chancel.protocol.cathedral.freshness import MAX_PER_SECOND
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Settings
from chancel.protocol.events import MAX_EVENTS
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody
from chancel.wire.offer import OFFER_BYTES, OfferHeader
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi
from tests.protocol.cathedral.parish import FLOCK, OTHER, OWN_FLOCKS, Device, Parish, flock, left

HERE = left().address


def forged(number: int) -> bytes:
    """An offer that names a known client and is sealed under no key."""
    header = OfferHeader(Spi(1), OWN_FLOCKS, number.to_bytes(64, "big"))
    return CATHEDRAL.encode(header).ljust(OFFER_BYTES, b"\0")


def domain(number: int) -> Flocks:
    return Flocks(FlockId(FLOCK | number), FlockId(FLOCK | number))


def test_a_device_with_more_peers_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "MAX_PER_DEVICE", 300)
    parish = Parish()
    for number in range(300):
        parish.registers(Device(1, number & 0xFF, HERE, domain(number >> 8)))
    assert parish.drops == {}
    last = Device(1, 0xFF, HERE, domain(9))
    assert parish.refused(last.info(parish.wall), HERE) is Drop.TABLE_LIMIT
    parish.registers(Device(1, 7, HERE))
    parish.registers(Device(2, 1, HERE))
    assert parish.cathedral.statistics().tunnels_local == 301


def test_a_flock_cant_take_what_others_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "MAX_PER_FLOCK", 3)
    allows = (Allow(CathedralId(1), 1, 0), Allow(CathedralId(2), 2, 0))
    both = {each: FlockSettings(each, allows) for each in (FLOCK, OTHER)}
    parish = Parish(settings=Settings(both))
    for peer in range(3):
        parish.registers(Device(1, peer, HERE))
    assert parish.refused(Device(2, 1, HERE).info(parish.wall), HERE) is Drop.TABLE_LIMIT
    assert parish.registers(Device(1, 2, HERE, Flocks(OTHER, OTHER))) == []
    parish.after(140)
    parish.registers(Device(2, 1, HERE))
    assert parish.cathedral.statistics().tunnels_local == 1


def test_all_flocks_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "MAX_TUNNELS", 2)
    monkeypatch.setattr(liturgies, "MAX_LITURGIES", 1)
    parish = Parish()
    for number in (1, 2):
        parish.registers(Device(number, 9, HERE))
    third = Device(3, 9, HERE)
    assert parish.refused(third.info(parish.wall), HERE) is Drop.TABLE_LIMIT
    parish.give(third.liturgy(parish.wall), HERE)
    other = Device(4, 9, HERE)
    assert parish.refused(other.liturgy(parish.wall), HERE) is Drop.TABLE_LIMIT


def test_requests_in_one_second_of_a_clients_clock() -> None:
    parish = Parish()
    reasons = []
    for instance in range(MAX_PER_SECOND + 1):
        parish.give(Device(1, 2, HERE, instance=InstanceId(instance)).info(parish.wall), HERE)
        reasons.append(parish.drops)
    assert reasons[-2:] == [{}, {Drop.OFFER_LIMIT: 1}]
    parish.after(1)
    assert parish.registers(Device(1, 2, HERE)) == []
    assert parish.drops == {Drop.OFFER_LIMIT: 1}


class TestFloods:
    def test_forgeries_from_one_source_cost_no_more_than_allowed(self) -> None:
        parish = Parish()
        for number in range(10_000):
            parish.give(forged(number), HERE)
        most = int(MAX_DEBT / FORGED)
        assert parish.drops == {Drop.OFFER_BAD_TAG: most, Drop.SOURCE_LIMIT: 10_000 - most}
        assert parish.keys.asked[CathedralId(1)] == 2 * most, "no key is looked for either"
        parish.after(1)
        parish.give(forged(0), HERE)
        assert parish.drops[Drop.OFFER_BAD_TAG] == most + 1

    def test_a_neighbour_at_the_same_host_keeps_its_service(self) -> None:
        parish, one = Parish(), left()
        parish.registers(one)
        for _ in range(3):
            for number in range(3000):
                parish.give(forged(number), one.address._replace(port=6))
            parish.after(5)
            parish.registers(one)
        assert parish.drops[Drop.SOURCE_LIMIT] > 0
        assert parish.cathedral.statistics().tunnels_local == 1
        [tunnel] = parish.cathedral._tunnels
        assert tunnel.seen_at == parish.now

    def test_forgeries_from_everywhere(self) -> None:
        parish, one = Parish(), left()
        parish.registers(one)
        for number in range(20_000):
            source = Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5)
            parish.give(forged(number), source)
        assert parish.drops[Drop.SOURCE_LIMIT] > 0
        assert len(parish.cathedral._admission._debts) <= MAX_SOURCES
        before = parish.drops
        parish.give(one.info(parish.wall), one.address)
        assert parish.drops == before

    def test_many_clients_behind_one_address_are_no_flood(self) -> None:
        parish = Parish()
        for number in range(1, 251):
            for peer in range(8):
                device = Device(number, 250 - peer, Address("192.0.2.9", 1000 + number))
                parish.give(device.info(parish.wall), device.address)
        assert parish.drops == {}
        assert parish.cathedral.statistics().tunnels_local == 2000

    def test_a_device_with_a_wrong_clock_hears_of_it(self) -> None:
        parish, one = Parish(), left()
        for count in range(1, 41):
            answers = []
            for peer in range(40):
                answers += parish.answers(one, Device(1, peer, one.address).info(parish.wall - 60))
            assert answers == [AnswerBody(None)]
            assert parish.drops == {Drop.OFFER_TIME: 40 * count}
            parish.after(5)

    def test_what_costs_nothing_is_no_debt(self) -> None:
        parish, one = Parish(settings=flock(Allow(CathedralId(1), 1, 0))), left()
        stranger = Device(1, 2, one.address, identity=CathedralId(9)).info(parish.wall)
        for _ in range(int(2 * MAX_DEBT)):
            parish.give(stranger, one.address)
        assert parish.registers(one) == []
        assert parish.drops == {Drop.CLIENT_UNKNOWN: int(2 * MAX_DEBT)}

    def test_a_source_in_debt_is_heard_again(self) -> None:
        parish, one = Parish(), left()
        for number in range(int(MAX_DEBT) + 100):
            parish.give(forged(number), one.address)
        assert parish.refused(one.info(parish.wall), one.address) is Drop.SOURCE_LIMIT
        parish.after(2 / DEBT_PER_S)
        parish.registers(one)
        assert parish.cathedral.statistics().tunnels_local == 1


def test_the_memory_of_a_tunnel() -> None:
    """Each with an identity, a flock, an address and SPIs of its own: the most it can take."""
    flocks = [FlockId(0x10000 + number * 0x100) for number in range(1000)]
    allows = tuple(Allow(CathedralId(number), number, 0) for number in (1, 2))
    parish = Parish(settings=Settings({each: FlockSettings(each, allows) for each in flocks}))
    offers = []
    for number, own in enumerate(flocks):
        end = Device(1, 2, HERE, Flocks(own, own), instance=InstanceId(2**63 + number))
        end.receiving, end.pending = Spi(0x0102_0000 + number + 1), Spi(0x0102_8000 + number)
        offers.append((end.info(parish.wall), end.probe(parish.wall), number))
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for info, probe, number in offers:
            source = Address(f"10.1.{number >> 8}.{number & 255}", 1024 + number)
            parish.give(info, source)
            parish.give(probe, source)
        parish.keys.asked.clear()
        while parish.cathedral.next_event() is not None:
            pass
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert parish.drops == {}
    assert parish.cathedral.statistics().tunnels_local == len(flocks)
    assert (after - before) / len(flocks) <= 2048


def test_events_that_nobody_takes() -> None:
    parish = Parish()
    for number in range(1, 256):
        for peer in range(3):
            parish.registers(Device(number, peer, HERE))
    assert len(parish.events()) == MAX_EVENTS
