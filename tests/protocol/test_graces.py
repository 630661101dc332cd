"""Heartbeats and MTU discovery, by the second (protocol section 11)."""

from __future__ import annotations

import pytest

from chancel.protocol.events import MtuChanged, MtuNotFound
from chancel.protocol.graces import Graces
from chancel.wire.drop import Drop
from chancel.wire.grace import Grace, Heartbeat, MtuAck, MtuProbe, decode_untrusted

MAXIMUM = 1422


def timeline(graces: Graces, until: float) -> list[tuple[float, Grace]]:
    """Jump from one wake-up to the next; returns what was made, and when."""
    made = []
    while (at := graces.wake_at()) is not None and at <= until:
        graces.wake(at)
        made += [(at, decode_untrusted(payload)) for payload in graces.payloads()]
    return made


def heartbeats(made: list[tuple[float, Grace]]) -> list[float]:
    return [at for at, grace in made if isinstance(grace, Heartbeat)]


def probes(made: list[tuple[float, Grace]]) -> list[tuple[float, int]]:
    return [(at, grace.size) for at, grace in made if isinstance(grace, MtuProbe)]


def test_without_a_key_nothing_is_due() -> None:
    graces = Graces(MAXIMUM, discovery=True, now=0.0)
    assert graces.wake_at() is None
    graces.wake(1000.0)
    graces.probe_received(1000)
    assert graces.payloads() == []


def test_a_new_key_is_shown_at_once_then_each_second_then_now_and_then() -> None:
    graces = Graces(MAXIMUM, discovery=False, now=0.0)
    graces.key_installed(100.0)
    expected = [*(100.0 + i for i in range(16)), 130.0, 145.0]
    assert heartbeats(timeline(graces, 150.0)) == expected
    graces.key_installed(151.0)
    assert heartbeats(timeline(graces, 153.0)) == [151.0, 152.0, 153.0]
    graces.key_lost()
    assert graces.wake_at() is None


def test_waking_early_makes_nothing_and_waking_late_makes_one() -> None:
    graces = Graces(MAXIMUM, discovery=False, now=0.0)
    graces.key_installed(0.0)
    graces.wake(0.0)
    graces.wake(0.5)
    assert len(graces.payloads()) == 1
    graces.wake(60.0)
    assert len(graces.payloads()) == 1


def test_discovery_steps_down_to_the_smallest_size_and_rests() -> None:
    graces = Graces(MAXIMUM, discovery=True, now=0.0)
    graces.key_installed(0.0)
    made = probes(timeline(graces, 600.0))
    sizes = [size for _, size in made]
    assert sizes[:7] == [1422, 1422, 1344, 1202, 1170, 1138, 1106]
    assert sizes[-1] == 623
    assert [at for at, _ in made[:3]] == [5.0, 10.0, 15.0]
    end = made[-1][0] + 5.0
    assert graces.next_event() == MtuNotFound(623)
    assert graces.mtu == MAXIMUM
    assert probes(timeline(graces, end + 600.0)) == [(end + 600.0, 1422)]


def test_probes_are_as_large_as_what_they_try() -> None:
    graces = Graces(MAXIMUM, discovery=True, now=0.0)
    graces.key_installed(0.0)
    graces.wake(5.0)
    assert [len(payload) for payload in graces.payloads()] == [2, 1422]


def test_an_acknowledged_size_becomes_the_mtu_and_ends_discovery() -> None:
    graces = Graces(MAXIMUM, discovery=True, now=0.0)
    graces.key_installed(0.0)
    timeline(graces, 20.0)
    graces.ack_received(1344, 21.0)
    assert (graces.mtu, graces.next_event()) == (1344, MtuChanged(1344))
    assert probes(timeline(graces, 620.9)) == []
    assert probes(timeline(graces, 621.0)) == [(621.0, 1422)]
    graces.ack_received(1422, 622.0)
    assert (graces.mtu, graces.next_event()) == (1422, MtuChanged(1422))
    graces.ack_received(1422, 623.0)
    assert graces.next_event() is None


def test_another_path_is_probed_at_once_from_the_top() -> None:
    graces = Graces(MAXIMUM, discovery=True, now=0.0)
    graces.key_installed(0.0)
    timeline(graces, 22.0)
    graces.path_changed(23.0)
    assert probes(timeline(graces, 29.0)) == [(23.0, 1422), (28.0, 1422)]


def test_a_fixed_mtu_is_never_probed() -> None:
    graces = Graces(1000, discovery=False, now=0.0)
    graces.key_installed(0.0)
    graces.path_changed(1.0)
    assert probes(timeline(graces, 1000.0)) == []


@pytest.mark.parametrize("size", [0, 622, 1423, 1522, 65535])
def test_a_size_out_of_range_is_neither_confirmed_nor_believed(size: int) -> None:
    graces = Graces(MAXIMUM, discovery=True, now=0.0)
    graces.key_installed(0.0)
    graces.probe_received(size)
    graces.ack_received(size, 1.0)
    assert graces.drops == {Drop.GRACE_SIZE: 2}
    assert graces.mtu == MAXIMUM
    assert graces.payloads() == []


def test_an_acknowledgement_of_what_we_never_asked_is_not_believed() -> None:
    graces = Graces(1000, discovery=False, now=0.0)
    graces.ack_received(700, 1.0)
    assert (graces.mtu, graces.drops) == (1000, {Drop.GRACE_SIZE: 1})


def test_probes_are_confirmed_one_at_a_time_up_to_the_configured_size() -> None:
    graces = Graces(MAXIMUM, discovery=True, now=0.0)
    graces.key_installed(0.0)
    graces.ack_received(700, 1.0)
    for size in (1422, 1344):
        graces.probe_received(size)
    assert [decode_untrusted(payload) for payload in graces.payloads()] == [MtuAck(1422)]
