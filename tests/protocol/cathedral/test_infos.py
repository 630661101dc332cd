"""Infos: who is registered, and what they are told (sections 4.1 to 4.4 and 8.4)."""

from __future__ import annotations

import dataclasses

import pytest

from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.events import (
    KeysUnavailable,
    TunnelRegistered,
    TunnelRestarted,
)
from chancel.protocol.cathedral.infos import REMEMBER_S
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Settings, pair
from chancel.protocol.cathedral.tunnels import SETTLE_S
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, NAT, Answer
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, encode_local
from chancel.wire.offer import OFFER_BYTES
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks
from tests.protocol.cathedral.parish import (
    FLOCK,
    HERE,
    OTHER,
    SECOND,
    THERE,
    Device,
    Parish,
    flock,
    left,
    right,
)
from tests.protocol.cathedral.test_bundle import GOOD, bundle_bytes, wrapped


def relayed(seen: Address | None) -> AnswerBody:
    return AnswerBody(HERE, encode_local(seen))


class TestTheAnswer:
    def test_none_while_the_peer_is_unknown(self) -> None:
        parish = Parish()
        assert parish.registers(left()) == []
        assert parish.drops == {}

    def test_relay_first_and_the_address_of_the_info_before(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(one)
        assert parish.registers(other) == [relayed(None)]
        parish.after(5)
        assert parish.registers(one) == [relayed(one.address)]
        first, one.address = one.address, Address("198.51.100.77", 7)
        parish.after(5)
        assert parish.registers(one) == [relayed(first)]

    def test_each_info_gets_one(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(one)
        parish.registers(other)
        datagram = other.info(parish.wall)
        for _ in range(3):
            assert parish.answers(other, datagram) == [relayed(other.address)]

    def test_its_flocks_are_noise_and_new_each_time(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(one)
        [(first, _)] = parish.give(other.info(parish.wall), other.address)
        [(second, _)] = parish.give(other.info(parish.wall), other.address)
        heads = [CATHEDRAL.decode_untrusted(each) for each in (first, second)]
        assert [int(head.spi) for head in heads] == [other.identity] * 2
        assert (
            len({*(head.flocks.own for head in heads), *(head.flocks.peer for head in heads)}) == 4
        )
        assert heads[0].seed != heads[1].seed
        assert len(first) == OFFER_BYTES

    def test_domains_are_apart(self) -> None:
        parish, one = Parish(), left()
        domain = FlockId(FLOCK | 7)
        other = Device(2, 1, right().address, Flocks(domain, domain))
        parish.registers(one)
        assert parish.registers(other) == []

    def test_padding_is_ignored(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(one)
        assert parish.answers(other, other.info(parish.wall) + bytes(100)) == [relayed(None)]

    def test_a_restart_is_not_answered_once(self) -> None:
        parish, one, other = Parish(), left(), right()
        one.remembers = True
        assert parish.registers(one) == [RemembranceBody((HERE,))]
        parish.registers(other)
        parish.after(20)
        one.instance = SECOND
        assert parish.registers(one) == []
        assert TunnelRestarted(one.flocks, one.tunnel) in parish.events()
        parish.after(5)
        assert parish.registers(one) == [relayed(one.address), RemembranceBody((HERE,))]


class TestNat:
    def pair(self) -> tuple[Parish, Device, Device]:
        parish, one, other = Parish(), left(), right()
        parish.registers(one)
        parish.registers(other)
        return parish, one, other

    def probe_all(self, parish: Parish, *devices: Device) -> list[list[Answer]]:
        """What each hears after its info; of what the probes cause, tests of their own tell."""
        heard = [parish.registers(device) for device in devices]
        for device in devices:
            parish.give(device.probe(parish.wall), device.address)
        return heard

    def test_peer_to_peer_once_both_settled(self) -> None:
        parish, one, other = self.pair()
        parish.after(SETTLE_S - 0.1)
        self.probe_all(parish, one, other)
        parish.after(5)
        assert self.probe_all(parish, one, other) == [
            [relayed(one.address)],
            [relayed(other.address)],
        ]
        parish.after(5)
        assert parish.registers(one) == [AnswerBody(other.address, encode_local(one.address))]
        assert parish.registers(other) == [AnswerBody(one.address, encode_local(other.address))]

    def test_another_port_is_another_mapping(self) -> None:
        parish, one, other = self.pair()
        parish.after(20)
        self.probe_all(parish, one, other)
        assert parish.registers(one) == [AnswerBody(other.address, encode_local(one.address))]
        parish.after(5)
        parish.registers(other)
        parish.takes(other.probe(parish.wall), other.address._replace(port=9))
        assert parish.registers(one) == [relayed(one.address)]
        assert parish.registers(other) == [relayed(other.address)]

    def test_a_probe_creates_nothing_and_keeps_nothing_alive(self) -> None:
        parish, one = Parish(), left()
        assert parish.refused(one.probe(parish.wall), one.address) is Drop.TUNNEL_UNKNOWN
        parish.registers(one)
        for _ in range(24):
            parish.after(5)
            parish.give(one.probe(parish.wall), one.address)
        parish.after(10)
        assert parish.cathedral.statistics().tunnels_local == 0

    def test_a_restart_begins_anew(self) -> None:
        parish, one, other = self.pair()
        parish.after(20)
        self.probe_all(parish, one, other)
        one.instance = SECOND
        parish.registers(one)
        assert parish.registers(other) == [relayed(other.address)]
        parish.after(SETTLE_S - 1)
        parish.takes(one.probe(parish.wall), one.address)
        assert parish.registers(other) == [relayed(other.address)]
        parish.after(1)
        parish.give(one.probe(parish.wall), one.address)
        assert parish.registers(other) == [AnswerBody(one.address, encode_local(other.address))]

    def test_behind_one_address_they_are_relayed_and_told(self) -> None:
        parish, one, other = self.pair()
        other.address = Address(one.address.host, 5555)
        parish.registers(other)
        parish.after(20)
        self.probe_all(parish, one, other)
        same = AnswerBody(HERE, encode_local(one.address), same_external_ipv4=True)
        assert parish.registers(one) == [same]
        other.instance = SECOND
        parish.registers(other)
        assert parish.registers(one) == [dataclasses.replace(same, same_external_ipv4=False)]

    def test_two_unknown_addresses_are_not_the_same(self) -> None:
        parish, one, other = self.pair()
        parish.after(20)
        assert parish.registers(one) == [relayed(one.address)]
        assert parish.registers(other) == [relayed(other.address)]


class TestRemembrance:
    def test_at_once_and_then_every_third_info(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE, HERE))), left()
        one.remembers = True
        told = []
        for _ in range(7):
            told.append(parish.registers(one) == [RemembranceBody((HERE, THERE))])
            parish.after(5)
        assert told == [True, False, False, True, False, False, True]
        assert REMEMBER_S == 15

    def test_only_who_wants_it(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), left()
        assert parish.registers(one) == []


class TestAmbries:
    def parish(self, flocks: tuple[FlockId, FlockId] = (FLOCK, FLOCK)) -> Parish:
        bundle = Bundle.decode_untrusted(bundle_bytes(*flocks), flocks, 0.0, "x")
        allows = tuple(Allow(CathedralId(number), number, 0) for number in range(1, 256))
        known = {each: FlockSettings(each, allows) for each in (FLOCK, OTHER)}
        if flocks == (FLOCK, FLOCK):
            known[FLOCK] = FlockSettings(FLOCK, allows, bundle)
        crossing = {} if flocks == (FLOCK, FLOCK) else {pair(*flocks): bundle}
        return Parish(settings=Settings(known, crossing))

    def test_with_each_info_until_it_is_used(self) -> None:
        parish, one = self.parish(), left()
        one.skips_ambry = False
        ambry = AmbryBody(one.tunnel, GOOD, wrapped(FLOCK, one.tunnel))
        assert parish.registers(one) == [ambry]
        assert parish.registers(one) == [ambry]
        one.generation = GOOD.generation
        assert parish.registers(one) == []
        one.generation = GOOD.generation + 1
        assert parish.registers(one) == [ambry], "another one, be it newer or older"
        one.skips_ambry = True
        assert parish.registers(one) == []

    def test_also_after_a_restart(self) -> None:
        parish, one = self.parish(), left()
        parish.registers(one)
        one.skips_ambry, one.instance = False, SECOND
        assert [type(each) for each in parish.registers(one)] == [AmbryBody]

    def test_between_flocks(self) -> None:
        parish = self.parish((FLOCK, OTHER))
        one = Device(9, 9, left().address, Flocks(OTHER, FLOCK), skips_ambry=False)
        other = Device(9, 9, right().address, Flocks(FLOCK, OTHER), skips_ambry=False)
        assert parish.registers(one) == [AmbryBody(TunnelId(0x0909), GOOD, wrapped(OTHER, 0x0909))]
        assert parish.registers(other) == [
            relayed(None),
            AmbryBody(TunnelId(0x0909), GOOD, wrapped(FLOCK, 0x0909)),
        ]

    def test_none_for_a_tunnel_that_no_bundle_has(self) -> None:
        parish = self.parish()
        one = Device(1, 1, left().address, skips_ambry=False)
        assert parish.registers(one) == [relayed(None)], "it is its own peer, and has no secret"
        assert Parish().registers(dataclasses.replace(left(), skips_ambry=False)) == []


class TestRefusals:
    def test_what_is_refused_and_why(self) -> None:
        parish, one = Parish(), left()
        good = one.info(parish.wall)
        damaged = bytearray(good)
        damaged[200] ^= 1
        assert parish.refused(good[:-1], one.address) is Drop.OFFER_TOO_SHORT
        assert parish.refused(bytes(damaged), one.address) is Drop.OFFER_BAD_TAG
        assert parish.refused(one.probe(parish.wall - 12), one.address) is Drop.OFFER_TIME
        assert parish.refused(one.probe(parish.wall + 12), one.address) is Drop.OFFER_TIME
        assert parish.refused(bytes(49), one.address) is Drop.TOO_SHORT
        assert parish.refused(good + bytes(1000), one.address) is Drop.TOO_LONG
        assert parish.refused(good, one.address._replace(port=0)) is Drop.NO_PEER
        assert parish.cathedral.statistics().tunnels_local == 0
        assert parish.registers(one) == []
        assert parish.cathedral.statistics().tunnels_local == 1

    def test_a_signature_of_somebody_else(self) -> None:
        parish, one = Parish(), left()
        parish.keys.public = lambda flock, identity: bytes(32)  # type: ignore[method-assign]
        assert parish.refused(one.info(parish.wall), one.address) is Drop.OFFER_SIGNATURE

    @pytest.mark.parametrize("layout", [CATHEDRAL, NAT])
    def test_who_may_not(self, layout: object) -> None:
        parish = Parish(settings=flock(Allow(CathedralId(1), 1, 0)))
        assert isinstance(layout, type(CATHEDRAL))
        unknown = Device(1, 2, left().address, Flocks(OTHER, OTHER))
        stranger = Device(1, 2, left().address, identity=CathedralId(77))
        greedy = Device(3, 2, left().address, identity=CathedralId(1))
        for device, reason in (
            (unknown, Drop.FLOCK_UNKNOWN),
            (stranger, Drop.CLIENT_UNKNOWN),
            (greedy, Drop.DEVICE_NOT_ALLOWED),
        ):
            datagram = device.info(parish.wall, layout)
            assert parish.refused(datagram, device.address) is reason
        assert parish.keys.asked[CathedralId(77)] == 0, "no key is looked for"

    def test_flocks_that_are_apart(self) -> None:
        allows = (Allow(CathedralId(1), 1, 0),)
        both = {each: FlockSettings(each, allows) for each in (FLOCK, OTHER)}
        here = left().address
        crossing = Device(1, 2, here, Flocks(FLOCK, OTHER))
        parish = Parish(settings=Settings(both))
        assert parish.refused(crossing.info(parish.wall), here) is Drop.FLOCKS_APART
        parish = Parish(settings=Settings(both, {pair(FLOCK, OTHER): None}))
        assert parish.registers(crossing) == []
        domains = Device(1, 2, here, Flocks(FLOCK, FlockId(OTHER | 1)))
        assert parish.refused(domains.info(parish.wall), here) is Drop.FLOCKS_APART
        away = Device(1, 2, here, Flocks(FLOCK, FlockId(0x100)))
        assert parish.refused(away.info(parish.wall), here) is Drop.FLOCK_UNKNOWN

    def test_keys_that_are_lost_are_news_once(self) -> None:
        parish, one = Parish(), left()
        parish.keys.lost.add(one.identity)
        for _ in range(3):
            assert parish.refused(one.info(parish.wall), one.address) is Drop.CLIENT_UNKNOWN
        news = KeysUnavailable(FLOCK, one.identity, "00000001.key: is lost")
        assert parish.events() == [news]
        parish.keys.lost.clear()
        parish.registers(one)
        parish.keys.lost.add(one.identity)
        parish.refused(one.info(parish.wall), one.address)
        assert news in parish.events()

    def test_a_replaced_key_counts_at_once(self) -> None:
        parish, one = Parish(), left()
        parish.registers(one)
        parish.keys.replace(FLOCK, one.identity, bytes(32))
        assert parish.refused(one.info(parish.wall), one.address) is Drop.OFFER_BAD_TAG


def test_registering_is_news() -> None:
    parish, one = Parish(), left()
    parish.registers(one)
    parish.after(5)
    parish.registers(one)
    assert parish.events() == [
        TunnelRegistered(one.flocks, one.tunnel, one.identity, one.address, federated=False)
    ]


def test_an_identity_may_have_devices_and_a_device_identities() -> None:
    allows = [Allow(CathedralId(7), 1, 0), Allow(CathedralId(7), 2, 0), Allow(CathedralId(8), 1, 0)]
    parish = Parish(settings=flock(*allows))
    one = Device(1, 2, left().address, identity=CathedralId(7))
    other = Device(2, 1, right().address, identity=CathedralId(7))
    heir = Device(1, 2, Address("192.0.2.44", 4), identity=CathedralId(8))
    parish.registers(one)
    assert parish.registers(other) == [relayed(None)]
    assert parish.registers(heir) == [relayed(one.address)]
    no_more = Device(2, 1, right().address, identity=CathedralId(8))
    assert parish.refused(no_more.info(parish.wall), no_more.address) is Drop.DEVICE_NOT_ALLOWED
