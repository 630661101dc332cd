"""Turns in Python: a lone packet is carried as the duty would, and all else is left to it."""

from __future__ import annotations

import dataclasses
import itertools
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.duties.bless import Bless
from chancel.daemon.duties.confess import Confess
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.run import LONE
from chancel.errors import LinkClosed
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from tests.daemon.lone import EITHER_WAY, python
from tests.daemon.standing import (
    ELSEWHERE,
    KEY,
    NEXT_KEY,
    PEER,
    PLAIN,
    Part,
    alike,
    all_of,
    parts_of,
    put_parts,
    shapes,
)
from tests.daemon.test_turns import Sender, kinds

# bless and confess


@alike
@given(st.lists(st.one_of(shapes, st.sampled_from(["key", "erase"])), max_size=8))
def test_sealing_is_the_same(steps: list[Any]) -> None:
    """Of known and unknown tunnels, with keys and without, marked and not, under two keys."""
    found = []
    for lone in EITHER_WAY:
        with python("bless", Bless, lone) as stand:
            for tunnel, there in enumerate((PLAIN, PLAIN, dataclasses.replace(PLAIN, tfc=True))):
                stand.add(tunnel, there, [])
            writer, reader = stand.bench.writer("bless"), stand.bench.reader("purgatory")
            keys = stand.bench.keys("send-keys")
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
    assert found[0] == found[1]


@alike
@given(st.lists(kinds, min_size=1, max_size=8))
def test_opening_is_the_same(batches: list[Any]) -> None:
    """Of what is in order, and of what is not: repeated, late, forged, under another key."""
    found = []
    for lone in EITHER_WAY:
        with python("confess", Confess, lone) as stand:
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
    assert found[0] == found[1]


def test_a_lone_packet_is_sealed_in_a_turn_and_nothing_else() -> None:
    with python("bless", Bless) as stand:
        stand.add(0, PLAIN, [])
        stand.bench.keys("send-keys").send(0, InstallSendKey(*KEY))
        stand.work()
        writer, reader = stand.bench.writer("bless"), stand.bench.reader("purgatory")
        expected = [
            (Part([bytes(86)]), 1),
            (Part([bytes(2)]), 1),
            (Part([bytes(86)] * 2), 2),
            (Part([bytes(30)], NEXT_GRACE), 3),
            (Part([bytes(30)], NEXT_INNER, 0, PEER), 4),
            (Part([bytes(30)], NEXT_INNER, 5), 5),
            (Part([bytes(86)]), 5),
        ]
        for part, handed in expected:
            put_parts(writer, [part])
            stand.work()
            assert stand.handed == handed, part
        sealed = [packet for _, packets in all_of(reader) for packet in packets]
        numbers = [int.from_bytes(packet[8:16], "big") for packet in sealed]
        assert numbers == list(range(1, 8))
        record, _ = stand.duty._tunnels[0].snapshot()
        assert record.packets == 7
        assert record.octets == sum(map(len, sealed))
        assert record.last_at > 0


@pytest.mark.parametrize("late_s", [0, 1])
def test_a_key_at_its_limits_is_left_to_the_duty_which_throws_it_away(late_s: int) -> None:
    with python("bless", Bless) as stand:
        stand.add(0, PLAIN, [])
        entry, writer = stand.duty._tunnels[0], stand.bench.writer("bless")
        most, age_s = entry.sealer.limits
        entry.sealer.execute(InstallSendKey(*KEY), time.monotonic() - late_s * (age_s + 1))
        entry.sealer.key.next_number = most - 1 + late_s
        stand.duty._lend(0, entry)
        for _ in range(2):
            put_parts(writer, [Part([bytes(30)])])
            stand.work()
        assert len(all_of(stand.bench.reader("purgatory"))) == 1 - late_s
        assert entry.sealer.key is None
        reasons = [Drop.KEY_EXPIRED, Drop.NO_KEY]
        assert entry.sealer.drops == dict.fromkeys(reasons[: 1 + late_s], 1)


def test_what_is_no_news_is_opened_in_a_turn() -> None:
    with python("confess", Confess) as stand:
        stand.add(0, PLAIN, [])
        stand.bench.keys("receive-keys").send(0, InstallReceiveKey(*KEY))
        stand.work()
        sender, entry = Sender(), stand.duty._tunnels[0]
        writer, reader = stand.bench.writer("confess"), stand.bench.reader("heaven")
        expected = [
            ("the first under a key", "inner", PEER, 2),
            ("from the same address", "inner", PEER, 2),
            ("a grace", "grace", PEER, 3),
            ("once more", "inner", PEER, 3),
            ("a forged one", "forged", PEER, 4),
            ("from another", "inner", ELSEWHERE, 5),
            ("and from there again", "inner", ELSEWHERE, 5),
        ]
        for what, kind, source, handed in expected:
            put_parts(writer, [sender.part(kind, 1, 60, source)])
            stand.work()
            assert stand.handed == handed, what
            assert entry.peer == source
        assert sum(len(packets) for _, packets in all_of(reader)) == 6
        record, drops = entry.snapshot()
        assert (record.packets, record.octets) == (6, 4 * 60)  # the first opens the account
        assert drops == {Drop.BAD_TAG: 1}
        assert record.alive_at == record.peer_at > 0


# the loop, and the lane


def test_several_sources_at_once_are_for_the_duty() -> None:
    with python("bless", Bless) as stand:
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


def test_a_full_lane_is_left_to_the_duty_with_the_batch_as_it_came() -> None:
    with python("bless", Bless) as stand:
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
        stand.duty._seal()
        assert len(all_of(reader)) == 1


def test_a_turn_ends_when_its_owner_is_to_write_his_books_and_not_before() -> None:
    with python("bless", Bless) as stand:
        stand.add(0, PLAIN, [])
        stand.bench.keys("send-keys").send(0, InstallSendKey(*KEY))
        stand.work()
        turns = stand.duty._turns
        put_parts(stand.bench.writer("bless"), [Part([bytes(30)])])
        now = time.monotonic()
        ready, wakeups = turns.run(-1, now + 60, now + 0.05)
        assert (ready, wakeups) == ([], 2)
        assert time.monotonic() >= now + 0.05
        ((tunnel, octets),) = turns.carried()
        assert (tunnel, octets) == (0, 30 + 48)
        assert turns.carried() == []


@pytest.mark.parametrize(
    "fields",
    [
        (200, 0, 0, 1, 30, 30, 0),
        (0, 0, 0, 1, 30, 30, 2**32 - 30),
        (0, 0, 0, 1, 30, 31, 0),
        (0, 0, 0, 1, 30, 0, 0),
        (0, 0, 0, 1, 3000, 3000, 0),
    ],
)
def test_a_lie_ends_a_turn_as_it_ends_the_duty(fields: tuple[int, ...]) -> None:
    with python("bless", Bless) as stand:
        stand.add(0, PLAIN, [])
        stand.bench.keys("send-keys").send(0, InstallSendKey(*KEY))
        stand.work()
        lane = stand.bench._lanes["bless"]
        lane.writer.send(LONE.pack(*fields, b""))
        with pytest.raises(NeighbourLied):
            stand.work()


def test_a_neighbour_that_is_gone_ends_a_turn() -> None:
    with python("bless", Bless) as stand:
        stand.add(0, PLAIN, [])
        stand.bench._lanes["bless"].writer.close()
        with pytest.raises(LinkClosed):
            stand.work()
