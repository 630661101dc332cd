"""Both ends are told at the same moment that they can reach each other."""

from __future__ import annotations

import pytest

from chancel.protocol.cathedral.meetings import TELL_S
from chancel.protocol.cathedral.tunnels import SETTLE_S
from chancel.wire.cathedral import Answer
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, encode_local
from chancel.wire.types import Address
from tests.protocol.cathedral.parish import (
    SECOND,
    Device,
    Diocese,
    Parish,
    left,
    right,
)

Told = dict[int, list[Answer]]


def settled() -> tuple[Parish, Device, Device]:
    """Both registered, and long enough ago."""
    parish, one, other = Parish(), left(), right()
    parish.registers(one)
    parish.registers(other)
    parish.after(SETTLE_S)
    for device in (one, other):
        parish.registers(device)
    return parish, one, other


def probes(parish: Parish, device: Device, *, port: int = 0) -> Told:
    """A message of NAT detection, other than those before, and what each hears because of it."""
    device.generation += 1
    source = device.address._replace(port=port or device.address.port)
    return heard(parish.give(device.probe(parish.wall), source))


def heard(sent: list[tuple[bytes, Address]]) -> Told:
    found: Told = {}
    ends = {each.address: each for each in (left(), right())}
    for answer, to in sent:
        found.setdefault(ends[to].number, []).append(ends[to].hears(answer).body)
    return found


def answer(device: Device, peer: Device) -> AnswerBody:
    proves = device.proves_paths and peer.proves_paths
    return AnswerBody(peer.address, encode_local(device.address), peer_proves_paths=proves)


def met(one: Device, other: Device) -> Told:
    return {1: [answer(one, other)], 2: [answer(other, one)]}


def test_as_soon_as_the_second_can_be_reached() -> None:
    parish, one, other = settled()
    assert probes(parish, one) == {}
    assert probes(parish, other) == met(one, other)
    assert parish.drops == {}


def test_once() -> None:
    parish, one, other = settled()
    probes(parish, one)
    probes(parish, other)
    for _ in range(5):
        parish.after(5)
        assert probes(parish, one) == probes(parish, other) == {}


def test_again_when_an_address_has_changed() -> None:
    parish, one, other = settled()
    probes(parish, one)
    probes(parish, other)
    parish.after(5)
    moved = Address("198.51.100.200", 200)
    parish.give(one.info(parish.wall), moved)
    [(to_one, at_one), (to_other, at_other)] = parish.give(one.probe(parish.wall), moved)
    assert (at_one, at_other) == (moved, other.address)
    assert one.hears(to_one).body == AnswerBody(other.address, encode_local(moved))
    assert other.hears(to_other).body == AnswerBody(moved, encode_local(other.address))


def test_again_after_a_restart() -> None:
    parish, one, other = settled()
    probes(parish, one)
    probes(parish, other)
    one.instance = SECOND
    parish.registers(one)
    parish.after(SETTLE_S - 1)
    assert probes(parish, one) == {}
    parish.after(1)
    assert probes(parish, one) == met(one, other)


def test_a_nat_that_looks_one_way_and_then_the_other() -> None:
    """The peer hears of it every few seconds at most."""
    parish, one, other = settled()
    probes(parish, one)
    told = []
    for _ in range(8):
        told.append(probes(parish, other))
        assert probes(parish, other, port=9) == {}
        parish.after(TELL_S / 2)
    assert told == [met(one, other), {}] * 4
    assert parish.drops == {}


@pytest.mark.parametrize("who", ["alone", "same host", "strict"])
def test_nobody_who_cant_be_met(who: str) -> None:
    parish, one, other = settled()
    if who == "same host":
        other.address = Address(one.address.host, 77)
        parish.registers(other)
    if who != "alone":
        parish.takes(one.probe(parish.wall), one.address)
    port = 9 if who == "strict" else other.address.port
    parish.takes(other.probe(parish.wall), other.address._replace(port=port))


def test_by_the_keys_of_each() -> None:
    """Its identity may be another than that of the one whose probe told us."""
    parish, one, other = settled()
    assert one.identity != other.identity
    probes(parish, one)
    parish.keys.lost.add(other.identity)
    assert parish.refused(other.probe(parish.wall), other.address) is Drop.CLIENT_UNKNOWN
    parish.keys.lost = {one.identity}
    sent = parish.give(other.probe(parish.wall), other.address)
    assert heard(sent) == {2: [answer(other, one)]}
    assert parish.drops == {Drop.CLIENT_UNKNOWN: 2}


class TestTwoCathedrals:
    def settled(self, *, p2p_sync: bool) -> tuple[Diocese, Device, Device]:
        diocese, one, other = Diocese(p2p_sync=p2p_sync), left(), right()
        for _ in range(2):
            diocese.registers(diocese.here, one)
            diocese.registers(diocese.there, other)
            diocese.after(SETTLE_S)
        return diocese, one, other

    def test_both_at_once(self) -> None:
        """The second cathedral tells the first what it finds out, without waiting for an info."""
        diocese, one, other = self.settled(p2p_sync=True)
        here, there = diocese.here, diocese.there
        assert diocese.give(here, one.probe(here.wall), one.address) == []
        diocese.registers(here, one)
        sent = diocese.give(there, other.probe(there.wall), other.address)
        assert heard(sent) == met(one, other)
        assert (here.drops, there.drops) == ({}, {})
        diocese.after(5)
        for parish, device in ((here, one), (there, other)):
            diocese.registers(parish, device)
            assert diocese.give(parish, device.probe(parish.wall), device.address) == []

    def test_not_without_sync(self) -> None:
        diocese, one, other = self.settled(p2p_sync=False)
        for parish, device in ((diocese.here, one), (diocese.there, other)):
            parish.takes(device.probe(parish.wall), device.address)


class TestEndsThatProvePaths:
    """They may be told of addresses that nobody has judged: they move to none that is in vain."""

    def proving(self, *ends: Device) -> tuple[Device, ...]:
        for each in ends:
            each.proves_paths = True
        return ends

    def test_both_are_told_as_soon_as_the_second_comes(self) -> None:
        parish = Parish()
        one, other = self.proving(left(), right())
        assert parish.registers(one) == []
        sent = parish.give(other.info(parish.wall), other.address)
        relayed = AnswerBody(parish.address, encode_local(None))
        assert heard(sent) == {1: [answer(one, other)], 2: [relayed, answer(other, one)]}
        parish.after(5)
        assert parish.registers(one) == [answer(one, other)]

    def test_whatever_their_nats_do(self) -> None:
        parish, (one, other) = Parish(), self.proving(left(), right())
        for each in (one, other):
            parish.registers(each)
        parish.after(SETTLE_S)
        assert probes(parish, one, port=9) == {}
        parish.after(5)
        assert parish.registers(other)[0] == answer(other, one)

    def test_both_behind_one_nat(self) -> None:
        parish, (one, other) = Parish(), self.proving(left(), right())
        other.address = Address(one.address.host, 7)
        parish.registers(one)
        parish.registers(other)
        parish.after(5)
        assert parish.registers(one)[0] == answer(one, other)

    @pytest.mark.parametrize("side", [0, 1])
    def test_one_alone_is_not_enough(self, side: int) -> None:
        parish, ends = Parish(), (left(), right())
        self.proving(ends[side])
        for _ in range(3):
            for each in ends:
                for said in parish.registers(each):
                    assert said.peer == parish.address  # type: ignore[union-attr]
            parish.after(5)

    def test_a_move_is_told_at_once_but_not_any_number_of_times(self) -> None:
        parish, (one, other) = Parish(), self.proving(left(), right())
        parish.registers(one)
        parish.registers(other)
        told = 0
        for port in range(2000, 2010):
            moved = Address(other.address.host, port)
            other.generation += 1
            sent = parish.give(other.info(parish.wall), moved)
            told += sum(to == one.address for _, to in sent)
            parish.after(0.1)
        assert told <= 1
        parish.after(TELL_S)
        other.generation += 1
        sent = parish.give(other.info(parish.wall), Address(other.address.host, 3000))
        assert [to for _, to in sent if to == one.address]

    def test_at_two_cathedrals(self) -> None:
        diocese = Diocese(p2p_sync=True)
        one, other = self.proving(left(), right())
        diocese.registers(diocese.here, one)
        diocese.registers(diocese.there, other)
        diocese.after(5)
        assert diocese.registers(diocese.here, one) == [answer(one, other)]
        assert diocese.registers(diocese.there, other) == [answer(other, one)]

    def test_a_cathedral_that_tells_others_of_no_addresses_has_them_relayed(self) -> None:
        diocese = Diocese(p2p_sync=False)
        one, other = self.proving(left(), right())
        for _ in range(3):
            diocese.registers(diocese.there, other)
            assert diocese.registers(diocese.here, one) == []
            diocese.after(5)
