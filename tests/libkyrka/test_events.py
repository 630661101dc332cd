"""What a program is told, and when: each sequence that the specification shows in direct mode."""

from __future__ import annotations

import pytest

from tests.libkyrka.ends import (
    CLEARED,
    ERASED,
    NO_KEYS,
    RESYNC,
    START,
    Clock,
    End,
    Ends,
    keys,
    logged,
    offer,
)

AGE = (3, {"reason": "SA age limit"})
PACKETS = (3, {"reason": "SA packet limit"})
SHROUDED = logged("shroud peer key created")
MISMATCH = logged("offer mismatching, trying re-sync")
OFFER_BYTES = 623


def alone(seconds: float, calls_per_s: int = 4) -> End:
    """A context without a peer, some calls a second."""
    end = End(Clock())
    for _ in range(int(seconds * calls_per_s) + 1):
        end.context.key_manage()
        end.clock.now += 1 / calls_per_s
    return end


def test_without_a_peer_exchanges_follow_each_other_for_ever() -> None:
    end = alone(60.0)
    assert end.events[:4] == [(0.0, NO_KEYS), (13.75, CLEARED), (14.0, NO_KEYS), (27.75, CLEARED)]
    assert [told for _, told in end.events] == [NO_KEYS, CLEARED] * 4 + [NO_KEYS]
    assert {number for _, _, number in end.sent} == {0}
    assert {len(data) for _, data, _ in end.sent} == {OFFER_BYTES}


def test_without_a_peer_four_packets_leave_each_second() -> None:
    end = alone(13.75)
    assert len(end.sent) == 60
    times = [sent.at - START for sent in end.sent]
    assert times[::4] == [0.25, *(second - 0.25 for second in range(1, 15))]
    assert times[3::4] == times[::4]


def test_offers_are_never_the_same_twice() -> None:
    end = alone(13.75)
    assert len({data for _, data, _ in end.sent}) == 60


@pytest.mark.parametrize("shroud", [False, True], ids=["bare", "shrouded"])
def test_two_contexts_called_once_a_second(shroud: bool) -> None:
    ends = Ends(shroud=shroud)
    begin = [SHROUDED, NO_KEYS] if shroud else [NO_KEYS]
    assert ends.turn() == [0, 0]
    assert [end.told() for end in ends.both] == [begin, begin]
    assert ends.turn() == [4, 4]
    own = [end.spis[1] for end in ends.both]
    assert [end.told() for end in ends.both] == [[keys(0, spi)] for spi in own]
    assert ends.turn() == [8, 8]
    pairs = [(own[1], own[0]), (own[0], own[1])]
    assert [end.told() for end in ends.both] == [[keys(*pair)] for pair in pairs]
    for _ in range(4):
        assert ends.turn() == [4, 4]
        assert [end.told() for end in ends.both] == [[], []]
    ends.talk()
    assert [end.told() for end in ends.both] == [[], []]
    assert ends.turn() == [0, 0]
    assert [end.told() for end in ends.both] == [[CLEARED], [CLEARED]]
    assert [end.heard for end in ends.both] == [[(b"ping", 1)], [(b"ping", 1)]]


def test_without_data_the_answer_is_repeated_until_the_exchange_expires() -> None:
    ends = Ends()
    for _ in range(3):
        ends.turn()
    counts = [ends.turn() for _ in range(20)]
    assert counts == [[4, 4]] * 14 + [[0, 0]] * 6
    assert [end.told()[-1] for end in ends.both] == [CLEARED, CLEARED]
    ends.talk()
    assert [len(end.heard) for end in ends.both] == [1, 1]


def test_nothing_is_said_of_an_exchange_that_the_peer_starts() -> None:
    ends = Ends()
    ends.left.context.key_manage()
    ends.clock.now += 1
    ends.left.context.key_manage()
    ends.carry()
    own = ends.right.spis[1]
    assert ends.right.told() == [keys(0, own)]
    assert ends.right.sent == []
    ends.clock.now += 1
    assert ends.manage() == [4, 8]


def test_receiving_never_sends() -> None:
    ends = Ends()
    for _ in range(5):
        ends.manage()
        packets = [end.drain() for end in ends.both]
        ends.left.take(packets[1])
        ends.right.take(packets[0])
        assert [end.sent for end in ends.both] == [[], []]
        ends.clock.now += 1


@pytest.mark.parametrize("limit", [AGE, PACKETS], ids=["age", "packets"])
def test_a_key_that_exceeds_a_limit_is_replaced(limit: tuple[int, dict[str, str]]) -> None:
    ends = Ends().up()
    left, right = ends.both
    old = {end: end.installed for end in ends.both}
    if limit == AGE:
        ends.clock.now = float(int(START)) + 1 + 3500  # the receive key was installed at 1001
        just_below, above = ends.manage(), 1.0
    else:
        slot = left.context._keys._opener.active
        assert slot is not None
        slot.packets = 2**33
        just_below, above = ends.manage(), 0.0
        slot.packets += 1
    assert just_below == [0, 0]
    assert [end.told() for end in ends.both] == [[], []]
    ends.clock.now += above
    left.context.key_manage()
    assert left.told() == [limit]
    ends.clock.now += 1
    left.context.key_manage()
    ends.carry()
    ends.clock.now += 1
    ends.turn()
    ends.turn()
    new = left.spis
    assert left.told() == [keys(old[left][0], new[1]), keys(*new)]
    assert right.installed == new[::-1]
    ends.talk()
    ends.turn()
    assert left.told() == [CLEARED]
    assert left.heard == [(b"ping", 1)]


def test_packets_under_the_old_key_are_lost_at_once() -> None:
    ends = Ends().up()
    left, right = ends.both
    ends.clock.now += 3501
    left.context.heaven_input(b"late")
    late = left.drain()
    right.context.key_manage()
    ends.turn()
    ends.turn()
    assert right.told()[-1][0] == 1
    right.take(late)
    assert right.heard == []
    assert right.context.drops()["unknown-spi"] == 1


def test_an_answer_to_another_key_makes_the_exchange_begin_anew_after_five_seconds() -> None:
    ends = Ends()
    ends.turn()
    ends.turn()
    left = ends.left
    left.told()
    at = float(int(ends.clock.now))
    left.take([offer(ends.clock, 2, 0xDEADBEEF)])
    assert left.told() == [CLEARED, MISMATCH]
    for seconds in (0.0, 1.0, 4.0, 4.999):
        ends.clock.now = at + seconds
        left.context.key_manage()
        assert (left.told(), left.drain()) == ([], [])
    ends.clock.now = at + 5
    left.context.key_manage()
    assert (left.told(), left.drain()) == ([RESYNC], [])


def test_such_an_answer_means_nothing_before_the_peers_key_is_there() -> None:
    ends = Ends()
    ends.left.context.key_manage()
    ends.left.told()
    ends.left.take([offer(ends.clock, 2, 0xDEADBEEF)])
    assert ends.left.told() == []
    assert ends.left.context.drops() == {"offer-unexpected": 1}


def test_the_peers_own_new_exchange_is_good_enough_for_a_re_sync() -> None:
    ends = Ends()
    ends.turn()
    ends.turn()
    left, right = ends.both
    left.take([offer(ends.clock, 2, 0xDEADBEEF)])
    left.told()
    right.context.peer_timeout()
    for _ in range(30):
        ends.turn()
    assert left.installed == right.installed[::-1]
    ends.talk()
    assert [len(end.heard) for end in ends.both] == [1, 1]


def test_a_restarted_peer_is_followed_without_a_word() -> None:
    ends = Ends().up()
    left = ends.left
    tx, _ = left.installed
    ends.right = End(ends.clock)
    for _ in range(4):
        ends.turn()
    new = left.spis
    assert left.told() == [keys(tx, new[1]), keys(*new)]
    ends.talk()
    assert [end.heard for end in ends.both] == [[(b"ping", 1)], [(b"ping", 1)]]


def test_a_peer_that_restarts_during_the_exchange_replaces_it() -> None:
    ends = Ends()
    ends.turn()
    ends.turn()
    left = ends.left
    first = left.spis[1]
    left.told()
    ends.right = End(ends.clock)
    ends.lose = lambda sender, datagram: sender is left
    ends.turn()
    ends.turn()
    own = left.spis[1]
    assert left.told() == [CLEARED, keys(0, own)]
    assert own != first
    ends.lose = lambda sender, datagram: False
    for _ in range(3):
        ends.turn()
    assert left.installed == ends.right.installed[::-1]


def test_a_lost_ciphertext_leads_to_another_exchange() -> None:
    """Where the reference would wait for an hour with a key in one direction only."""
    ends = Ends()
    ends.turn()
    ends.turn()
    left, right = ends.both
    ends.lose = lambda sender, datagram: sender is right
    for _ in range(16):
        ends.turn()
    assert right.spis[0] != 0
    assert left.told()[-2:] == [CLEARED, NO_KEYS]
    ends.lose = lambda sender, datagram: False
    for _ in range(20):
        ends.turn()
    ends.talk()
    assert [len(end.heard) for end in ends.both] == [1, 1]


def test_a_peer_that_is_given_up() -> None:
    ends = Ends().up()
    left = ends.left
    assert left.context.peer_timeout() is True
    assert left.told() == [ERASED]
    with pytest.raises(RuntimeError) as caught:
        left.context.heaven_input(b"x")
    assert caught.value.args == (8,)
    left.context.peer_timeout()
    assert left.told() == [ERASED]
    left.context.key_manage()
    assert left.told() == [NO_KEYS]
    for _ in range(4):
        ends.turn()
    ends.talk()
    assert [end.heard for end in ends.both] == [[(b"ping", 1)], [(b"ping", 1)]]


def test_giving_up_leaves_a_running_exchange_alone() -> None:
    ends = Ends()
    ends.turn()
    ends.turn()
    ends.left.told()
    ends.left.context.peer_timeout()
    assert ends.left.told() == [ERASED]
    assert ends.turn() == [8, 8]
    assert ends.left.told() == [keys(ends.right.spis[1], 0)]


def test_a_sending_key_expires_after_an_hour() -> None:
    ends = Ends().up()
    left = ends.left
    installed_at = 1002.0
    left.context.heaven_input(b"second packet")
    ends.clock.now = installed_at + 3599.999
    left.context.heaven_input(b"third packet")
    ends.clock.now = installed_at + 3600
    for told in ([logged("expired TX SA (seqnr=4, age=3600)")], []):
        with pytest.raises(RuntimeError) as caught:
            left.context.heaven_input(b"too late")
        assert caught.value.args == (8,)
        assert left.told() == told


def test_what_is_wrong_with_authentic_offers_is_logged() -> None:
    end = End(Clock())
    end.take([offer(end.clock, 1, 0), offer(end.clock, 3, 1)])
    assert end.told() == [
        logged("peer sent invalid spi of 0x00"),
        logged("ignoring unknown offer packet"),
    ]


@pytest.mark.parametrize(("skew_s", "taken"), [(-10, 4), (10, 4), (-11, 0), (11, 0)])
def test_offers_are_good_for_ten_seconds(skew_s: int, taken: int) -> None:
    end = End(Clock())
    end.take([offer(end.clock, 1, 9, fragment=n, skew_s=skew_s) for n in (0, 1, 1, 2)])
    assert end.context.drops() == ({"offer-fragment-seen": 1} if taken else {"offer-time": 4})
