"""Liturgies: who is there, and who sees whom (section 7.3)."""

from __future__ import annotations

import pytest

from chancel.crypto import ed25519
from chancel.crypto.kdf import OfferKind
from chancel.crypto.kdf_cathedral import federation_offer_base
from chancel.protocol.cathedral.events import LiturgyRegistered
from chancel.protocol.cathedral.federation import FEDERATE_S
from chancel.protocol.cathedral.liturgies import MAX_PER_DEVICE
from chancel.protocol.sealing import seal_offer
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.drop import Drop
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OfferHeader, encode_data
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks, Spi
from tests.protocol.cathedral.parish import (
    FLOCK,
    HERE,
    OTHER,
    SYNC,
    THERE,
    Device,
    Diocese,
    Parish,
    cosk_of,
    flock,
    opened_federated,
)


def member(number: int, remembers: bool = False) -> Device:
    return Device(number, 0, Address("198.51.100.1", 1000 + number), remembers=remembers)


def there(body: object) -> set[int]:
    assert isinstance(body, LiturgyBody)
    assert (body.id, body.hidden, body.wants_remembrance, body.signaling) == (0, *3 * (False,))
    assert set(body.peers) <= {0, 1}
    return {device for device, present in enumerate(body.peers) if present}


def seen(parish: Parish, device: Device, *wanted: int, **options: bool | int) -> set[int]:
    """Who is there in the eyes of this device."""
    datagram = device.liturgy(parish.wall, *wanted, **options)  # type: ignore[arg-type]
    [answer] = parish.answers(device, datagram)
    return there(answer)


class TestWhoSeesWhom:
    def test_discovery(self) -> None:
        parish = Parish()
        assert seen(parish, member(1)) == set()
        assert seen(parish, member(2)) == {1}
        assert seen(parish, member(254)) == {1, 2}
        parish.after(5)
        assert seen(parish, member(1)) == {2, 254}

    def test_groups_are_apart_and_come_back_in_the_answer(self) -> None:
        parish = Parish()
        assert seen(parish, member(1), group=0xDEAD) == set()
        assert seen(parish, member(2), group=0xBEEF) == set()
        [answer] = parish.answers(member(3), member(3).liturgy(parish.wall, group=0xDEAD))
        assert isinstance(answer, LiturgyBody)
        assert answer.group == 0xDEAD
        assert there(answer) == {1}

    def test_a_changed_group_counts(self) -> None:
        parish = Parish()
        seen(parish, member(1), group=1)
        parish.after(5)
        seen(parish, member(1), group=2)
        assert seen(parish, member(2), group=1) == set()
        assert seen(parish, member(3), group=2) == {1}

    def test_hidden_ones_see_only_who_is_not(self) -> None:
        parish = Parish()
        assert seen(parish, member(1), hidden=True) == set()
        assert seen(parish, member(2), hidden=True) == set()
        assert seen(parish, member(3)) == {1, 2}
        parish.after(5)
        assert seen(parish, member(1), hidden=True) == {3}

    def test_signaling_by_either_wish(self) -> None:
        parish = Parish()
        assert seen(parish, member(1), 2, signaling=True) == set()
        assert seen(parish, member(2), signaling=True) == {1}
        assert seen(parish, member(3), 2, signaling=True) == {2}
        assert seen(parish, member(4), signaling=True) == set()

    def test_discovery_sees_signaling_ones_and_wishes_mean_nothing_to_it(self) -> None:
        parish = Parish()
        assert seen(parish, member(1), 9, signaling=True) == set()
        assert seen(parish, member(2), 9) == {1}
        parish.after(5)
        assert seen(parish, member(1), 9, signaling=True) == {2}

    def test_one_device_of_both_kinds_sees_itself(self) -> None:
        parish = Parish()
        assert seen(parish, member(1), 1, signaling=True) == set()
        assert seen(parish, member(1)) == {1}
        assert parish.cathedral.statistics().liturgies_local == 2

    def test_the_last_device_has_no_place_in_an_answer(self) -> None:
        parish = Parish()
        assert seen(parish, member(255), 1, signaling=True) == set()
        assert seen(parish, member(1), 254, signaling=True) == set()
        parish.after(5)
        assert seen(parish, member(255), 1, signaling=True) == {1}
        assert seen(parish, member(2)) == {1}

    def test_domains_are_apart(self) -> None:
        parish, domain = Parish(), FlockId(FLOCK | 7)
        other = Device(2, 0, Address("198.51.100.1", 1), Flocks(domain, domain))
        assert seen(parish, member(1)) == set()
        assert seen(parish, other) == set()


class TestAnswers:
    def test_every_three_seconds_at_most(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), member(1)
        counts = []
        for _ in range(4):
            counts.append(len(parish.give(one.liturgy(parish.wall), one.address)))
            parish.after(FEDERATE_S / 2)
        assert counts == [2, 0, 2, 0]

    def test_remembrance_first_then_the_federation_then_the_answer(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), member(1, remembers=True)
        sent = parish.give(one.liturgy(parish.wall), one.address)
        assert [to for _, to in sent] == [one.address, THERE, one.address]
        assert one.hears(sent[0][0]).body == RemembranceBody((HERE, THERE))
        assert there(one.hears(sent[2][0]).body) == set()
        parish.after(5)
        assert len(parish.give(one.liturgy(parish.wall), one.address)) == 2
        parish.after(10)
        assert len(parish.give(one.liturgy(parish.wall), one.address)) == 3

    def test_the_magic_of_nat_detection_makes_no_difference(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), member(1)
        assert len(parish.give(one.liturgy(parish.wall, layout=NAT), one.address)) == 2

    def test_without_the_sync_secret_there_is_an_answer_all_the_same(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), member(1)
        parish.sync = None
        assert seen(parish, one) == set()
        assert parish.drops == {Drop.NO_SECRET: 1}


class TestFederation:
    def test_members_of_two_cathedrals(self) -> None:
        diocese = Diocese()
        one, other = member(1, remembers=True), member(2)
        assert len(diocese.give(diocese.here, one.liturgy(diocese.here.wall), one.address)) == 2
        assert seen(diocese.there, other) == {1}
        counts = diocese.there.cathedral.statistics()
        assert (counts.liturgies_local, counts.liturgies_federated) == (1, 1)
        diocese.after(5)
        diocese.give(diocese.there, other.liturgy(diocese.here.wall), other.address)
        assert seen(diocese.here, one) == {2}
        news = LiturgyRegistered(FLOCK, 1, HERE, federated=True)
        assert news in diocese.there.events()

    def test_no_remembrance_goes_to_a_cathedral(self) -> None:
        diocese, one = Diocese(), member(1, remembers=True)
        diocese.give(diocese.here, one.liturgy(diocese.here.wall), one.address)
        [(passed, to)] = diocese.sent
        assert to == THERE
        opened = opened_federated(passed, diocese.here.wall)
        assert opened.header.flocks == one.flocks, "its sender's flock twice"

    def test_a_member_that_moves_is_followed(self) -> None:
        diocese, one = Diocese(), member(1)
        for parish in (diocese.here, diocese.there, diocese.here):
            diocese.give(parish, one.liturgy(parish.wall), one.address)
            assert parish.cathedral.statistics().liturgies_local == 1
            diocese.after(5)


class TestRefusals:
    def test_what_is_refused_and_why(self) -> None:
        parish, one = Parish(), member(1)
        unknown = Device(1, 0, one.address, Flocks(OTHER, OTHER))
        assert parish.refused(unknown.liturgy(parish.wall), one.address) is Drop.FLOCK_UNKNOWN
        greedy = Device(2, 0, one.address, identity=one.identity)
        assert parish.refused(greedy.liturgy(parish.wall), one.address) is Drop.DEVICE_NOT_ALLOWED
        nobody = Device(0, 0, one.address, identity=one.identity)
        assert parish.refused(nobody.liturgy(parish.wall), one.address) is Drop.DEVICE_NOT_ALLOWED

    def test_a_replay_moves_nobody(self) -> None:
        parish, one = Parish(), member(1)
        captured = one.liturgy(parish.wall)
        parish.give(captured, one.address)
        thief = Address("192.0.2.66", 666)
        assert parish.refused(captured, thief) is Drop.OFFER_REPLAYED
        parish.after(3)
        seen(parish, one)
        assert parish.refused(captured, one.address) is Drop.OFFER_REPLAYED

    @pytest.mark.parametrize("federated", [False, True])
    def test_the_flock_that_it_shows_as_its_peers(self, federated: bool) -> None:
        """A client shows none, a cathedral the client's own."""
        diocese, one = Diocese(), member(1)
        data = encode_data(int(diocese.here.wall), LiturgyBody(1, 0))
        inside = data + ed25519.sign(cosk_of(one.identity)[:32], data)
        if federated:
            header = OfferHeader(Spi(one.identity), Flocks(FLOCK, FlockId(0)), bytes(64))
            base = federation_offer_base(one.suite, SYNC, FLOCK)
            datagram = seal_offer(one.suite, OfferKind.FEDERATION, base, header, inside, FEDERATION)
            assert diocese.here.refused(datagram, THERE) is Drop.FLOCKS_APART
        else:
            header = OfferHeader(Spi(one.identity), Flocks(FLOCK, FLOCK), bytes(64))
            datagram = seal_offer(
                one.suite, OfferKind.CATHEDRAL, one.base, header, inside, CATHEDRAL
            )
            assert diocese.here.refused(datagram, one.address) is Drop.FLOCKS_APART

    def test_a_device_in_more_domains_than_anybody_needs(self) -> None:
        parish = Parish()
        for domain in range(MAX_PER_DEVICE):
            flocks = Flocks(FlockId(FLOCK | domain), FlockId(FLOCK | domain))
            parish.registers(Device(1, 2, member(1).address, flocks))
            assert seen(parish, Device(1, 0, member(1).address, flocks)) == set()
        flocks = Flocks(FlockId(FLOCK | 0xFF), FlockId(FLOCK | 0xFF))
        one_more = Device(1, 0, member(1).address, flocks)
        assert parish.refused(one_more.liturgy(parish.wall), one_more.address) is Drop.TABLE_LIMIT
        assert seen(parish, member(2)) == {1}


def test_silence_is_absence() -> None:
    parish = Parish()
    seen(parish, member(1))
    for _ in range(23):
        parish.after(5)
        seen(parish, member(2))
    parish.after(4)
    assert seen(parish, member(2)) == {1}
    parish.after(10)
    assert seen(parish, member(2)) == set()
    assert parish.cathedral.statistics().liturgies_local == 1
    assert len(parish.cathedral._liturgies._counts) == 1
