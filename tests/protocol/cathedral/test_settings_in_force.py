"""What other settings end, and what time ends."""

from __future__ import annotations

import dataclasses

from chancel.protocol.cathedral.events import Ending, LiturgyEnded, TunnelEnded
from chancel.protocol.cathedral.removal import EXPIRY_S
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Settings, pair
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.types import Address, Flocks
from tests.protocol.cathedral.parish import (
    FLOCK,
    HERE,
    OTHER,
    THERE,
    Device,
    Diocese,
    Parish,
    flock,
    left,
    right,
)

ONE, TWO, THREE = (Allow(CathedralId(number), number, 0) for number in (1, 2, 3))


def ended(parish: Parish) -> list[TunnelEnded | LiturgyEnded]:
    return [each for each in parish.events() if isinstance(each, TunnelEnded | LiturgyEnded)]


def registered(settings: Settings) -> tuple[Parish, Device, Device]:
    parish, one, other = Parish(settings=settings), left(), right()
    for device in (one, other):
        parish.registers(device)
        parish.give(device.liturgy(parish.wall), device.address)
    parish.events()
    return parish, one, other


def test_what_is_still_allowed_stays() -> None:
    parish, one, other = registered(flock(ONE, TWO))
    head = one.traffic(other.receiving or other.tunnel)[:32]  # type: ignore[arg-type]
    route = parish.cathedral.route(head)
    parish.cathedral.reconfigure(flock(TWO, ONE, THREE), parish.now)
    assert ended(parish) == []
    assert parish.cathedral.route(head) is route


def test_a_device_that_is_no_longer_allowed_goes() -> None:
    parish, one, other = registered(flock(ONE, TWO))
    parish.cathedral.reconfigure(flock(ONE), parish.now)
    assert ended(parish) == [
        TunnelEnded(other.flocks, other.tunnel, Ending.NOT_ALLOWED),
        LiturgyEnded(FLOCK, other.number, Ending.NOT_ALLOWED),
    ]
    assert parish.registers(one) == []
    assert parish.refused(other.info(parish.wall), other.address) is Drop.CLIENT_UNKNOWN
    assert other.address not in parish.cathedral._admission._registered
    assert one.address in parish.cathedral._admission._registered


def test_a_device_that_is_given_to_another_identity_goes() -> None:
    """The reference keeps the tunnel, and with a shroud ends."""
    parish, _, other = registered(flock(ONE, TWO))
    parish.cathedral.reconfigure(flock(ONE, Allow(CathedralId(9), 2, 0)), parish.now)
    assert len(ended(parish)) == 2
    heir = dataclasses.replace(other, identity=CathedralId(9))
    assert len(parish.registers(heir)) == 1


def test_a_flock_that_is_gone_takes_all_with_it() -> None:
    parish, _, _ = registered(flock(ONE, TWO))
    parish.cathedral.reconfigure(Settings(), parish.now)
    counts = parish.cathedral.statistics()
    assert (counts.tunnels_local, counts.liturgies_local) == (0, 0)
    assert len(parish.cathedral._admission._registered._counts) == 0
    assert parish.cathedral._tunnels.routes == {}
    assert parish.cathedral._tunnels._counts == {}


def test_flocks_that_no_longer_cross() -> None:
    known = {each: FlockSettings(each, (ONE,)) for each in (FLOCK, OTHER)}
    parish = Parish(settings=Settings(known, {pair(FLOCK, OTHER): None}))
    crossing = Device(1, 1, left().address, Flocks(FLOCK, OTHER))
    parish.registers(crossing)
    parish.registers(Device(1, 2, left().address))
    parish.cathedral.reconfigure(Settings(known), parish.now)
    assert ended(parish) == [TunnelEnded(crossing.flocks, crossing.tunnel, Ending.NOT_ALLOWED)]
    parish.cathedral.reconfigure(Settings({FLOCK: known[FLOCK]}), parish.now)
    assert parish.cathedral.statistics().tunnels_local == 1


def test_what_is_at_a_cathedral_that_left() -> None:
    diocese, one = Diocese(), left()
    diocese.registers(diocese.here, one)
    diocese.give(diocese.here, one.liturgy(diocese.here.wall), one.address)
    there = diocese.there
    there.cathedral.reconfigure(flock(federation=(HERE, Address("192.0.2.9", 9))), there.now)
    assert there.cathedral.statistics().tunnels_federated == 1
    there.cathedral.reconfigure(flock(federation=(THERE,)), there.now)
    assert ended(there) == [
        TunnelEnded(one.flocks, one.tunnel, Ending.CATHEDRAL_GONE),
        LiturgyEnded(FLOCK, 1, Ending.CATHEDRAL_GONE),
    ]


def test_new_members_are_told_of_and_to() -> None:
    parish, one = Parish(), left()
    one.remembers = True
    parish.registers(one)
    parish.cathedral.reconfigure(flock(federation=(THERE,)), parish.now)
    parish.after(15)
    sent = parish.give(one.info(parish.wall), one.address)
    assert [to for _, to in sent] == [one.address, THERE, THERE]


def test_where_a_device_was_is_no_longer_registered() -> None:
    parish, one, _ = registered(flock(ONE, TWO))
    before = one.address
    parish.after(5)
    one.address = Address("198.51.100.99", 9)
    parish.registers(one)
    parish.give(one.liturgy(parish.wall), one.address)
    known = parish.cathedral._admission._registered
    assert before not in known
    assert one.address in known


class TestExpiry:
    def test_after_two_minutes_of_silence(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(one)
        parish.after(7)
        parish.registers(other)
        parish.events()
        parish.after(EXPIRY_S - 7 - 0.1)
        assert ended(parish) == []
        parish.after(10)
        assert ended(parish) == [TunnelEnded(one.flocks, one.tunnel, Ending.SILENT)]
        parish.after(10)
        assert ended(parish) == [TunnelEnded(other.flocks, other.tunnel, Ending.SILENT)]
        assert parish.cathedral._tunnels._ends == {}

    def test_it_looks_every_ten_seconds(self) -> None:
        parish = Parish()
        assert parish.cathedral.wake_at() == parish.now + 10
        parish.cathedral.wake(parish.now + 9, 0.0)
        assert parish.cathedral.wake_at() == parish.now + 10
        parish.cathedral.wake(parish.now + 10.5, 0.0)
        assert parish.cathedral.wake_at() == parish.now + 20.5

    def test_who_speaks_stays(self) -> None:
        parish, one = Parish(), left()
        for _ in range(60):
            parish.registers(one)
            parish.after(5)
        assert ended(parish) == []

    def test_an_end_that_came_back_is_a_new_one(self) -> None:
        parish, one, other = Parish(), left(), right()
        one.remembers = True
        parish.registers(one)
        parish.after(140)
        parish.registers(other)
        assert len(parish.registers(one)) == 2, "an answer and a remembrance, at once"
