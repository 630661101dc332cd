"""Packets laid side by side, masked and unmasked, filled and cut, as the plain way does it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chancel.crypto.deterministic import SeededSuite
from chancel.crypto.system import SystemSuite
from chancel.daemon.hot.masking import RunEncapsulation, RunShroud, unwrap_runs, wrap_runs
from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.tfc import cut_run, filled
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, MAX_RUNS, Run, decode_runs, encode_runs
from chancel.errors import RemoteProtocolError
from chancel.protocol.encapsulation import COUNT_LIMIT, Encapsulation
from chancel.protocol.shroud import Shroud
from chancel.protocol.tfc import Tfc
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from tests.daemon.naive import Flow, fill, new_slot, packets_of, train

TAIL = bytes(2)
SOURCE = bytes(range(18))
SLOT_BYTES = 32 * 1024


class Sent:
    """Where batches go: what a lane would carry."""

    def __init__(self, slot_bytes: int = SLOT_BYTES, most_runs: int = MAX_RUNS) -> None:
        self.batches: list[list[Run]] = []
        self.packets: list[tuple[bytes, int]] = []
        self._slot = new_slot(slot_bytes)
        self.packing = Packing(lambda: self._slot, self._take, most_runs)
        self._most_runs = most_runs

    def _take(self, slot: SlotView, runs: list[Run]) -> None:
        assert 0 < len(runs) <= self._most_runs
        passed_on = decode_runs(encode_runs(runs), len(slot.memory))
        assert [run[:6] for run in passed_on] == [run[:6] for run in runs]
        self.batches.append(runs)
        for run in runs:
            self.packets += [(packet, run.next) for packet in packets_of(slot, [run])]
        slot.memory[:] = bytes(len(slot.memory))


def like(next_: int = 0, source: bytes = SOURCE, tunnel: int = 3) -> Run:
    return Run(tunnel, next_, 1, 1, 1, 0, source)


@given(st.lists(st.tuples(st.integers(1, 1500), st.sampled_from([0, NEXT_GRACE])), max_size=200))
def test_packets_of_any_size_keep_their_order(shapes: list[tuple[int, int]]) -> None:
    sent = Sent()
    packets = [(random.Random(i).randbytes(size), next_) for i, (size, next_) in enumerate(shapes)]
    kinds = {next_: like(next_) for next_ in (0, NEXT_GRACE)}
    for data, next_ in packets:
        sent.packing.add(kinds[next_], data)
    sent.packing.finish()
    assert sent.packets == packets


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 90), st.integers(1, 90)), max_size=9))
def test_whole_runs_too(shapes: list[tuple[int, int, int]]) -> None:
    sent, source, expected = Sent(), new_slot(), list[bytes]()
    for number, (count, size, last) in enumerate(shapes):
        sizes = [size] * (count - 1) + [min(size, last)]
        packets = [random.Random(number).randbytes(each) for each in sizes]
        sent.packing.add_run(source, fill(source, packets))
        sent.packing.add(like(), b"between")
        expected += [*packets, b"between"]
    sent.packing.finish()
    assert [data for data, _ in sent.packets] == expected


def test_equal_packets_are_one_run_and_a_shorter_one_ends_it() -> None:
    sent = Sent()
    same = like()
    for size in (100, 100, 100, 40, 40, 60):
        sent.packing.add(same, bytes(size))
    sent.packing.finish()
    (runs,) = sent.batches
    shapes = [(run.packets, run.size, run.last, run.offset) for run in runs]
    assert shapes == [(4, 100, 40, 0), (1, 40, 40, 340), (1, 60, 60, 380)]
    assert {(run.tunnel, run.source) for run in runs} == {(3, SOURCE)}


def test_what_comes_from_elsewhere_is_another_run() -> None:
    sent = Sent()
    for each in (like(), like(source=bytes(18)), like(tunnel=4), like(next_=1)):
        sent.packing.add(each, bytes(50))
    sent.packing.finish()
    assert [run.packets for run in sent.batches[0]] == [1, 1, 1, 1]


def test_runs_and_their_packets_are_bounded() -> None:
    sent = Sent(slot_bytes=256 * 1024, most_runs=10)
    same = like()
    for size in range(1, 36):
        sent.packing.add(same, bytes(size))
    for _ in range(MAX_RUN_PACKETS + 1):
        sent.packing.add(same, b"xy")
    sent.packing.finish()
    assert [len(runs) for runs in sent.batches[:3]] == [10, 10, 10]
    assert max(run.packets for runs in sent.batches for run in runs) == MAX_RUN_PACKETS


def test_a_full_slot_is_handed_on() -> None:
    sent = Sent(slot_bytes=100)
    for _ in range(5):
        sent.packing.add(like(), bytes(40))
    sent.packing.finish()
    assert [sum(run.packets for run in runs) for runs in sent.batches] == [2, 2, 1]


def test_nothing_makes_no_batch() -> None:
    sent = Sent()
    sent.packing.finish()
    assert sent.batches == []


class StreamSuite(SystemSuite):
    """Draws from one stream: at once what it would draw one by one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._stream = random.Random(seed)

    def random(self, size: int) -> bytes:
        assert size % 4 == 0, "whole words of the generator's"
        return self._stream.randbytes(size)


MARK = bytes(range(32))
shapes_of_runs = st.lists(
    st.tuples(st.integers(1, 70), st.integers(50, 1400), st.integers(0, 1400)),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("mark", [b"", MARK], ids=["to a peer", "to a cathedral"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes=shapes_of_runs, limit=st.sampled_from([0, 150, 700, 1373]))
@pytest.mark.usefixtures("twin")
def test_runs_are_wrapped_and_unwrapped_as_single_datagrams(
    mark: bytes, shapes: list[tuple[int, int, int]], limit: int
) -> None:
    mask = RunShroud(bytes(32), StreamSuite(1), lambda: mark)
    single = Shroud(bytes(32), StreamSuite(1))
    source, at = new_slot(1 << 20), 0
    datagrams, runs = list[bytes](), list[Run]()
    for count, size, shorter in shapes:
        chosen = [random.Random(i).randbytes(size) for i in range(count)]
        run = fill(source, [*chosen[:-1], chosen[-1][: max(50, size - shorter)]], at, tunnel=3)
        runs.append(run)
        at = run.end
    datagrams = packets_of(source, runs)
    wrapped = [single.wrap(datagram, limit, mark) for datagram in datagrams]

    wire, plainly = Sent(64 * 1024, 20), Sent(64 * 1024, 20)
    wrap_runs(mask, source.memory, runs, limit, wire.packing)
    wire.packing.finish()
    likes = [run for run in runs for _ in range(run.packets)]
    for like, data in zip(likes, wrapped, strict=True):
        plainly.packing.add(like, data)
    plainly.packing.finish()
    assert [data for data, _ in wire.packets] == wrapped
    assert wire.batches == plainly.batches

    back, drops = Sent(64 * 1024, 20), Counter[Drop]()
    for data in wrapped:
        received = fill(source, [data], tunnel=3)
        unwrap_runs(mask, source.memory, [received], back.packing, lambda r: drops.update([r]))
    back.packing.finish()
    assert [data for data, _ in back.packets] == datagrams
    assert not drops


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes=shapes_of_runs, cut=st.booleans())
@pytest.mark.usefixtures("twin")
def test_runs_are_encapsulated_as_single_datagrams(
    shapes: list[tuple[int, int, int]], cut: bool
) -> None:
    mask, single = (
        kind(bytes(32), StreamSuite(1), COUNT_LIMIT - 100)
        for kind in (RunEncapsulation, Encapsulation)
    )
    source, at, runs = new_slot(1 << 20), 0, list[Run]()
    for number, (count, size, shorter) in enumerate(shapes):
        packets = [random.Random(number).randbytes(size)] * count
        run = fill(source, [*packets[:-1], packets[-1][: max(50, size - shorter)]], at)
        runs.append(run)
        at = run.end
    wire, back, drops = Sent(64 * 1024, 20), Sent(64 * 1024, 20), list[Drop]()
    for run in runs:
        wrap_runs(mask, source.memory, [run], 1373, wire.packing)
    wire.packing.finish()
    wrapped = [single.wrap(datagram, 1373) for datagram in packets_of(source, runs)]
    # Another SPI is drawn in between at the count's limit; seeds and counts are what they were.
    assert [data[4:16] for data, _ in wire.packets] == [data[4:16] for data in wrapped]
    unmasked = [single.unwrap(data) for data, _ in wire.packets]
    assert unmasked == packets_of(source, runs)

    received = [data[:65] if cut and i % 3 == 0 else data for i, data in enumerate(wrapped)]
    for data in received:
        its = [fill(source, [data])]
        unwrap_runs(mask, source.memory, its, back.packing, drops.append)
    back.packing.finish()
    whole = [data for data in received if len(data) > 65]
    assert [data for data, _ in back.packets] == [single.unwrap(data) for data in whole]
    assert drops == [Drop.TOO_SHORT] * (len(received) - len(whole))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(1, 1300),
            st.integers(0, 200),
            st.sampled_from(["good", "good", "good", "damaged", "cut", "foreign"]),
            st.booleans(),
        ),
        max_size=60,
    )
)
@pytest.mark.usefixtures("twin")
def test_hostile_runs_are_unwrapped_as_single_datagrams(
    shapes: list[tuple[int, int, str, bool]],
) -> None:
    """Runs of equal size whose datagrams are good and bad, grown and not."""
    suite = StreamSuite(2)
    mask, other = RunShroud(bytes(32), suite), Shroud(b"x" * 32, suite)
    source, at, runs = new_slot(1 << 20), 0, list[Run]()
    for size, growth, kind, is_train in shapes:
        packets = []
        for i in range(5 if is_train else 1):
            limit = 49 + size + growth if i % 2 else 0
            data = (other if kind == "foreign" else mask).wrap(bytes((i,)) * size, limit)
            packets.append(data if kind != "damaged" else data[:-1] + bytes((data[-1] ^ 0xF0,)))
        least = min(map(len, packets)) // (3 if kind == "cut" else 1)
        run = fill(source, [data[:least] for data in packets], at, tunnel=3)
        runs.append(run)
        at = run.end
    expected, refused = Sent(8 * 1024, 10), list[Drop]()
    for run in runs:
        for data in packets_of(source, [run]):
            try:
                expected.packing.add(run, mask.unwrap(data))
            except RemoteProtocolError as error:
                refused.append(error.reason)
    expected.packing.finish()
    found, drops = Sent(8 * 1024, 10), list[Drop]()
    unwrap_runs(mask, source.memory, runs, found.packing, drops.append)
    found.packing.finish()
    assert found.packets == expected.packets
    assert found.batches == expected.batches
    assert Counter(drops) == Counter(refused)


@pytest.mark.usefixtures("twin")
def test_who_packs_in_our_stead_and_we_ourselves_make_the_same_runs() -> None:
    mask, single = RunShroud(bytes(32), StreamSuite(3)), Shroud(bytes(32), StreamSuite(3))
    source = new_slot()
    run = fill(source, [bytes(100)] * 4, tunnel=3)
    mixed, plainly = Sent(), Sent()
    for _ in range(3):
        wrap_runs(mask, source.memory, [run], 0, mixed.packing)
        mixed.packing.add(run, b"z" * 149)
        for _ in range(4):
            plainly.packing.add(run, single.wrap(bytes(100), 0))
        plainly.packing.add(run, b"z" * 149)
    mixed.packing.finish()
    plainly.packing.finish()
    assert mixed.packets == plainly.packets
    assert mixed.batches == plainly.batches
    assert len(mixed.batches[0]) == 1


@pytest.mark.usefixtures("twin")
def test_what_cannot_be_unwrapped_is_counted_and_the_rest_goes_on() -> None:
    mask = RunShroud(bytes(32), SeededSuite(b"any"))
    good = [mask.wrap(bytes((i,)) * 60, 0) for i in range(3)]
    bad = mask.wrap(bytes(60), 0)
    damaged = bad[:-1] + bytes((bad[-1] ^ 0xF0,))
    slot, sent, drops = new_slot(), Sent(), Counter[Drop]()
    run = fill(slot, [good[0], damaged, good[1], good[2], bytes(97)])
    unwrap_runs(mask, slot.memory, [run], sent.packing, lambda reason: drops.update([reason]))
    sent.packing.finish()
    assert [data for data, _ in sent.packets] == [bytes((i,)) * 60 for i in range(3)]
    assert drops == {Drop.BAD_MASK: 1, Drop.TOO_SHORT: 1}


MTU = 300


@given(
    st.lists(
        st.tuples(
            st.integers(1, 40),
            st.integers(0, MTU),
            st.integers(0, MTU),
            st.sampled_from([NEXT_INNER, NEXT_GRACE]),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 60),
)
def test_filled_packets_are_those_of_the_plain_way(
    shapes: list[tuple[int, int, int, int]], room: int
) -> None:
    source, target, tfc = new_slot(), new_slot(room * (MTU + 2)), Tfc(MTU)
    target.memory[:] = b"\xee" * len(target.memory)
    runs, expected, at = list[Run](), list[bytes](), 0
    for number, (count, size, last, next_) in enumerate(shapes):
        sizes = [size] * (count - 1) + [min(size, last)]
        payloads = [random.Random(number * 100 + i).randbytes(n) for i, n in enumerate(sizes)]
        run = fill(source, [each + TAIL for each in payloads], at, tunnel=3, next=next_)
        runs.append(run)
        at = run.end
        expected += [tfc.fill(each) + bytes((0, next_)) for each in payloads]
    found = list[bytes]()
    for run in filled(source, runs, target, MTU, room):
        assert (run.tunnel, run.next, run.size, run.last) == (3, 0, MTU + 2, MTU + 2)
        assert run.packets <= room
        found += packets_of(target, [run])
    assert found == expected


def cut(packets: list[bytes]) -> tuple[list[bytes], Counter[Drop], Sent]:
    slot, sent, drops = new_slot(), Sent(), Counter[Drop]()
    run = fill(slot, [packet + TAIL for packet in packets])
    cut_run(slot, run, sent.packing, drops)
    sent.packing.finish()
    return [data for data, _ in sent.packets], drops, sent


@given(st.lists(st.binary(min_size=MTU, max_size=MTU), min_size=1, max_size=20))
def test_any_payloads_are_cut_as_one_by_one(payloads: list[bytes]) -> None:
    found, drops, _ = cut(payloads)
    expected = list[bytes]()
    refused = 0
    for payload in payloads:
        try:
            expected.append(Tfc(MTU).cut_untrusted(payload) + TAIL)
        except RemoteProtocolError:
            refused += 1
    assert found == expected
    assert drops == ({Drop.TFC_LENGTH: refused} if refused else {})


def test_packets_of_both_versions_come_back() -> None:
    tfc = Tfc(MTU)
    six = Flow(version=6, source="fd00::2", destination="fd00::1")
    packets = [*train(Flow(), 3, 200, 20), *train(six, 3, 100, 240), Flow().packet(b"")]
    found, drops, _ = cut([tfc.fill(packet) for packet in packets])
    assert found == [packet + TAIL for packet in packets]
    assert not drops


def test_full_packets_stay_one_run() -> None:
    for flow, head in (
        (Flow(), 40),
        (Flow(version=6, source="fd00::2", destination="fd00::1"), 60),
    ):
        packets = train(flow, 8, MTU - head, MTU - head)
        found, _, sent = cut(packets)
        assert found == [packet + TAIL for packet in packets]
        assert [len(runs) for runs in sent.batches] == [1]


def test_as_many_sizes_as_packets_are_no_more_runs_than_a_lane_takes() -> None:
    packets = [Flow().packet(bytes(i % 200)) for i in range(600)]
    slot, sent, drops = new_slot(), Sent(256 * 1024), Counter[Drop]()
    run = fill(slot, [Tfc(MTU).fill(packet) + TAIL for packet in packets])
    cut_run(slot, run, sent.packing, drops)
    sent.packing.finish()
    assert [data for data, _ in sent.packets] == [packet + TAIL for packet in packets]
    assert len(sent.batches) > 1
