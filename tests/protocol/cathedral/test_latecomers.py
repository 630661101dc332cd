"""Who comes too late, or too early, learns what time it is, and nothing else happens."""

from __future__ import annotations

import pytest

from chancel.protocol.cathedral.latecomers import MAX_TOLD, TELL_S
from chancel.protocol.cathedral.settings import Allow
from chancel.protocol.registration import Registration
from chancel.protocol.registration_events import CathedralClockSkew
from chancel.protocol.registration_types import Registrant
from chancel.vault.secret import Secret
from chancel.wire.cathedral import NAT
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody
from chancel.wire.types import Address
from tests.protocol.cathedral.parish import (
    FLOCK,
    HERE,
    Device,
    Parish,
    cosk_of,
    flock,
    left,
    right,
    secret_of,
)


def tells(parish: Parish, device: Device, off_s: float) -> bool:
    """Whether an info by a clock that is off gets the time of day, and counts as refused."""
    before = parish.drops.get(Drop.OFFER_TIME, 0)
    sent = parish.give(device.info(parish.wall + off_s), device.address)
    assert parish.drops == {Drop.OFFER_TIME: before + 1}
    if not sent:
        return False
    [(answer, to)] = sent
    opened = device.hears(answer)
    assert (opened.body, opened.timestamp) == (AnswerBody(None), int(parish.wall))
    assert to == device.address
    return True


@pytest.mark.parametrize("off_s", [-86_400.0, -11.0, 12.0, 1e6])
def test_a_clock_that_is_wrong(off_s: float) -> None:
    parish, one = Parish(), left()
    assert tells(parish, one, off_s)
    assert parish.cathedral.statistics().tunnels_local == 0
    assert parish.events() == []


def test_who_is_registered_is_told_too_and_stays_where_it_was() -> None:
    parish, one, other = Parish(), left(), right()
    parish.registers(one)
    parish.registers(other)
    moved = Device(1, 2, Address("192.0.2.77", 7))
    assert tells(parish, moved, -30)
    [(_, to)] = parish.give(other.traffic(one.receiving or 0), other.address)  # type: ignore[arg-type]
    assert to == one.address
    [tunnel] = [each for each in parish.cathedral._tunnels if each.id == one.tunnel]
    assert tunnel.freshness._timestamp == int(parish.wall)


def test_so_often_at_each_host() -> None:
    parish, one = Parish(), left()
    neighbour = Device(1, 3, one.address._replace(port=9))
    other = Device(3, 1, one.address)
    assert tells(parish, one, -60)
    assert not tells(parish, neighbour, -60)
    assert tells(parish, other, -60), "another client"
    parish.after(TELL_S - 0.5)
    assert not tells(parish, one, -60)
    parish.after(0.5)
    assert tells(parish, one, -60)


def test_so_many() -> None:
    parish, one = Parish(), left()
    datagram = one.info(parish.wall - 60)
    told = 0
    for number in range(MAX_TOLD + 50):
        source = Address(f"10.0.{number >> 8}.{number & 255}", 5)
        told += len(parish.give(datagram, source))
        parish.now += 0.001
    assert told == MAX_TOLD
    parish.after(TELL_S)
    assert tells_at(parish, datagram)
    assert len(parish.cathedral._latecomers._told) == 1


def tells_at(parish: Parish, datagram: bytes) -> bool:
    return len(parish.give(datagram, left().address)) == 1


class TestNobodyElse:
    def test_a_wrong_signature(self) -> None:
        parish, one = Parish(), left()
        parish.keys.public = lambda flock, identity: bytes(32)  # type: ignore[method-assign]
        assert parish.refused(one.info(parish.wall - 60), one.address) is Drop.OFFER_SIGNATURE

    def test_a_device_that_is_not_allowed(self) -> None:
        parish = Parish(settings=flock(Allow(CathedralId(1), 1, 0)))
        greedy = Device(3, 2, left().address, identity=CathedralId(1))
        datagram = greedy.info(parish.wall - 60)
        assert parish.refused(datagram, greedy.address) is Drop.DEVICE_NOT_ALLOWED

    def test_probes_and_liturgies(self) -> None:
        parish, one = Parish(), left()
        late = parish.wall - 60
        for datagram in (one.info(late, NAT), one.liturgy(late)):
            assert parish.refused(datagram, one.address) is Drop.OFFER_TIME

    def test_a_flood_is_refused_as_before(self) -> None:
        parish, one = Parish(), left()
        datagram = one.info(parish.wall - 60)
        for _ in range(1000):
            parish.give(datagram, one.address)
        assert parish.drops[Drop.SOURCE_LIMIT] > 0


def test_a_client_of_ours_tells_its_user() -> None:
    parish, one = Parish(), left()
    registrant = Registrant(
        identity=one.identity,
        flocks=one.flocks,
        tunnel=one.tunnel,
        secret=lambda: Secret(secret_of(FLOCK, one.identity)),
        cosk=lambda: Secret(cosk_of(one.identity)),
    )
    wall = parish.wall - 3600
    client = Registration(one.suite, registrant, [HERE], parish.now, wall, instance=one.instance)
    client.wake(parish.now, wall)
    [(info, to)] = client.datagrams()
    assert to == HERE
    [(answer, _)] = parish.give(info, one.address)
    client.receive(answer, HERE, parish.now, wall)
    assert client.clock_skew_s == 3600
    assert CathedralClockSkew(3600.0, refused=True) in list(iter(client.next_event, None))
    assert client.commands()[1:] == []
    assert client.drops == {Drop.OFFER_TIME: 1}
