"""Lanes: slots pass from one end to the other and back, and neither end can cheat the other."""

from __future__ import annotations

import os
import random
import select
import socket
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.lane import (
    CompiledLaneWriter,
    LaneEnds,
    LaneReader,
    LaneWriter,
    lane_reader,
    lane_writer,
    make_lane,
)
from chancel.daemon.run import MAX_RUNS, Run, encode_runs
from chancel.errors import LinkClosed

pytestmark = pytest.mark.usefixtures("twin")

SLOT = 4096


class Pair:
    """Both ends of a small lane in one process."""

    def __init__(self, slots: int = 3) -> None:
        self.ends = make_lane("test", slots, SLOT)
        self.writer = lane_writer(self.ends)
        self.reader = lane_reader(self.ends)

    def send(self, data: bytes) -> None:
        taken = self.writer.slot()
        assert taken is not None
        taken[1][: len(data)] = data
        self.writer.send([run_of(data)])


def run_of(data: bytes, at: int = 0) -> Run:
    return Run(1, 0, 1, len(data), len(data), at, bytes(18))


def readable(end: LaneWriter | LaneReader) -> bool:
    return bool(select.select([end], [], [], 0)[0])


def slots_of(writer: LaneWriter) -> tuple[list[int], list[int]]:
    """The slots that are free, and those that the reader has."""
    if isinstance(writer, CompiledLaneWriter):
        free, out = writer.compiled.slots()
        return list(free), list(out)
    return list(writer._free), list(writer._out)


def test_batches_arrive_in_order_with_their_bytes() -> None:
    pair = Pair()
    for text in (b"one", b"two", b"three"):
        pair.send(text)
    for text in (b"one", b"two", b"three"):
        assert readable(pair.reader)
        batch = pair.reader.receive()
        assert batch is not None
        assert batch.runs == [run_of(text)]
        assert batch.memory[: len(text)] == text
        assert len(batch.memory) == SLOT
    assert pair.reader.receive() is None
    assert not readable(pair.reader)


def test_a_slot_stays_the_writers_until_it_is_sent() -> None:
    pair = Pair()
    assert pair.writer.slot() == pair.writer.slot()
    pair.send(b"x")
    batch = pair.reader.receive()
    assert batch is not None
    other = pair.writer.slot()
    assert other is not None
    assert other[0] != batch.slot
    with pytest.raises(ValueError, match="no slot was taken"):
        Pair().writer.send([])


def test_the_writer_runs_out_and_goes_on_when_a_slot_comes_back() -> None:
    pair = Pair()
    for _ in range(3):
        pair.send(b"x")
    assert pair.writer.slot() is None
    assert not readable(pair.writer)
    batch = pair.reader.receive()
    assert batch is not None
    pair.reader.release(batch)
    assert readable(pair.writer)
    assert pair.writer.wait_slot()[0] == batch.slot


def carry(pair: Pair, packets: int = 1) -> None:
    """Hand a batch of small packets over, and give its slot back."""
    assert pair.writer.slot() is not None
    pair.writer.send([Run(1, 0, packets, 60, 60, 0)])
    batch = pair.reader.receive()
    assert batch is not None
    pair.reader.release(batch)


def test_slots_of_lone_packets_come_back_together() -> None:
    """Half of the slots carry all of them, and a quarter of them carries a token back."""
    pair = Pair(slots=8)
    for _ in range(3):
        carry(pair)
        assert not readable(pair.writer)
    carry(pair)
    assert readable(pair.writer)
    used = set()
    for _ in range(40):
        carry(pair)
        taken = pair.writer.slot()
        assert taken is not None
        used.add(taken[0])
    assert len(used) == 4
    assert len(slots_of(pair.writer)[1]) <= 4


def test_a_slot_with_more_than_one_packet_comes_back_at_once_with_those_kept() -> None:
    pair = Pair(slots=8)
    carry(pair)
    carry(pair)
    carry(pair, packets=2)
    assert readable(pair.writer)
    assert pair.writer.slot() is not None
    assert not slots_of(pair.writer)[1]
    for _ in range(20):  # and the slot that is used next is the one that is still in the cache
        before = pair.writer.slot()
        carry(pair, packets=2)
        assert pair.writer.slot() == before


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 9))
def test_the_writer_never_waits_for_slots_that_the_reader_merely_keeps(
    lone: list[bool], slots: int
) -> None:
    """Whatever was sent before: once all is read and released, a slot is to be had."""
    pair = Pair(slots)
    for one in lone:
        if pair.writer.slot() is None:
            while (batch := pair.reader.receive()) is not None:
                pair.reader.release(batch)
            assert pair.writer.slot() is not None
        pair.writer.send([Run(1, 0, 1 if one else 2, 60, 60, 0)])
    for end in (pair.ends.reader, pair.ends.writer):
        end.close()
    os.close(pair.ends.memory)


def test_a_token_gives_no_slot_back_twice() -> None:
    pair = Pair()
    pair.send(b"the last of three slots, number 2")
    pair.ends.reader.send(b"\2\2")
    with pytest.raises(ValueError, match="not out"):
        pair.writer.slot()


def test_waiting_for_a_slot_pushes_back() -> None:
    pair = Pair()
    for _ in range(3):
        pair.send(b"x")
    child = os.fork()
    if child == 0:
        batch = pair.reader.receive()
        if batch is not None:
            pair.reader.release(batch)
        os._exit(0)
    assert pair.writer.wait_slot()[0] in range(3)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("token", [0, 3, 255])
def test_a_slot_that_is_not_out_can_not_be_given_back(token: int) -> None:
    pair = Pair()
    pair.send(b"the last of three slots, number 2")
    pair.ends.reader.send(bytes((token,)))
    with pytest.raises(ValueError, match="not out"):
        pair.writer.slot()


@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=12))
def test_no_reader_can_make_the_writer_hold_a_slot_twice(steps: list[int | None]) -> None:
    """The reader gives back what it likes between the writer's batches (``None``)."""
    pair = Pair()
    writer = pair.writer
    for step in steps:
        if step is not None:
            pair.ends.reader.send(bytes((step,)))
            continue
        try:
            taken = writer.slot()
        except ValueError:
            break
        current = [taken[0]] if taken else []
        free, out = slots_of(writer)
        assert sorted([*current, *free, *out]) == [0, 1, 2]
        if taken:
            writer.send([])
    for end in (pair.ends.reader, pair.ends.writer):
        end.close()
    os.close(pair.ends.memory)


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        (b"\3", "does not exist"),
        (b"\xff" + encode_runs([run_of(b"x")]), "does not exist"),
        (b"\0" + b"odd", "odd length"),
        (b"\0" + encode_runs([Run(0, 0, 1, 100, 100, SLOT - 99)]), "outside of its slot"),
        (b"\0" + encode_runs([Run(0, 0, 60, 100, 100, 0)]), "outside of its slot"),
        (b"\0" + encode_runs([run_of(b"x", 100), run_of(b"x")]), "outside of its slot"),
        (
            b"\0" + encode_runs([run_of(b"xx"), run_of(b"x", 1)]),
            "outside of its slot",
        ),
        (
            b"\0" + encode_runs([run_of(b"x", at) for at in range(MAX_RUNS)]) + b"x",
            None,
        ),
    ],
)
def test_a_hostile_token_stops_the_reader(token: bytes, complaint: str | None) -> None:
    pair = Pair()
    pair.ends.writer.send(token)
    if complaint is None:
        batch = pair.reader.receive()
        assert batch is not None
        assert len(batch.runs) == MAX_RUNS, "cut to what a reader is ready for"
        return
    with pytest.raises(ValueError, match=complaint):
        pair.reader.receive()


def test_each_end_notices_that_the_other_died() -> None:
    pair = Pair()
    pair.send(b"last words")
    pair.ends.writer.close()
    batch = pair.reader.receive()
    assert batch is not None
    with pytest.raises(LinkClosed, match="writer"):
        pair.reader.release(batch)
    with pytest.raises(LinkClosed, match="writer"):
        pair.reader.receive()


@pytest.mark.parametrize("unread", [True, False])
def test_the_writer_notices_that_the_reader_died(unread: bool) -> None:
    pair = Pair()
    for _ in range(3):
        pair.send(b"x")
        if not unread:
            assert pair.reader.receive()
    pair.ends.reader.close()
    assert readable(pair.writer)
    with pytest.raises(LinkClosed, match="reader"):
        pair.writer.slot()
    other = Pair()
    other.writer.slot()
    other.ends.reader.close()
    with pytest.raises(LinkClosed, match="reader"):
        other.writer.send([])


def test_the_reader_can_not_write() -> None:
    pair = Pair()
    pair.send(b"x")
    batch = pair.reader.receive()
    assert batch is not None
    assert batch.memory.readonly
    with pytest.raises(TypeError):
        batch.memory[0] = 1


def test_all_slots_may_carry_the_longest_token() -> None:
    """More than a socket holds: the writer waits for its reader instead of failing."""
    pair = Pair(slots=64)
    runs = [run_of(b"x", at) for at in range(MAX_RUNS)]
    pair.ends.writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)

    def read() -> bool:
        received = 0
        time.sleep(0.05)
        while received < 64:
            select.select([pair.reader], [], [])
            batch = pair.reader.receive()
            received += batch is not None and batch.runs == runs
        return True

    def write() -> None:
        for _ in range(64):
            pair.writer.wait_slot()
            pair.writer.send(runs)

    assert in_child(pair.ends, read, write)


def in_child(ends: LaneEnds, read: Callable[[], bool], write: Callable[[], None]) -> bool:
    """Read in a child process and write here; whether the child is content."""
    child = os.fork()
    if child == 0:
        try:
            ends.writer.close()
            os._exit(0 if read() else 1)
        finally:
            os._exit(2)
    ends.reader.close()
    write()
    return os.waitpid(child, 0)[1] == 0


BATCHES = 10_000


def test_ten_thousand_batches_between_two_processes() -> None:
    ends = make_lane("test", 4, SLOT)
    source = random.Random(7)
    blocks = [source.randbytes(source.randrange(1, 1400)) for _ in range(97)]

    def read() -> bool:
        reader = lane_reader(ends)
        crc = received = 0
        while received < BATCHES:
            select.select([reader], [], [])
            while (batch := reader.receive()) is not None:
                for run in batch.runs:
                    crc = zlib.crc32(batch.memory[run.offset : run.end], crc)
                reader.release(batch)
                received += 1
        return crc == expected

    def write() -> None:
        writer = lane_writer(ends)
        for number in range(BATCHES):
            memory = writer.wait_slot()[1]
            runs, at = [], 0
            for block in of(number):
                memory[at : at + len(block)] = block
                runs.append(Run(0, 0, 1, len(block), len(block), at))
                at += len(block)
            writer.send(runs)

    def of(number: int) -> list[bytes]:
        return [blocks[(number + i) % 97] for i in range(1 + number % 2)]

    expected = 0
    for number in range(BATCHES):
        for block in of(number):
            expected = zlib.crc32(block, expected)
    assert in_child(ends, read, write)
