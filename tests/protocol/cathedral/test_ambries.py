"""A new bundle: who is sent its secrets without having asked, when, and how many at once."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from chancel.protocol.cathedral.ambries import MOST_IN_STEP, ROUND_S, ROUNDS, STEP_S
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Settings
from chancel.wire.ambry import Header
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import Answer
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address
from tests.protocol.cathedral.parish import FLOCK, HERE, THERE, Device, Diocese, Parish, left, right
from tests.protocol.cathedral.test_bundle import GOOD, bundle_bytes, wrapped

NEW = dataclasses.replace(GOOD, generation=8)
ALL_ROUNDS_S = (ROUNDS - 1) * ROUND_S


def serving(header: Header) -> Settings:
    bundle = Bundle.decode_untrusted(bundle_bytes(FLOCK, FLOCK, header), (FLOCK, FLOCK), 0.0, "x")
    allows = tuple(Allow(CathedralId(number), number, 0) for number in range(1, 256))
    return Settings({FLOCK: FlockSettings(FLOCK, allows, bundle)}, {}, ())


def asking(device: Device) -> Device:
    """The device, with the ambry of the bundle that is in force at first."""
    return dataclasses.replace(device, skips_ambry=False, generation=GOOD.generation)


@pytest.fixture
def parish() -> Parish:
    return Parish(settings=serving(GOOD))


def sent(parish: Parish, within_s: float) -> list[tuple[float, bytes, Address]]:
    """What is sent unasked, and how soon from now."""
    begun, out = parish.now, []
    while (at := parish.cathedral.wake_at()) <= begun + within_s:
        parish.after(at - parish.now)
        out += [(at - begun, data, to) for data, to in parish.cathedral.datagrams()]
    parish.after(begun + within_s - parish.now)
    return out


def ambry(device: Device) -> Answer:
    return AmbryBody(device.tunnel, NEW, wrapped(FLOCK, device.tunnel))


def test_it_is_sent_at_once_and_again_until_the_end_says_that_it_has_it(parish: Parish) -> None:
    one = asking(left())
    parish.registers(one)
    parish.cathedral.reconfigure(serving(NEW), parish.now)
    came = sent(parish, ROUND_S * 1.5)
    assert [at for at, _, _ in came] == [0.0, ROUND_S]
    assert {to for _, _, to in came} == {one.address}
    assert [one.hears(data).body for _, data, _ in came] == [ambry(one)] * 2
    one.generation = NEW.generation
    assert parish.registers(one) == []
    assert sent(parish, 60.0) == []


def test_who_never_says_so_is_sent_it_in_each_round_and_no_more(parish: Parish) -> None:
    parish.registers(asking(left()))
    parish.cathedral.reconfigure(serving(NEW), parish.now)
    assert [at for at, _, _ in sent(parish, 60.0)] == [n * ROUND_S for n in range(ROUNDS)]
    parish.cathedral.reconfigure(serving(NEW), parish.now)
    assert sent(parish, 60.0) == [], "the same bundle as before is no news"


def test_who_wants_none_gets_none(parish: Parish) -> None:
    parish.registers(left())
    parish.cathedral.reconfigure(serving(NEW), parish.now)
    assert sent(parish, ALL_ROUNDS_S) == []


def test_who_has_no_keys_any_more_gets_none(parish: Parish) -> None:
    one = asking(left())
    parish.registers(one)
    parish.cathedral.reconfigure(serving(NEW), parish.now)
    parish.keys.lost.add(one.identity)
    assert sent(parish, ALL_ROUNDS_S) == []


def test_many_are_sent_theirs_a_few_at_a_time(parish: Parish) -> None:
    hub = [asking(Device(1, peer, Address("198.51.100.1", 5000 + peer))) for peer in range(2, 255)]
    for each in hub:
        parish.registers(each)
    parish.cathedral.reconfigure(serving(NEW), parish.now)
    came = sent(parish, ROUND_S / 2)
    at_once = list(Counter(at for at, _, _ in came).values())
    assert at_once == [MOST_IN_STEP] * 3 + [len(hub) - 3 * MOST_IN_STEP]
    assert max(at for at, _, _ in came) == pytest.approx(3 * STEP_S)
    assert {to for _, _, to in came} == {each.address for each in hub}


def test_who_is_at_another_cathedral_is_sent_it_by_that_one() -> None:
    diocese = Diocese()
    settings = dataclasses.replace(serving(GOOD), federation=(HERE, THERE))
    for each in (diocese.here, diocese.there):
        each.cathedral.reconfigure(settings, each.now)
    diocese.after(60.0)
    one, other = asking(left()), asking(right())
    diocese.registers(diocese.here, one)
    diocese.registers(diocese.there, other)
    new = dataclasses.replace(serving(NEW), federation=(HERE, THERE))
    for parish, own in ((diocese.here, one), (diocese.there, other)):
        assert parish.cathedral.statistics().tunnels_federated == 1
        parish.cathedral.reconfigure(new, parish.now)
        assert {to for _, _, to in sent(parish, ROUND_S / 2)} == {own.address}
