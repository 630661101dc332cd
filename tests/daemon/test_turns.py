"""Turns of bless and confess, in Python and compiled: they carry what is ordinary as the duty
would, and leave it all else."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.duties.bless import Bless
from chancel.daemon.duties.confess import Confess
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.loop import PAUSE_S
from chancel.daemon.run import LONE
from chancel.errors import LinkClosed
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey
from chancel.protocol.traffic import Sealer
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import NO_FLOCKS
from tests.daemon.standing import (
    ELSEWHERE,
    KEY,
    MTU,
    NEXT_KEY,
    PEER,
    PLAIN,
    SUITE,
    TURNS,
    WAYS,
    Part,
    Stand,
    alike,
    all_of,
    parts_of,
    put_parts,
    shapes,
    standing,
)

# bless


@pytest.fixture
def blessing(twin: str) -> Iterator[Stand]:
    """Bless at work by turns: for a tunnel with a key, and for one without."""
    with standing("bless", Bless, TURNS[twin]) as stand:
        for tunnel in (0, 1):
            stand.add(tunnel, PLAIN, [])
        stand.bench.keys("send-keys").send(0, InstallSendKey(*KEY))
        stand.work()
        stand.handed = 0
        yield stand


@alike
@given(st.lists(st.one_of(shapes, st.sampled_from(["key", "erase"])), max_size=8))
def test_sealing_is_the_same(twin: str, steps: list[Any]) -> None:
    """Of known and unknown tunnels, with keys and without, marked and not, under two keys."""
    found = []
    for way in WAYS[twin]:
        with standing("bless", Bless, way) as stand:
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
    assert all(each == found[0] for each in found)


def test_what_is_ordinary_is_sealed_in_a_turn_and_nothing_else(twin: str, blessing: Stand) -> None:
    """In Python a lone packet is, or one run; compiled a batch of any size."""
    writer, reader = blessing.bench.writer("bless"), blessing.bench.reader("purgatory")
    expected = [
        ([Part([bytes(86)])], {"python": 0, "compiled": 0}),
        ([Part([bytes(2)])], {"python": 0, "compiled": 0}),
        ([Part([bytes(86)] * 3)], {"python": 0, "compiled": 0}),
        ([Part([bytes(86)] * 40)], {"python": 0, "compiled": 0}),
        ([Part([bytes(86)]), Part([bytes(90)])], {"python": 1, "compiled": 0}),
        ([Part([bytes(30)], NEXT_GRACE)], {"python": 2, "compiled": 1}),
        ([Part([bytes(30)] * 7, NEXT_GRACE)], {"python": 3, "compiled": 2}),
        ([Part([bytes(30)], NEXT_INNER, 0, PEER)], {"python": 4, "compiled": 3}),
        ([Part([bytes(30)], NEXT_INNER, 5)], {"python": 5, "compiled": 4}),
        ([Part([bytes(86)] * 7 + [bytes(20)])], {"python": 5, "compiled": 4}),
        ([Part([bytes(86)])], {"python": 5, "compiled": 4}),
    ]
    batches: list[list[bytes]] = []
    for parts, handed in expected:
        put_parts(writer, parts)
        blessing.work()
        assert blessing.handed == handed[twin], parts
        batches += [packets for _, packets in all_of(reader)]
    assert [len(packets) for packets in batches] == [1, 1, 3, 40, 2, 1, 7, 1, 8, 1]
    sealed = list(itertools.chain(*batches))
    assert _numbers(sealed) == list(range(1, 66))
    record, _ = blessing.duty._tunnels[0].snapshot()
    assert record.packets == 65
    assert record.octets == sum(map(len, sealed))
    assert record.last_at > 0


def _numbers(sealed: list[bytes]) -> list[int]:
    return [int.from_bytes(packet[8:16], "big") for packet in sealed]


def test_no_number_of_a_key_is_used_twice_by_whoever_takes_them(blessing: Stand) -> None:
    """The duty and turns in any order, and a key that comes to its limits between the two."""
    writer, reader = blessing.bench.writer("bless"), blessing.bench.reader("purgatory")
    order = (NEXT_INNER, NEXT_GRACE, NEXT_GRACE, NEXT_INNER, NEXT_INNER, NEXT_GRACE)
    sealed: list[bytes] = []
    for next_, count in itertools.product(order, (1, 2)):
        put_parts(writer, [Part([bytes(30)] * count, next_)])
        blessing.work()
        sealed += [packet for _, packets in all_of(reader) for packet in packets]
    assert _numbers(sealed) == list(range(1, 19))
    sealer = blessing.duty._tunnels[0].sealer
    most, _ = sealer.limits
    sealer.key.next_number = most - 1
    for _ in range(2):
        put_parts(writer, [Part([bytes(30)])])
        blessing.work()
    assert [len(packets) for _, packets in all_of(reader)] == [1]
    assert sealer.key is None


@pytest.mark.parametrize("late_s", [0, 1])
def test_a_key_at_its_limits_is_left_to_the_duty_which_throws_it_away(
    late_s: int, blessing: Stand
) -> None:
    entry, writer = blessing.duty._tunnels[1], blessing.bench.writer("bless")
    most, age_s = entry.sealer.limits
    entry.sealer.execute(InstallSendKey(*KEY), time.monotonic() - late_s * (age_s + 1))
    entry.sealer.key.next_number = most - 1 + late_s
    blessing.duty._lend(1, entry)
    for _ in range(2):
        put_parts(writer, [Part([bytes(30)], tunnel=1)])
        blessing.work()
    assert len(all_of(blessing.bench.reader("purgatory"))) == 1 - late_s
    assert blessing.handed == 1 + late_s
    assert entry.sealer.key is None
    reasons = [Drop.KEY_EXPIRED, Drop.NO_KEY]
    assert entry.sealer.drops == dict.fromkeys(reasons[: 1 + late_s], 1)


def test_a_key_that_is_only_too_old_is_left_to_the_duty(blessing: Stand) -> None:
    entry = blessing.duty._tunnels[1]
    _, age_s = entry.sealer.limits
    entry.sealer.execute(InstallSendKey(*KEY), time.monotonic() - age_s - 1)
    blessing.duty._lend(1, entry)
    put_parts(blessing.bench.writer("bless"), [Part([bytes(30)], tunnel=1)])
    blessing.work()
    assert (blessing.handed, entry.sealer.key) == (1, None)


def test_a_tunnel_that_was_removed_is_carried_no_more(blessing: Stand) -> None:
    blessing.duty.remove(0)
    put_parts(blessing.bench.writer("bless"), [Part([bytes(30)])])
    blessing.work()
    assert blessing.handed == 1
    assert all_of(blessing.bench.reader("purgatory")) == []


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
def test_opening_is_the_same(twin: str, batches: list[Any]) -> None:
    """Of what is in order, and of what is not: repeated, late, forged, under another key."""
    found = []
    for way in WAYS[twin]:
        with standing("confess", Confess, way) as stand:
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
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("count", [1, 2, 7], ids=["one", "two", "many"])
def test_what_is_no_news_is_opened_in_a_turn(twin: str, count: int) -> None:
    with standing("confess", Confess, TURNS[twin]) as stand:
        stand.add(0, PLAIN, [])
        stand.bench.keys("receive-keys").send(0, InstallReceiveKey(*KEY))
        stand.work()
        sender, entry = Sender(), stand.duty._tunnels[0]
        writer, reader = stand.bench.writer("confess"), stand.bench.reader("heaven")
        expected = [
            ("the first under a key", "inner", PEER, False),
            ("from the same address", "inner", PEER, True),
            ("a grace", "grace", PEER, False),
            ("once more", "inner", PEER, True),
            ("a forged one", "forged", PEER, False),
            ("from another", "inner", ELSEWHERE, False),
            ("and from there again", "inner", ELSEWHERE, True),
        ]
        opened = 0
        for what, kind, source, is_no_news in expected:
            handed = stand.handed
            put_parts(writer, [sender.part(kind, count, 60, source)])
            stand.work()
            assert stand.handed - handed == (not is_no_news), what
            assert entry.peer == source
            opened += sum(len(packets) for _, packets in all_of(reader))
        assert opened == 7 * count - 1
        record, drops = entry.snapshot()
        assert record.packets == 7 * count - 1
        assert record.octets == 60 * (5 * count - 1)  # the first opens the account; no graces
        assert drops == {Drop.BAD_TAG: 1}
        assert record.alive_at == record.peer_at > 0


# the loop, and the lane


def test_several_sources_at_once_are_for_the_duty(blessing: Stand) -> None:
    blessing.bench.keys("send-keys").send(0, InstallSendKey(*NEXT_KEY))
    put_parts(blessing.bench.writer("bless"), [Part([bytes(30)])])
    blessing.work()
    assert blessing.handed == 2
    ((_, (packet,)),) = all_of(blessing.bench.reader("purgatory"))
    assert int.from_bytes(packet[:4], "big") == NEXT_KEY[0]


def test_a_full_lane_is_left_to_the_duty_with_the_batch_as_it_came(
    twin: str, blessing: Stand
) -> None:
    """The duty takes it as soon as there is room; another compiled turn may do so before."""
    writer, lane = blessing.bench.writer("bless"), blessing.bench._lanes["purgatory"]
    loop, source = blessing.bench.process.loop, blessing.bench.process.readers["bless"]
    assert loop.turns is not None
    for _ in itertools.repeat(None, lane.slots):
        put_parts(writer, [Part([bytes(30)])])
        assert loop.turns(loop._epoll.fileno(), 0.0)[0] == []
    put_parts(writer, [Part([bytes(30)])])
    ((fd, _),), wakeups = loop.turns(loop._epoll.fileno(), 0.0)
    assert (fd, wakeups) == (source.fileno(), 1)
    reader = blessing.bench.reader("purgatory")
    assert len(all_of(reader)) == lane.slots
    if twin == "compiled":
        blessing.work()
    else:
        blessing.duty._seal()
    assert len(all_of(reader)) == 1
    assert blessing.handed == 0


def test_a_turn_ends_when_its_owner_is_to_write_his_books_and_not_before(blessing: Stand) -> None:
    turns, epoll = blessing.duty._turns, blessing.bench.process.loop._epoll.fileno()
    put_parts(blessing.bench.writer("bless"), [Part([bytes(30)])])
    now = time.monotonic()
    ready, wakeups = turns.run(epoll, now + 60, (now + 0.05, 0.0))
    assert (ready, wakeups) == ([], 2)
    assert time.monotonic() >= now + 0.05
    ((tunnel, octets),) = turns.carried()
    assert (tunnel, octets) == (0, 30 + 48)
    assert turns.carried() == []


def test_books_of_a_packet_that_comes_after_a_long_pause_are_written_at_once(
    blessing: Stand,
) -> None:
    """An idle tunnel doesn't wake up twice for a heartbeat."""
    turns, epoll = blessing.duty._turns, blessing.bench.process.loop._epoll.fileno()
    put_parts(blessing.bench.writer("bless"), [Part([bytes(30)])])
    now = time.monotonic()
    assert turns.run(epoll, now + 60, (now - PAUSE_S, 30.0)) == ([], 1)


def test_books_rest_for_a_while_after_a_packet_that_comes_after_a_short_pause(
    blessing: Stand,
) -> None:
    """They were due before; what comes meanwhile doesn't put them off."""
    turns, epoll = blessing.duty._turns, blessing.bench.process.loop._epoll.fileno()
    writer = blessing.bench.writer("bless")
    put_parts(writer, [Part([bytes(30)])])
    now = time.monotonic()
    later = os.fork()  # no thread: compiled turns keep the interpreter's lock while they wait
    if later == 0:
        time.sleep(0.1)
        put_parts(writer, [Part([bytes(30)])])
        os._exit(0)
    ready, wakeups = turns.run(epoll, now + 60, (now - PAUSE_S / 2, 0.2))
    lasted = time.monotonic() - now
    os.waitpid(later, 0)
    assert (ready, wakeups) == ([], 3)
    assert 0.2 <= lasted < 0.3
    assert turns.carried() == [(0, 2 * (30 + 48))]


@pytest.mark.parametrize(
    "lie",
    [
        LONE.pack(200, 0, 0, 1, 30, 30, 0, b""),
        LONE.pack(0, 0, 0, 1, 30, 30, 2**32 - 30, b""),
        LONE.pack(0, 0, 0, 1, 30, 31, 0, b""),
        LONE.pack(0, 0, 0, 1, 30, 0, 0, b""),
        LONE.pack(0, 0, 0, 1, 3000, 3000, 0, b""),
        bytes(37),
    ],
    ids=["slot", "end", "last", "empty", "size", "none"],
)
def test_a_lie_ends_a_turn_as_it_ends_the_duty(lie: bytes, blessing: Stand) -> None:
    lane = blessing.bench._lanes["bless"]
    lane.writer.send(lie)
    with pytest.raises(NeighbourLied):
        blessing.work()
    lane.writer.close()
    with pytest.raises((NeighbourLied, LinkClosed)):
        blessing.work()


def test_a_neighbour_that_is_gone_ends_a_turn(blessing: Stand) -> None:
    blessing.bench._lanes["bless"].writer.close()
    with pytest.raises(LinkClosed):
        blessing.work()
