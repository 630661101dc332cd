"""Two cathedrals that tell each other what their clients said (sections 5 and 12)."""

from __future__ import annotations

import pytest

from chancel.crypto.kdf_cathedral import federation_offer_base
from chancel.errors import LocalProtocolError
from chancel.protocol.cathedral.events import TunnelRegistered
from chancel.protocol.cathedral.federation import FEDERATE_S
from chancel.protocol.cathedral.settings import MAX_FEDERATION
from chancel.protocol.cathedral.tunnels import SETTLE_S
from chancel.protocol.cathedral_offers import Opened, seal_passed_on, seal_peer_info
from chancel.protocol.events import SecretUnavailable
from chancel.vault.secret import Secret
from chancel.wire.cathedral import FEDERATION
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody, encode_local
from chancel.wire.offer import OFFER_BYTES, OfferHeader
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.types import Address, Spi
from tests.protocol.cathedral.parish import (
    HERE,
    MTU,
    SECOND,
    SYNC,
    THERE,
    Device,
    Diocese,
    Parish,
    flock,
    left,
    opened_federated,
    right,
)

BOTH = pytest.mark.parametrize("p2p_sync", [False, True], ids=["apart", "p2p sync"])


def passed_on(parish: Parish, device: Device, plaintext: bytes) -> bytes:
    """What a cathedral that knows the sync secret says of a client."""
    base = federation_offer_base(parish.suite, SYNC, device.flocks.own)
    header = OfferHeader(Spi(device.identity), device.flocks, bytes(64))
    body = InfoBody(device.tunnel, device.instance)
    return seal_passed_on(parish.suite, base, Opened(header, int(parish.wall), body, plaintext))


def whereabouts(parish: Parish, device: Device, body: PeerInfoBody) -> bytes:
    base = federation_offer_base(parish.suite, SYNC, device.flocks.own)
    return seal_peer_info(
        *(parish.suite, base, device.flocks, device.identity, int(parish.wall), body)
    )


class TestWhatIsPassedOn:
    def test_the_info_as_it_was_signed_and_what_is_known(self) -> None:
        members = (THERE, Address("192.0.2.3", 3))
        parish, one = Parish(settings=flock(federation=(*members, HERE)), p2p_sync=True), left()
        datagram = one.info(parish.wall)
        sent = parish.give(datagram, one.address)
        assert [to for _, to in sent] == [*members, *members], "info first, then peer info"
        assert sent[0][0] == sent[1][0]
        assert sent[2][0] == sent[3][0]
        info, where = (opened_federated(sent[at][0], parish.wall) for at in (0, 2))
        assert info.body == InfoBody(one.tunnel, one.instance, 0, one.receiving, skips_ambry=True)
        assert info.header.flocks == where.header.flocks == one.flocks
        assert info.identity == where.identity == one.identity
        assert where.body == PeerInfoBody(one.tunnel, one.address, reachable=False)
        assert {len(each) for each, _ in sent} == {OFFER_BYTES}

    def test_nothing_is_known_unless_it_is_wanted(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), left()
        [_, (where, _)] = parish.give(one.info(parish.wall), one.address)
        body = PeerInfoBody(one.tunnel, None, reachable=False)
        assert opened_federated(where, parish.wall).body == body

    def test_every_three_seconds_at_most(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), left()
        counts = []
        for _ in range(4):
            counts.append(len(parish.give(one.info(parish.wall), one.address)))
            parish.after(FEDERATE_S / 2)
        assert counts == [2, 0, 2, 0]

    def test_padding_that_was_signed_goes_with_it(self) -> None:
        """The library leaves what was there before behind a body."""
        diocese, one = Diocese(), left()
        body = InfoBody(one.tunnel, one.instance)
        odd = bytes(body.encode()[:100] + b"\x99" * 342)

        class Odd(InfoBody):
            def encode(self) -> bytes:
                return odd

        datagram = one.says(Odd(one.tunnel, one.instance), diocese.here.wall)
        diocese.give(diocese.here, datagram, one.address)
        assert diocese.there.cathedral.statistics().tunnels_federated == 1

    def test_probes_stay_here(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), left()
        parish.registers(one)
        parish.after(20)
        parish.takes(one.probe(parish.wall), one.address)

    def test_without_the_secret_clients_are_served_all_the_same(self) -> None:
        parish, one, other = Parish(settings=flock(federation=(THERE,))), left(), right()
        parish.sync = None
        for _ in range(300):
            parish.registers(one)
            assert len(parish.registers(other)) == 1 or parish.now == 1000
            parish.after(5)
        assert parish.drops == {Drop.NO_SECRET: 600}
        events = parish.events()
        assert [each for each in events if isinstance(each, SecretUnavailable)] == [
            SecretUnavailable("sync.key: is lost")
        ]
        parish.sync = Secret(SYNC)
        assert len(parish.give(one.info(parish.wall), one.address)) == 3

    def test_the_secret_is_kept_for_less_than_a_second(self) -> None:
        parish = Parish(settings=flock(federation=(THERE,)))
        for number in range(1, 50):
            parish.registers(Device(number, 200, left().address))
        assert parish.sync_asked == 1
        parish.after(1)
        parish.registers(Device(50, 200, left().address))
        assert parish.sync_asked == 2

    def test_nobody_asks_for_a_secret_without_a_federation(self) -> None:
        parish = Parish(settings=flock(federation=(HERE,)))
        parish.sync = None
        parish.registers(left())
        assert parish.drops == {}
        assert parish.sync_asked == 0


class TestWhatArrives:
    @BOTH
    def test_a_client_there_is_relayed_to_through_that_cathedral(self, p2p_sync: bool) -> None:
        diocese, one, other = Diocese(p2p_sync=p2p_sync), left(), right()
        here, there = diocese.here, diocese.there
        diocese.registers(here, one)
        heard = diocese.registers(there, other)
        assert heard == ([AnswerBody(THERE, encode_local(None))] if p2p_sync else [])
        for parish in (here, there):
            counts = parish.cathedral.statistics()
            assert (counts.tunnels_local, counts.tunnels_federated) == (1, 1)
            assert parish.drops == {}
        news = TunnelRegistered(one.flocks, one.tunnel, one.identity, HERE, federated=True)
        assert news in there.events()
        packet = one.traffic(other.receiving or Spi(0))
        assert diocese.give(here, packet, one.address) == [(packet, other.address)]
        offer = other.exchange()
        assert diocese.give(there, offer, other.address) == [(offer, one.address)]

    def test_peer_to_peer_over_two_cathedrals(self) -> None:
        diocese, one, other = Diocese(p2p_sync=True), left(), right()
        sides = ((diocese.here, one), (diocese.there, other))
        heard = []
        for _ in range(6):
            heard = [diocese.registers(parish, device) for parish, device in sides]
            for parish, device in sides:
                diocese.give(parish, device.probe(parish.wall), device.address)
            diocese.after(5)
        assert heard == [
            [AnswerBody(other.address, encode_local(one.address))],
            [AnswerBody(one.address, encode_local(other.address))],
        ]

    def test_without_sync_nothing_is_believed(self) -> None:
        diocese, one, other = Diocese(), left(), right()
        diocese.registers(diocese.here, one)
        diocese.registers(diocese.there, other)
        body = PeerInfoBody(other.tunnel, other.address, reachable=True)
        diocese.here.takes(whereabouts(diocese.there, other, body), THERE)
        tunnel = next(each for each in diocese.here.cathedral._tunnels if each.federated)
        assert (tunnel.public, tunnel.reachable) == (None, False)

    def test_a_client_that_changes_cathedrals_is_followed(self) -> None:
        diocese, one, other = Diocese(), left(), right()
        here, there = diocese.here, diocese.there
        diocese.registers(here, one)
        diocese.registers(here, other)
        packet = other.traffic(one.receiving or Spi(0))
        for home in (there, here, there):
            diocese.after(5)
            diocese.registers(home, one)
            assert diocese.give(here, packet, other.address) == [(packet, one.address)]
            assert home.cathedral.statistics().tunnels_local == 1 + (home is here)

    def test_the_first_answer_after_a_move_names_the_other_cathedral(self) -> None:
        diocese, one, other = Diocese(), left(), right()
        diocese.registers(diocese.here, one)
        diocese.after(5)
        diocese.registers(diocese.there, other)
        assert diocese.registers(diocese.there, one) == [AnswerBody(THERE, encode_local(HERE))]

    def test_a_probe_at_the_wrong_cathedral_says_nothing(self) -> None:
        diocese, one = Diocese(p2p_sync=True), left()
        diocese.registers(diocese.there, one)
        body = PeerInfoBody(one.tunnel, one.address, reachable=True)
        diocese.here.takes(whereabouts(diocese.there, one, body), THERE)
        diocese.after(SETTLE_S)
        diocese.here.takes(one.probe(diocese.here.wall), one.address)
        [tunnel] = diocese.here.cathedral._tunnels
        assert (tunnel.public, tunnel.reachable) == (one.address, True)

    def test_a_restart_is_noticed_on_both(self) -> None:
        diocese, one, other = Diocese(p2p_sync=True), left(), right()
        diocese.registers(diocese.here, one)
        diocese.registers(diocese.there, other)
        diocese.after(SETTLE_S + 5)
        one.instance = SECOND
        diocese.registers(diocese.here, one)
        for parish in (diocese.here, diocese.there):
            [tunnel] = [each for each in parish.cathedral._tunnels if each.id == one.tunnel]
            assert tunnel.settles_at == parish.now + SETTLE_S

    def test_nothing_that_came_from_a_cathedral_is_passed_on(self) -> None:
        third = Address("192.0.2.3", 3)
        parish, one = Parish(settings=flock(federation=(THERE, third))), left()
        source = Parish(settings=flock(federation=(HERE,)), address=THERE)
        for datagram, to in source.give(one.info(source.wall), one.address):
            assert to == HERE
            assert parish.give(datagram, THERE) == []
        assert parish.cathedral.statistics().tunnels_federated == 1

    def test_two_that_believe_a_client_at_each_other_dont_play_ball(self) -> None:
        """Its infos crossed: each was told by the other last."""
        diocese, one = Diocese(), left()
        here, there = diocese.here, diocese.there
        first = one.info(here.wall)
        one.pending = Spi(0x0102_0009)
        second = one.info(here.wall)
        from_here = here.give(first, one.address)
        from_there = there.give(second, one.address)
        for datagram, _ in from_here:
            there.give(datagram, HERE)
        for datagram, _ in from_there:
            here.give(datagram, THERE)
        assert here.cathedral.statistics().tunnels_federated == 1
        assert there.cathedral.statistics().tunnels_federated == 1
        packet = right().traffic(one.receiving or Spi(0))
        diocese.give(here, packet, right().address)
        assert (here.drops, there.drops) == ({}, {Drop.TUNNEL_UNKNOWN: 1})
        assert there.cathedral.route(packet[:32]) is not None
        assert there.cathedral.route(packet[:32], HERE) is None


class TestRefusals:
    def test_only_members_are_listened_to(self) -> None:
        parish, one = Parish(settings=flock(federation=(THERE,))), left()
        [(datagram, _), _] = parish.give(one.info(parish.wall), one.address)
        for source in (HERE, THERE._replace(port=1), one.address):
            assert parish.refused(datagram, source) is Drop.FEDERATION_SOURCE

    def test_another_secret(self) -> None:
        diocese, one = Diocese(), left()
        diocese.there.sync = Secret(bytes(32))
        diocese.registers(diocese.here, one)
        assert diocese.there.drops == {Drop.OFFER_BAD_TAG: 2}

    def test_no_secret(self) -> None:
        diocese, one = Diocese(), left()
        diocese.there.sync = None
        diocese.registers(diocese.here, one)
        assert diocese.there.drops == {Drop.NO_SECRET: 2}

    def test_a_cathedral_cant_sign_for_a_client(self) -> None:
        diocese, one = Diocese(), left()
        forged = passed_on(diocese.there, one, opened(diocese, one)[:451] + bytes(64))
        assert diocese.here.refused(forged, THERE) is Drop.OFFER_SIGNATURE

    def test_a_flood_of_forgeries_in_a_members_name_locks_no_member_out(self) -> None:
        diocese, one = Diocese(), left()
        here = diocese.here
        for number in range(5000):
            here.give(FEDERATION.encode(header_of(one, number)).ljust(OFFER_BYTES, b"\0"), THERE)
        assert here.drops == {Drop.OFFER_BAD_TAG: 5000}
        diocese.registers(diocese.there, one)
        assert here.cathedral.statistics().tunnels_federated == 1

    def test_a_captured_info_replayed_at_the_other_cathedral(self) -> None:
        diocese, one = Diocese(), left()
        captured = one.info(diocese.here.wall)
        diocese.give(diocese.here, captured, one.address)
        thief = Address("192.0.2.66", 666)
        assert diocese.there.refused(captured, thief) is Drop.OFFER_REPLAYED

    def test_what_members_may_say_of(self) -> None:
        diocese, one = Diocese(p2p_sync=True), left()
        here = diocese.here
        body = PeerInfoBody(one.tunnel, one.address, reachable=True)
        datagram = whereabouts(diocese.there, one, body)
        assert here.refused(datagram, THERE) is Drop.TUNNEL_UNKNOWN
        diocese.registers(here, one)
        assert here.refused(datagram, THERE) is Drop.TUNNEL_UNKNOWN, "it is ours"
        foreign = PeerInfoBody(right().tunnel, one.address, reachable=True)
        datagram = whereabouts(diocese.there, one, foreign)
        assert here.refused(datagram, THERE) is Drop.DEVICE_NOT_ALLOWED

    def test_peer_info_from_a_client_is_refused(self) -> None:
        parish, one = Parish(), left()
        body = PeerInfoBody(one.tunnel, one.address, reachable=True)
        datagram = one.says(body, parish.wall)  # type: ignore[arg-type]
        assert parish.refused(datagram, one.address) is Drop.OFFER_TYPE


def test_of_one_size_with_tfc() -> None:
    parish, one = Parish(settings=flock(federation=(THERE,)), tfc=True), left()
    one.remembers = True
    sent = parish.give(one.info(parish.wall), one.address)
    assert [len(each) for each, _ in sent] == [MTU + 50] * 3
    assert one.hears(sent[0][0])
    assert opened_federated(sent[1][0], parish.wall)


def test_more_cathedrals_than_clients_can_be_told_of() -> None:
    many = tuple(Address(f"192.0.2.{number}", 1) for number in range(10, 11 + MAX_FEDERATION))
    with pytest.raises(LocalProtocolError, match="31 at most"):
        Parish(settings=flock(federation=many))
    parish, one = Parish(settings=flock(federation=(*many[:-1], HERE))), left()
    one.remembers = True
    assert len(parish.give(one.info(parish.wall), one.address)) == 1 + 2 * MAX_FEDERATION
    with pytest.raises(LocalProtocolError):
        parish.cathedral.reconfigure(flock(federation=many), parish.now)
    parish.after(5)
    assert len(parish.give(one.info(parish.wall), one.address)) == 2 * MAX_FEDERATION


def opened(diocese: Diocese, device: Device) -> bytes:
    """Data and signature of an info."""
    sent = diocese.there.give(device.info(diocese.there.wall), device.address)
    return opened_federated(sent[0][0], diocese.there.wall).plaintext


def header_of(device: Device, number: int) -> OfferHeader:
    return OfferHeader(Spi(device.identity), device.flocks, number.to_bytes(64, "big"))
