"""Packets become runs: equal ones side by side, in their order, each with a tail of zeros."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.hot.filling import Filling
from chancel.daemon.run import MAX_RUN_PACKETS, MAX_RUNS
from tests.daemon.naive import TAIL, new_slot, packets_of


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from([0, 0xFC]), st.sampled_from([1, 20, 52, 53, 1400])
        ),
        max_size=40,
    )
)
def test_runs_hold_the_packets_in_their_order(packets: list[tuple[int, int, int]]) -> None:
    slot = new_slot()
    slot.memory[:] = b"\xee" * len(slot.memory)
    filling = Filling()
    filling.begin(slot)
    for i, (tunnel, next_, size) in enumerate(packets):
        filling.packet(tunnel, next_, memoryview(bytes([i]) * size))
    runs = filling.finish()
    found = packets_of(slot, runs)
    assert found == [bytes([i]) * size + bytes(TAIL) for i, (_, _, size) in enumerate(packets)]
    owners = [(run.tunnel, run.next) for run in runs for _ in range(run.packets)]
    assert owners == [(tunnel, next_) for tunnel, next_, _ in packets]
    ends = [0, *(run.end for run in runs)]
    assert all(run.offset >= end for run, end in zip(runs, ends, strict=False))


def test_equal_packets_share_a_run_and_a_shorter_one_closes_it() -> None:
    filling = Filling()
    filling.begin(new_slot())
    for size in (100, 100, 60, 60, 61):
        filling.packet(0, 0, memoryview(bytes(size)))
    shapes = [(run.packets, run.size - TAIL, run.last - TAIL) for run in filling.finish()]
    assert shapes == [(3, 100, 60), (1, 60, 60), (1, 61, 61)]


def test_a_slot_is_full_by_bytes_or_by_runs() -> None:
    filling = Filling()
    filling.begin(new_slot(4096))
    assert filling.fits(1, 4096 - TAIL - 48 - 32)
    assert not filling.fits(1, 4096)
    filling.begin(new_slot())
    for i in range(MAX_RUNS + 1):
        if not filling.fits(1, 100):
            break
        filling.packet(0, 0, memoryview(bytes(10 + i % 2 * 10)))
    runs = filling.finish()
    assert len(runs) <= MAX_RUNS
    assert sum(run.packets for run in runs) > MAX_RUNS // 2


def test_no_run_grows_beyond_its_limit() -> None:
    filling = Filling()
    filling.begin(new_slot(1 << 20))
    for _ in range(MAX_RUN_PACKETS + 3):
        filling.packet(0, 0, memoryview(bytes(13)))
    assert [run.packets for run in filling.finish()] == [MAX_RUN_PACKETS, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_trains_join_the_run_before_them(count: int) -> None:
    filling = Filling()
    filling.begin(new_slot())
    filling.packet(0, 0, memoryview(bytes(98)))
    assert filling.train(0, count, 100, 100) == 100
    (run,) = filling.finish()
    assert (run.packets, run.size) == (1 + count, 100)


def test_trains_that_follow_are_one_with_the_run_that_they_follow() -> None:
    one, other = Filling(), Filling()
    for filling in (one, other):
        filling.begin(new_slot())
        filling.train(0, 3, 100, 100)
    assert one.follow() == one.room(98) == (256 * 1024 - 3 * 148 - 16 - 32) // 148
    one.followed(5, 60)
    other.train(0, 5, 100, 60)
    assert (one.end, one.room(98)) == (other.end, other.room(98))
    for filling in (one, other):
        filling.packet(0, 0, memoryview(bytes(98)))  # a shorter one was the run's last
    runs = one.finish()
    assert runs == other.finish()
    assert [(run.packets, run.last) for run in runs] == [(8, 60), (1, 100)]


def test_no_more_follow_than_a_run_may_have() -> None:
    filling = Filling()
    filling.begin(new_slot(1 << 20))
    filling.train(0, MAX_RUN_PACKETS - 2, 20, 20)
    assert filling.follow() == 2
    assert filling.room(18) > 2
