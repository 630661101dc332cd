"""The replay window: the reference's own sequences, and a naive set (protocol section 9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.protocol.window import ReplayWindow
from chancel.wire.drop import Drop

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "replay.json").read_text())

numbers = st.one_of(st.integers(0, 200), st.integers(0, 5000), st.sampled_from([2**32, 2**64 - 1]))


class NaiveWindow:
    """Every number ever seen, in a set."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.seen: set[int] = set()

    def check(self, number: int) -> bool:
        highest = max(self.seen, default=1)
        return number > 0 and number > highest - self.width and number not in self.seen


@pytest.mark.parametrize("sequence", VECTORS["sequences"], ids=lambda rows: f"{len(rows)} rows")
def test_the_window_does_what_the_references_does(sequence: list[dict[str, Any]]) -> None:
    window = ReplayWindow(64)
    for row in sequence:
        number = int(row["pn"], 16)
        assert window.check(number) is bool(row["accepted"]), row
        if row["accepted"]:
            window.mark(number)
        assert (window.highest, window.bitmap) == (
            int(row["highest"], 16),
            int(row["bitmap"], 16),
        ), row


@given(st.lists(numbers), st.sampled_from([1, 64, 1024]))
def test_the_window_agrees_with_a_naive_set(sequence: list[int], width: int) -> None:
    window, naive = ReplayWindow(width), NaiveWindow(width)
    for number in sequence:
        assert window.check(number) is naive.check(number)
        if window.check(number):
            window.mark(number)
            naive.seen.add(number)


@given(st.lists(numbers, max_size=20), st.lists(numbers, min_size=1), st.sampled_from([64, 1024]))
def test_a_batch_does_what_single_packets_do(
    before: list[int], batch: list[int], width: int
) -> None:
    window, single = ReplayWindow(width), ReplayWindow(width)
    for number in before:
        for each in (window, single):
            if each.check(number):
                each.mark(number)
    array = np.array(batch, dtype=np.uint64)
    if not window.check_all(array):
        return
    window.mark_all(array)
    for number in batch:
        assert single.check(number)
        single.mark(number)
    assert (window.highest, window.bitmap) == (single.highest, single.bitmap)


def test_a_batch_that_starts_with_the_first_packet_is_taken_whole() -> None:
    window = ReplayWindow(64)
    first = np.arange(1, 101, dtype=np.uint64)
    assert window.check_all(first)
    window.mark_all(first)
    assert (window.highest, window.bitmap) == (100, 2**64 - 1)
    assert not window.check_all(first)


@pytest.mark.parametrize("batch", [[2, 1], [3, 3], [1, 2, 2]])
def test_a_batch_out_of_order_is_left_to_single_checks(batch: list[int]) -> None:
    assert not ReplayWindow(64).check_all(np.array(batch, dtype=np.uint64))


def test_a_refused_number_says_why() -> None:
    window = ReplayWindow(64)
    window.mark(100)
    assert window.refusal(100) is Drop.DUPLICATE
    assert window.refusal(36) is Drop.TOO_OLD
    assert window.refusal(0) is Drop.TOO_OLD
    assert window.refusal(37) is None
