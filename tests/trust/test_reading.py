"""What a cathedral can read of all that passes through it, with all the keys that it has."""

from __future__ import annotations

import contextlib
import random

from chancel.crypto.kdf import Purpose, base_key
from chancel.errors import RemoteProtocolError
from chancel.protocol.offers import open_exchange_offer_untrusted
from chancel.sim.heresies_carried import is_offer
from chancel.sim.heresy_meeting import HeresyMeeting
from chancel.sim.heretic import Heretic, Passed
from chancel.sim.machine import PLAINTEXT_MARK
from chancel.sim.meeting import DEVICES, FLOCK, MeetingScenario
from chancel.sim.suite import FastSuite
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.traffic import CURRENT as TRAFFIC
from chancel.wire.types import Flocks

FLOCKS = Flocks(FLOCK, FLOCK)
SUITE = FastSuite(random.Random(0))


def relayed(*, shroud: bool = False) -> tuple[HeresyMeeting, Heretic]:
    """Two devices that only a cathedral joins, and what it carried."""
    scenario = MeetingScenario(1, ("symmetric", "symmetric"), 1, shroud=shroud, ambry=True)
    meeting = HeresyMeeting(scenario)
    meeting.start()
    meeting.run(10.0)
    assert meeting.exchange() == 20
    heretic = meeting.cathedrals[0].cathedral
    assert isinstance(heretic, Heretic)
    return meeting, heretic


def opens(key: bytes, offers: list[Passed]) -> int:
    """How many of these offers open under a shared secret."""
    base = base_key(SUITE, Purpose.PEER_OFFER, key, FLOCKS)
    opened = 0
    for offer in offers:
        with contextlib.suppress(RemoteProtocolError):
            open_exchange_offer_untrusted(SUITE, base, offer.datagram)
            opened += 1
    return opened


def known_keys(meeting: HeresyMeeting) -> list[bytes]:
    """Everything of 32 bytes that a cathedral has: secrets, public keys, what bundles show."""
    keys = [bytes(32)]
    for device in DEVICES:
        with meeting._keys.secret(FLOCK, CathedralId(device)).reveal() as secret:
            keys.append(bytes(secret))
        keys.append(meeting._keys.public(FLOCK, CathedralId(device)))
    for bundle in meeting.bundles:
        keys += [bundle.header.seed[:32], bundle.header.seed[32:]]
        for own, peer in (DEVICES, DEVICES[::-1]):
            wrapped = bundle.wrapped(FLOCK, own << 8 | peer)
            assert wrapped is not None
            keys.append(wrapped[:32])
    return keys


def test_no_key_of_a_cathedral_opens_an_exchange_of_keys() -> None:
    """The simulation's key agreement is open to anybody: so it is the shared secret that counts."""
    meeting, heretic = relayed()
    offers = [each for each in heretic.records if is_offer(each)]
    assert len(offers) >= 16
    assert [opens(key, offers) for key in known_keys(meeting)] == [0] * len(known_keys(meeting))
    shared = [secret for secret in meeting._secrets if opens(secret, offers) == len(offers)]
    assert len(shared) == 1, "the secret of the newest bundle opens them all"


def test_nothing_that_it_carries_is_readable() -> None:
    meeting, heretic = relayed()
    assert heretic.records
    assert not any(PLAINTEXT_MARK in each.datagram for each in heretic.records)
    assert meeting.problems() == []


def test_what_it_learns_all_the_same() -> None:
    """Who talks to whom, from where, when and how much: flocks, devices, SPIs, numbers, sizes."""
    meeting, heretic = relayed()
    ends = heretic.ends()
    assert [end.device for end in ends] == list(DEVICES)
    assert {end.route.destination.host for end in ends} == {"192.0.2.1", "198.51.100.2"}
    traffic = [each.datagram for each in heretic.records if not is_offer(each)]
    headers = [TRAFFIC.decode_untrusted(each) for each in traffic]
    assert {header.spi >> 24 for header in headers} == set(DEVICES)
    sent = [size for device in meeting.devices for size in map(len, device.sent)]
    longest = max(len(each) for each in traffic)
    assert longest == max(sent) + len(PLAINTEXT_MARK) + TRAFFIC.overhead_bytes


def test_a_shroud_hides_nothing_of_it_from_the_cathedral() -> None:
    """It is the cathedral that takes the mask off."""
    _, heretic = relayed(shroud=True)
    traffic = [each.datagram for each in heretic.records if not is_offer(each)]
    assert {TRAFFIC.decode_untrusted(each).spi >> 24 for each in traffic} == set(DEVICES)
