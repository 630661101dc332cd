"""Where the peer is with a cathedral: relay first, direct once both directions are proved."""

from __future__ import annotations

import pytest

from chancel.protocol.graces import discovery_sizes
from chancel.protocol.path_trial import AT_ONCE_S
from chancel.protocol.profile import CURRENT
from chancel.protocol.whereabouts import HOLD_S, MAX_KEPT, PROBE_SIZES, Whereabouts
from chancel.wire import grace
from chancel.wire.grace import Heartbeat, MtuProbe
from chancel.wire.types import Address

CATHEDRAL = Address("203.0.113.1", 2333)
OTHER = Address("203.0.113.2", 2333)
PEER = Address("198.51.100.7", 40_001)
MOVED = Address("192.0.2.9", 5555)


class Walk:
    """Whereabouts with a clock, and a peer that acknowledges where the test says so."""

    def __init__(self, fixed: Address | None = None, kept: tuple[Address, ...] = ()) -> None:
        self.now = 100.0
        self.here = Whereabouts(fixed, self.now, kept=kept)
        self.here.cathedral_is(CATHEDRAL, self.now)
        self.sent: list[tuple[float, Address | None, grace.Grace]] = []

    def run(self, seconds: float, answers: tuple[Address, ...] = (), via: bool = True) -> None:
        """Let time pass; probes to ``answers`` are acknowledged, from there unless not ``via``."""
        until = self.now + seconds
        while (at := self.here.wake_at()) is not None and at <= until:
            self.now = max(self.now, at)
            self.here.wake(self.now)
            self.drain(answers, via)
        self.now = until

    def drain(self, answers: tuple[Address, ...] = (), via: bool = True) -> None:
        for payload in self.here.probes():
            target, what = self.here.candidate, grace.decode_untrusted(payload)
            self.sent.append((self.now, target, what))
            if target not in answers or target is None:
                continue
            self.here.observe(target if via else CATHEDRAL, self.now)
            if isinstance(what, MtuProbe):
                assert self.here.probe_answered(what.size, self.now)

    def probes(self, since: float = 0.0) -> list[int]:
        return [g.size for at, _, g in self.sent if isinstance(g, MtuProbe) and at >= since]


def direct() -> Walk:
    walk = Walk()
    walk.here.announced(PEER, walk.now)
    walk.run(0.5, answers=(PEER,))
    assert walk.here.direct
    assert walk.here.address == PEER
    return walk


def test_it_begins_at_the_cathedral_and_follows_it_to_another() -> None:
    walk = Walk()
    assert walk.here.changed()
    assert not walk.here.changed()
    assert (walk.here.address, walk.here.candidate, walk.here.direct) == (CATHEDRAL, None, False)
    assert walk.here.wake_at() is None
    walk.here.cathedral_is(OTHER, walk.now)
    assert walk.here.changed()
    assert walk.here.address == OTHER
    assert walk.here.is_relay(Address(CATHEDRAL.host, 1))
    walk.here.cathedral_is(None, walk.now)
    assert walk.here.address is None
    assert walk.here.offers_to(walk.now) == ()
    assert repr(walk.here) == "<Whereabouts relayed nowhere>"


def test_an_announced_address_is_tried_and_traffic_stays_relayed() -> None:
    walk = Walk()
    walk.here.announced(PEER, walk.now)
    start = walk.now
    walk.run(60.0)
    assert not walk.here.direct
    assert walk.here.candidate == PEER
    beats = [at - start for at, to, g in walk.sent if to == PEER and isinstance(g, Heartbeat)]
    assert beats[:16] == pytest.approx([float(second) for second in range(16)])
    later = zip(beats[16:], beats[15:-1], strict=True)
    assert {round(one - before, 6) for one, before in later} == {5.0}
    assert walk.probes() == []  # whoever is there has not asked for large packets


IMPOSSIBLE = ["224.0.0.1", "255.255.255.255", "240.0.0.1", "0.0.0.0", "127.0.0.1"]


@pytest.mark.parametrize("host", IMPOSSIBLE)
def test_what_no_peer_can_have_as_its_address_is_not_tried(host: str) -> None:
    walk = Walk()
    walk.here.announced(Address(host, 53), walk.now)
    assert walk.here.candidate is None
    walk.run(60.0)
    assert walk.sent == []


def test_where_the_cathedral_is_on_this_machine_the_peer_may_be_so_too() -> None:
    walk = Walk()
    walk.here.cathedral_is(Address("127.0.0.1", 2333), walk.now)
    walk.here.announced(Address("127.0.0.2", 2333), walk.now)
    assert walk.here.candidate == Address("127.0.0.2", 2333)


def test_a_cathedral_that_lies_makes_us_send_next_to_nothing() -> None:
    """However often it names another victim: a heartbeat each quarter of a second for all."""
    walk = Walk()
    for number in range(2400):
        walk.here.announced(Address("198.51.100.8", 1000 + number), walk.now)
        walk.run(0.025)
    assert {type(what) for _, _, what in walk.sent} == {Heartbeat}
    assert len(walk.sent) <= 60.0 / AT_ONCE_S + 1


def test_whoever_forges_the_sources_of_authentic_packets_makes_us_send_little() -> None:
    walk = Walk()
    for number in range(2400):
        walk.here.observe(Address("198.51.100.8", 1000 + number), walk.now)
        walk.run(0.025)
    assert len(walk.probes()) <= 60.0 / AT_ONCE_S + 1


def test_a_path_takes_both_directions() -> None:
    walk = Walk()
    walk.here.announced(PEER, walk.now)
    walk.run(5.0, answers=(PEER,), via=False)  # what we send arrives, and nothing comes back
    assert not walk.here.direct
    walk.here.observe(PEER, walk.now)
    assert not walk.here.direct
    walk.run(0.0, answers=(PEER,), via=False)
    assert walk.here.direct
    deaf = Walk()
    deaf.here.announced(PEER, deaf.now)
    deaf.here.probe_received()
    for _ in range(20):
        deaf.run(1.0)
        deaf.here.observe(PEER, deaf.now)  # comes, but what we send doesn't arrive
    assert not deaf.here.direct


def test_an_old_acknowledgement_proves_nothing() -> None:
    walk = Walk()
    walk.here.announced(PEER, walk.now)
    walk.run(5.0, answers=(PEER,), via=False)
    walk.run(120.0)
    walk.here.observe(PEER, walk.now)
    assert not walk.here.direct
    walk.run(0.0, answers=(PEER,))
    assert walk.here.direct


def test_a_direct_packet_is_answered_by_a_probe_at_once() -> None:
    walk = Walk()
    walk.here.announced(PEER, walk.now)
    walk.run(20.4)
    walk.here.observe(PEER, walk.now)
    walk.run(0.0, answers=(PEER,))
    assert walk.here.direct


def test_the_source_of_something_authentic_is_tried_unannounced() -> None:
    walk = Walk()
    walk.here.observe(MOVED, walk.now)
    assert walk.here.candidate == MOVED
    walk.run(0.0, answers=(MOVED,))
    assert walk.here.address == MOVED
    assert walk.here.recent() == (MOVED,)


def test_an_acknowledgement_of_another_candidates_probe_proves_nothing() -> None:
    walk = Walk()
    walk.here.observe(MOVED, walk.now)
    walk.run(0.0)
    late = walk.probes()[-1]
    walk.here.observe(PEER, walk.now)
    assert walk.here.probe_answered(late, walk.now)
    assert not walk.here.direct


@pytest.mark.parametrize("mtu", [1422, 1373, 900, 640])
def test_probes_have_sizes_that_discovery_never_uses(mtu: int) -> None:
    here = Whereabouts(None, 0.0, mtu=mtu)
    sizes = set()
    for number in range(2 * PROBE_SIZES):
        here.observe(Address("192.0.2.1", 1000 + number), float(number))
        here.wake(float(number))
        graces = map(grace.decode_untrusted, here.probes())
        sizes |= {each.size for each in graces if isinstance(each, MtuProbe)}
    assert len(sizes) == PROBE_SIZES
    assert not sizes & set(discovery_sizes(mtu, CURRENT))
    assert all(CURRENT.mtu_minimum <= size <= mtu for size in sizes)
    assert not here.probe_answered(mtu, 99.0)


def test_a_peer_that_never_acknowledges_has_moved_when_only_direct_packets_come() -> None:
    walk = Walk()
    for _ in range(5):
        walk.here.observe(CATHEDRAL, walk.now)  # it still relays, so it has not moved
        walk.here.observe(PEER, walk.now)
        walk.run(1.0)
    assert not walk.here.direct
    for _ in range(5):
        walk.here.observe(PEER, walk.now)
        walk.run(1.0)
    assert walk.here.direct
    walk.run(60.0)
    assert not walk.here.direct  # silence is all there is to judge it by
    assert walk.here.candidate == PEER


def test_for_ten_seconds_after_a_direct_sign_nothing_relayed_moves_us() -> None:
    walk = direct()
    sign = walk.now
    walk.run(3.0, answers=())
    walk.here.observe(CATHEDRAL, sign + HOLD_S - 1.0)
    walk.here.announced(CATHEDRAL, sign + HOLD_S - 1.0)
    assert walk.here.direct
    walk.here.observe(CATHEDRAL, sign + HOLD_S + 0.1)
    assert not walk.here.direct
    assert walk.here.changed()
    assert (walk.here.address, walk.here.candidate) == (CATHEDRAL, PEER)


def test_a_quiet_path_is_probed_and_stays() -> None:
    walk = direct()
    walk.sent.clear()
    walk.run(600.0, answers=(PEER,))
    assert walk.here.direct
    assert 100 <= len(walk.sent) <= 125
    walk.sent.clear()
    for _ in range(600):  # a busy one is only confirmed
        walk.here.observe(PEER, walk.now)
        walk.run(1.0, answers=(PEER,))
    assert walk.here.direct
    assert 38 <= len(walk.sent) <= 41


def test_a_dead_path_is_left_within_seconds_and_tried_again() -> None:
    walk = direct()
    before = walk.now
    walk.run(5.0 + 4.0 + 0.1)
    assert not walk.here.direct
    assert walk.here.address == CATHEDRAL
    assert len(walk.probes(before)) <= 3 + 1
    walk.run(1.1, answers=(PEER,))
    assert walk.here.direct


def test_a_path_that_is_dead_one_way_only_is_left_as_well() -> None:
    walk = direct()
    for _ in range(15 + 8 + 3):
        walk.here.observe(PEER, walk.now)
        walk.run(1.0)
    assert not walk.here.direct


def test_a_peer_that_turns_up_elsewhere_is_followed_once_it_answers_there() -> None:
    walk = direct()
    walk.run(2.0, answers=(PEER,))
    walk.here.observe(MOVED, walk.now)
    assert walk.here.address == PEER
    assert walk.here.candidate == MOVED
    walk.run(0.3, answers=(MOVED,))
    assert walk.here.address == MOVED
    assert walk.here.recent() == (MOVED, PEER)


def test_somebody_who_replays_from_elsewhere_gets_a_probe_and_no_traffic() -> None:
    walk = direct()
    walk.here.observe(MOVED, walk.now)
    walk.run(2.0)
    assert walk.here.address == PEER
    walk.here.observe(PEER, walk.now)  # the peer is still where it was
    assert walk.here.candidate == PEER
    count = len(walk.sent)
    for _ in range(1000):
        walk.here.observe(MOVED, walk.now)
        walk.here.observe(PEER, walk.now + 2.0)
        walk.run(0.0)
    assert len(walk.sent) - count <= 2 * 2


def test_neither_here_nor_there_means_back_to_the_relay() -> None:
    walk = direct()
    walk.here.observe(MOVED, walk.now)
    walk.run(HOLD_S + 0.1)
    assert walk.here.address == CATHEDRAL
    assert walk.here.candidate == MOVED


def test_an_announcement_names_the_next_place_to_try() -> None:
    walk = direct()
    walk.run(3.0)
    walk.here.announced(MOVED, walk.now)
    assert walk.here.address == PEER
    walk.run(10.0)
    assert walk.here.candidate == MOVED
    walk.run(1.0, answers=(MOVED,))
    assert walk.here.address == MOVED


def test_an_address_that_speaks_is_worth_more_than_one_that_is_announced() -> None:
    walk = Walk()
    walk.here.observe(MOVED, walk.now)
    walk.here.announced(PEER, walk.now + 1.0)
    assert walk.here.candidate == MOVED
    walk.here.announced(PEER, walk.now + 20.0)
    assert walk.here.candidate == PEER


def test_packets_of_an_earlier_cathedral_are_relayed_too() -> None:
    walk = Walk()
    walk.here.cathedral_is(OTHER, walk.now)
    walk.here.observe(CATHEDRAL, walk.now)
    assert walk.here.candidate is None
    assert walk.here.address == OTHER


def test_a_fixed_peer_is_not_moved_by_what_a_cathedral_says() -> None:
    walk = Walk(fixed=PEER)
    assert walk.here.address == PEER
    walk.here.announced(MOVED, walk.now)
    walk.here.announced(CATHEDRAL, walk.now + 20.0)
    walk.run(600.0)
    assert walk.here.address == PEER
    assert walk.sent == []
    walk.here.observe(CATHEDRAL, walk.now)  # but by its packets it is
    assert walk.here.address == CATHEDRAL
    walk.run(1.0, answers=(PEER,))
    assert walk.here.address == PEER
    walk.here.observe(CATHEDRAL, walk.now + 20.0)
    walk.here.give_up(walk.now + 20.0)
    assert walk.here.address == PEER


def test_an_unresponsive_peer_is_expected_at_the_cathedral_and_where_it_was() -> None:
    walk = direct()
    walk.run(5.0, answers=(PEER,))
    walk.here.give_up(walk.now)
    assert walk.here.address == CATHEDRAL
    assert walk.here.candidate == PEER
    walk.run(40.0)
    assert walk.here.offers_to(walk.now) == (CATHEDRAL, PEER)


def test_a_peer_that_restarted_behind_the_relay_is_met_there_at_once() -> None:
    walk = direct()
    walk.here.peer_restarted(walk.now)
    assert walk.here.direct  # it speaks from the same address as before
    walk.run(1.0)
    walk.here.observe(CATHEDRAL, walk.now)
    walk.here.peer_restarted(walk.now)
    assert walk.here.address == CATHEDRAL


def test_after_a_change_of_the_network_the_path_is_probed_at_once() -> None:
    walk = direct()
    walk.run(1.0)
    walk.sent.clear()
    walk.here.network_changed(walk.now)
    walk.run(0.5, answers=(PEER,))
    assert len(walk.probes()) == 1
    walk.here.network_changed(walk.now)
    walk.run(4.1)
    assert walk.here.address == CATHEDRAL


def test_offers_also_go_where_the_peer_speaks_from_before_anything_is_proved() -> None:
    walk = Walk()
    assert walk.here.offers_to(walk.now) == (CATHEDRAL,)
    walk.here.announced(PEER, walk.now)
    assert walk.here.offers_to(walk.now) == (CATHEDRAL,)
    walk.here.observe(PEER, walk.now)
    assert walk.here.offers_to(walk.now) == (CATHEDRAL, PEER)


def test_acknowledgements_go_to_an_address_that_is_tried_and_spoke_too() -> None:
    walk = Walk()
    assert walk.here.acknowledgements_to() == (CATHEDRAL,)
    walk.here.announced(PEER, walk.now)
    assert walk.here.acknowledgements_to() == (CATHEDRAL,)
    walk.here.observe(PEER, walk.now)
    assert walk.here.acknowledgements_to() == (CATHEDRAL, PEER)
    assert direct().here.acknowledgements_to() == (PEER,)


def test_two_ends_that_only_hear_each_other_make_no_storm() -> None:
    walk = Walk()
    walk.here.observe(PEER, walk.now)
    walk.here.probe_received()
    walk.run(30.0)
    walk.sent.clear()
    for _ in range(400):
        walk.here.observe(PEER, walk.now)
        walk.run(0.25)
    assert 19 <= len(walk.probes()) <= 21


def test_known_addresses_are_kept_and_few() -> None:
    kept = Walk(kept=(MOVED, PEER))
    assert kept.here.recent() == (MOVED, PEER)
    assert kept.here.offers_to(kept.now) == (CATHEDRAL, MOVED, PEER)
    walk = Walk()
    for number in range(2 * MAX_KEPT):
        address = Address("192.0.2.1", 1000 + number)
        walk.here.observe(address, walk.now)
        walk.run(1.0, answers=(address,))
    assert walk.here.recent() == tuple(
        Address("192.0.2.1", 1000 + number) for number in reversed(range(MAX_KEPT, 2 * MAX_KEPT))
    )


def test_a_new_key_repeats_what_was_tried_without_one() -> None:
    walk = Walk()
    walk.here.announced(PEER, walk.now)
    walk.here.observe(PEER, walk.now)
    walk.run(61.0)
    walk.here.key_installed(walk.now)
    assert walk.here.wake_at() == walk.now
    walk.sent.clear()
    walk.run(5.0)
    assert len(walk.probes()) == 6
