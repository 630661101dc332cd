"""Compiled turns: they carry what is ordinary as the duty would, and leave it all else."""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.duties.bless import Bless
from chancel.daemon.duties.confess import Confess
from chancel.daemon.hot import twins
from chancel.daemon.lane import LaneWriter
from chancel.daemon.lies import NeighbourLied
from chancel.errors import LinkClosed
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey
from chancel.protocol.traffic import Sealer
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import NO_FLOCKS
from tests.daemon.standing import (
    ELSEWHERE,
    KEY,
    MIXTURES,
    MTU,
    NEXT_KEY,
    PEER,
    PLAIN,
    SUITE,
    Part,
    Stand,
    alike,
    all_of,
    parts_of,
    put_parts,
    shapes,
    standing,
)

pytestmark = pytest.mark.skipif(
    twins.module() is None,
    reason="needs cargo: `make setup` builds chancel_accel where it is found",
)


def blessing(stack: ExitStack, used: tuple[str, ...] = twins.NAMES) -> tuple[Stand, LaneWriter]:
    stand = stack.enter_context(standing("bless", Bless, used))
    for tunnel, there in enumerate((PLAIN, PLAIN, dataclasses.replace(PLAIN, tfc=True))):
        stand.add(tunnel, there, [])
    return stand, stand.bench.writer("bless")


@alike
@given(st.lists(st.one_of(shapes, st.sampled_from(["key", "erase"])), max_size=8))
def test_sealing_is_the_same(steps: list[Any]) -> None:
    """Of known and unknown tunnels, with keys and without, marked and not, under two keys."""
    found = []
    for used in MIXTURES:
        with ExitStack() as stack:
            stand, writer = blessing(stack, used)
            reader, keys = stand.bench.reader("purgatory"), stand.bench.keys("send-keys")
            for tunnel in (0, 2):
                keys.send(tunnel, InstallSendKey(*KEY))
                stand.work()
            out: list[object] = []
            for number, step in enumerate(steps):
                if step == "key":
                    keys.send(0, InstallSendKey(*NEXT_KEY))
                elif step == "erase":
                    keys.send(0, EraseKeys())
                else:
                    put_parts(writer, parts_of(step, number))
                stand.work()
                out += all_of(reader)
            found.append([out, *(stand.told(tunnel) for tunnel in range(3))])
    assert found[0] == found[1] == found[2]


def test_ordinary_packets_are_sealed_without_python() -> None:
    with ExitStack() as stack:
        stand, writer = blessing(stack)
        reader, keys = stand.bench.reader("purgatory"), stand.bench.keys("send-keys")
        keys.send(0, InstallSendKey(*KEY))
        stand.work()
        assert stand.handed == 1
        for count in (1, 1, 3, 40):
            put_parts(writer, [Part([bytes(86)] * count)])
            stand.work()
        assert [len(packets) for _, packets in all_of(reader)] == [1, 1, 3, 40]
        assert stand.handed == 1
        put_parts(writer, [Part([bytes(30)], NEXT_GRACE)])
        stand.work()
        assert stand.handed == 2
        record, _ = stand.duty._tunnels[0].snapshot()
        assert record.packets == 46


def test_no_number_of_a_key_is_used_twice_by_whoever_takes_them() -> None:
    """Python and turns in any order, and a key that comes to its limits between the two."""
    with ExitStack() as stack:
        stand, writer = blessing(stack)
        reader, keys = stand.bench.reader("purgatory"), stand.bench.keys("send-keys")
        keys.send(0, InstallSendKey(*KEY))
        stand.work()
        for next_ in (NEXT_INNER, NEXT_GRACE, NEXT_GRACE, NEXT_INNER, NEXT_INNER, NEXT_GRACE):
            put_parts(writer, [Part([bytes(30)] * 2, next_)])
            stand.work()
        sealed = [packet for _, packets in all_of(reader) for packet in packets]
        numbers = [int.from_bytes(packet[8:16], "big") for packet in sealed]
        assert numbers == list(range(1, 13))
        sealer = stand.duty._tunnels[0].sealer
        most, _ = sealer.limits
        sealer.key.next_number = most - 1
        for _ in range(2):
            put_parts(writer, [Part([bytes(30)])])
            stand.work()
        assert [len(packets) for _, packets in all_of(reader)] == [1]
        assert sealer.key is None


def test_a_key_that_is_too_old_is_left_to_python_which_throws_it_away() -> None:
    with ExitStack() as stack:
        stand, writer = blessing(stack)
        sealer = stand.duty._tunnels[0].sealer
        _, age_s = sealer.limits
        sealer.execute(InstallSendKey(*KEY), time.monotonic() - age_s - 1)
        stand.duty._lend(0, stand.duty._tunnels[0])
        put_parts(writer, [Part([bytes(30)])])
        stand.work()
        assert (stand.handed, sealer.key) == (1, None)


def test_a_tunnel_that_was_removed_is_carried_no_more() -> None:
    with ExitStack() as stack:
        stand, writer = blessing(stack)
        stand.bench.keys("send-keys").send(0, InstallSendKey(*KEY))
        stand.work()
        stand.duty.remove(0)
        put_parts(writer, [Part([bytes(30)])])
        stand.work()
        assert stand.handed == 2
        assert all_of(stand.bench.reader("purgatory")) == []


def test_a_lie_ends_a_turn_as_it_ends_the_duty() -> None:
    with ExitStack() as stack:
        stand, _ = blessing(stack)
        lane = stand.bench._lanes["bless"]
        lane.writer.send(b"\0" + bytes(36))
        with pytest.raises(NeighbourLied):
            stand.work()
        lane.writer.close()
        with pytest.raises((NeighbourLied, LinkClosed)):
            stand.work()


# confess

kinds = st.lists(
    st.tuples(
        st.sampled_from(["inner"] * 6 + ["grace", "again", "late", "forged", "next key", "short"]),
        st.sampled_from([1, 1, 1, 2, 8]),
        st.sampled_from([1, 40, 64, MTU]),
        st.sampled_from([PEER] * 5 + [ELSEWHERE]),
    ),
    min_size=1,
    max_size=3,
)


class Sender:
    """The peer, who isn't always honest."""

    def __init__(self) -> None:
        self._sealers = [Sealer(NO_FLOCKS, SUITE) for _ in range(2)]
        for sealer, key in zip(self._sealers, (KEY, NEXT_KEY), strict=True):
            sealer.execute(InstallSendKey(*key), 0.0)
        self._noise = random.Random(1)

    def part(self, kind: str, count: int, size: int, source: bytes) -> Part:
        sealer = self._sealers[kind == "next key"]
        next_ = NEXT_GRACE if kind == "grace" else NEXT_INNER
        packets = [
            sealer.seal(self._noise.randbytes(size), next_, 0.0) or b"" for _ in range(count)
        ]
        if kind == "again":
            packets = [*packets[:-1], packets[0]]
        elif kind == "late":
            packets.reverse()
        elif kind == "forged":
            packets[-1] = packets[-1][:-1] + bytes((packets[-1][-1] ^ 1,))
        elif kind == "short":
            packets[-1] = packets[-1][:20]
        return Part(packets, 0, 0, source)


@alike
@given(st.lists(kinds, min_size=1, max_size=8))
def test_opening_is_the_same(batches: list[Any]) -> None:
    """Of what is in order, and of what is not: repeated, late, forged, under another key."""
    found = []
    for used in MIXTURES:
        with standing("confess", Confess, used) as stand:
            stand.add(0, PLAIN, [])
            keys, sender = stand.bench.keys("receive-keys"), Sender()
            for key in (KEY, NEXT_KEY):
                keys.send(0, InstallReceiveKey(*key))
            stand.work()
            writer, reader = stand.bench.writer("confess"), stand.bench.reader("heaven")
            out: list[object] = []
            for batch in batches:
                put_parts(writer, [sender.part(*each) for each in batch])
                stand.work()
                out += all_of(reader)
            opener = stand.duty._tunnels[0].opener
            windows = [(slot.spi, slot.packets, slot.window.bitmap) for slot in opener.slots()]
            found.append([out, stand.told(), windows])
    assert found[0] == found[1] == found[2]


def test_packets_that_are_no_news_are_opened_without_python() -> None:
    with standing("confess", Confess) as stand:
        stand.add(0, PLAIN, [])
        stand.bench.keys("receive-keys").send(0, InstallReceiveKey(*KEY))
        stand.work()
        sender, entry = Sender(), stand.duty._tunnels[0]
        writer, reader = stand.bench.writer("confess"), stand.bench.reader("heaven")
        expected = [
            ("the first under a key", PEER, 2),
            ("from the same address", PEER, 2),
            ("once more", PEER, 2),
            ("from another", ELSEWHERE, 3),
            ("and from there again", ELSEWHERE, 3),
        ]
        for what, source, handed in expected:
            put_parts(writer, [sender.part("inner", 3, 60, source)])
            stand.work()
            assert stand.handed == handed, what
            assert entry.peer == source
        assert sum(len(packets) for _, packets in all_of(reader)) == 15
        record, _ = entry.snapshot()
        assert (record.packets, record.octets) == (15, 12 * 60)  # the first opens the account
        assert record.alive_at == record.peer_at > 0


# the loop


def test_several_sources_at_once_are_for_python() -> None:
    with standing("bless", Bless) as stand:
        stand.add(0, PLAIN, [])
        keys = stand.bench.keys("send-keys")
        keys.send(0, InstallSendKey(*KEY))
        stand.work()
        keys.send(0, InstallSendKey(*NEXT_KEY))
        put_parts(stand.bench.writer("bless"), [Part([bytes(30)])])
        stand.work()
        assert stand.handed == 3
        ((_, (packet,)),) = all_of(stand.bench.reader("purgatory"))
        assert int.from_bytes(packet[:4], "big") == NEXT_KEY[0]


def test_a_full_lane_is_left_to_python_with_the_batch_as_it_came() -> None:
    with standing("bless", Bless) as stand:
        stand.add(0, PLAIN, [])
        stand.bench.keys("send-keys").send(0, InstallSendKey(*KEY))
        stand.work()
        writer, lane = stand.bench.writer("bless"), stand.bench._lanes["purgatory"]
        loop = stand.bench.process.loop
        assert loop.turns is not None
        for _ in itertools.repeat(None, lane.slots):
            put_parts(writer, [Part([bytes(30)])])
            assert loop.turns(loop._epoll.fileno(), 0.0)[0] == []
        put_parts(writer, [Part([bytes(30)])])
        ((fd, _),), wakeups = loop.turns(loop._epoll.fileno(), 0.0)
        assert (fd, wakeups) == (stand.bench.process.readers["bless"].fileno(), 1)
        reader = stand.bench.reader("purgatory")
        assert len(all_of(reader)) == lane.slots
        stand.work()
        assert len(all_of(reader)) == 1


def test_a_turn_ends_when_its_owner_is_to_write_his_books_and_not_before() -> None:
    with standing("bless", Bless) as stand:
        stand.add(0, PLAIN, [])
        stand.bench.keys("send-keys").send(0, InstallSendKey(*KEY))
        stand.work()
        turns, epoll = stand.duty._turns, stand.bench.process.loop._epoll.fileno()
        put_parts(stand.bench.writer("bless"), [Part([bytes(30)])])
        now = time.monotonic()
        ready, wakeups = turns.run(epoll, now + 60, now + 0.05)
        assert (ready, wakeups) == ([], 2)
        assert time.monotonic() >= now + 0.05
        ((tunnel, octets),) = turns.carried()
        assert (tunnel, octets) == (0, 30 + 48)
        assert turns.carried() == []
