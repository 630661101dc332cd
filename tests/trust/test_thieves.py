"""What a stolen key opens, and what it doesn't; with real cryptography."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag

from chancel.crypto.kdf import KeySchedule, Purpose, TrafficInputs, base_key, traffic_key
from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.suite import Suite
from chancel.crypto.system import SystemSuite
from chancel.errors import RemoteProtocolError
from chancel.protocol.ambry import open_ambry_untrusted
from chancel.protocol.cathedral_offers import open_answer_untrusted, seal_request
from chancel.protocol.offers import open_exchange_offer_untrusted
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.session import Session, SessionSettings
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.offer import MAGIC, OfferState
from chancel.wire.traffic import CURRENT as TRAFFIC
from chancel.wire.traffic import nonce
from chancel.wire.types import NO_FLOCKS, Address, Buffer, FlockId, Salt, SessionKey
from tests.protocol import registration_world as world
from tests.protocol.cathedral.parish import Parish, cosk_of, left, secret_of

SUITE = SystemSuite()
SECRET = bytes(range(32))
LEFT, RIGHT, THIEF = (Address(f"192.0.2.{number}", 1) for number in (1, 2, 3))


class Wire:
    """Sessions that know one secret, and all that was ever sent between them."""

    def __init__(self, profile: Profile = CURRENT) -> None:
        self._profile = profile
        self.now = 0.0
        self.ends: dict[Address, Session] = {}
        self.recorded: list[bytes] = []

    def join(self, own: Address, peer: Address) -> Session:
        settings = SessionSettings(
            peer, flocks=NO_FLOCKS, mtu_discovery=False, profile=self._profile
        )
        end = Session(settings, SUITE, lambda: Secret(SECRET), self.now, world.WALL + self.now)
        self.ends[own] = end
        return end

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            for own, end in list(self.ends.items()):
                end.wake(self.now, world.WALL + self.now)
                for datagram, to in end.datagrams():
                    self.recorded.append(datagram)
                    if to in self.ends:
                        wall = world.WALL + self.now
                        self.ends[to].receive(datagram, own, self.now, wall)
            self.now += 0.25


def opens(key: bytes, salt: Salt, packet: bytes) -> bool:
    """Whether this key opens a packet of traffic."""
    header, at = TRAFFIC.decode_untrusted(packet), TRAFFIC.header_bytes
    cipher = SUITE.aead(key)
    try:
        cipher.decrypt(nonce(salt, header.packet_number), packet[at:], packet[:at])
    except InvalidTag:
        return False
    return True


def test_a_shared_secret_opens_offers_and_no_traffic_that_was_recorded() -> None:
    """The thief has all but what was never sent: he lacks either of two ephemeral secrets."""
    used: list[tuple[bytes, TrafficInputs]] = []

    def watched(suite: Suite, base: Buffer, inputs: TrafficInputs) -> SessionKey:
        used.append((bytes(base), inputs))
        return traffic_key(suite, base, inputs)

    wire = Wire(dataclasses.replace(CURRENT, keys=KeySchedule(base_key, watched)))
    one, _ = wire.join(LEFT, RIGHT), wire.join(RIGHT, LEFT)
    wire.run(3.0)
    assert one.send(b"what was said", wire.now)
    wire.run(1.0)
    base = base_key(SUITE, Purpose.PEER_OFFER, SECRET, NO_FLOCKS)
    offers = [each for each in wire.recorded if each[:8] == MAGIC]
    bodies = [open_exchange_offer_untrusted(SUITE, base, each).body for each in offers]
    assert {each.state for each in bodies} == {OfferState.PK, OfferState.CT}
    packet = next(each for each in wire.recorded[::-1] if each[:8] != MAGIC)
    spi = TRAFFIC.decode_untrusted(packet).spi
    [salt] = {each.salt for each in bodies if each.spi == spi}

    def tried(change: Callable[[TrafficInputs], TrafficInputs]) -> bool:
        keys = [traffic_key(SUITE, own, change(inputs)) for own, inputs in used]
        return any(opens(key, salt, packet) for key in keys)

    assert tried(lambda inputs: inputs)
    assert not tried(lambda inputs: dataclasses.replace(inputs, kem_secret=bytes(32)))
    assert not tried(lambda inputs: dataclasses.replace(inputs, ecdh_secret=bytes(32)))


def test_who_has_the_shared_secret_is_the_peer() -> None:
    """There is nothing else to know a peer by, and no sign of it but another instance."""
    wire = Wire()
    one, _ = wire.join(LEFT, RIGHT), wire.join(RIGHT, LEFT)
    wire.run(3.0)
    del wire.ends[RIGHT]
    thief = wire.join(THIEF, LEFT)
    wire.run(3.0)
    assert one.peer == THIEF
    assert one.send(b"for the peer alone", wire.now)
    wire.run(1.0)
    assert b"for the peer alone" in thief.received()


class TestCathedralSecret:
    def test_it_opens_what_a_client_is_told(self) -> None:
        answer = world.said(AnswerBody(world.PEER))
        base = client_offer_base(world.SUITE, world.SECRET, world.FLOCKS.own)
        opened = open_answer_untrusted(world.SUITE, base, world.IDENTITY, answer)
        assert opened.body == AnswerBody(world.PEER)

    def test_it_makes_answers_that_are_believed_from_the_cathedrals_address_alone(self) -> None:
        here = world.World(world.Cathedral(world.FIRST))
        forged = world.said(AnswerBody(world.PEER), here.wall)
        assert here.receive(forged, world.SECOND) == [Drop.CATHEDRAL_SOURCE]
        assert here.receive(forged, world.FIRST) == []

    def test_it_registers_nobody_without_the_cosk(self) -> None:
        parish, one = Parish(), left()
        assert parish.refused(_info(cosk=bytes(64)), one.address) is Drop.OFFER_SIGNATURE


class TestCosk:
    def test_it_registers_nobody_without_the_cathedral_secret(self) -> None:
        parish, one = Parish(), left()
        assert parish.refused(_info(secret=bytes(32)), one.address) is Drop.OFFER_BAD_TAG

    def test_with_both_a_thief_takes_the_clients_place(self) -> None:
        """What is relayed to him is sealed under keys that he doesn't have."""
        parish = Parish()
        parish.takes(left().info(parish.wall), left().address)
        parish.after(5.0)
        parish.give(_info(wall=parish.wall), THIEF)
        [tunnel] = parish.cathedral._tunnels
        assert tunnel.route.destination == THIEF


def _info(
    *, secret: bytes | None = None, cosk: bytes | None = None, wall: float | None = None
) -> bytes:
    """An info of one who has some of the left device's keys, or others."""
    one = left()
    base = client_offer_base(
        SUITE, secret or secret_of(FlockId(one.flocks.own & ~0xFF), one.identity), one.flocks.own
    )
    at = Parish().wall if wall is None else wall
    body = InfoBody(one.tunnel, one.instance, receiving=one.receiving)
    signing = cosk or cosk_of(one.identity)
    return seal_request(SUITE, base, one.flocks, one.identity, int(at), body, signing)


def test_a_kek_opens_the_ambries_of_its_device_and_no_others() -> None:
    opened = open_ambry_untrusted(
        world.SUITE, world.KEK, world.FLOCKS, world.TUNNEL, world.ambry(1), world.WALL
    )
    with opened.reveal() as secret:
        assert bytes(secret) == world.SHARED
    others = world.ambry(1, kek=bytes(32))
    with pytest.raises(RemoteProtocolError, match=str(Drop.AMBRY_BAD_TAG)):
        open_ambry_untrusted(world.SUITE, world.KEK, world.FLOCKS, world.TUNNEL, others, world.WALL)
