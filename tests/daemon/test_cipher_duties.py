"""bless and confess at work, over Python's functions and over their compiled twins."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from ipaddress import IPv4Interface

import pytest

from chancel.crypto.system import SystemSuite
from chancel.daemon.duties.bless import Bless
from chancel.daemon.duties.confess import Confess
from chancel.daemon.lane import SLOT_BYTES, LaneReader, LaneWriter
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.run import MAX_RUNS, TO_CANDIDATE, Run, pack_address
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.protocol.opening import Opener
from chancel.protocol.traffic import Sealer
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import NO_FLOCKS, Address, Salt, SessionKey, Spi
from tests.daemon.benches import Bench, packets_of, put, taken
from tests.daemon.naive import TAIL, Flow

pytestmark = pytest.mark.usefixtures("twin")

SUITE = SystemSuite()
KEY = Spi(7), Salt(b"salt"), SessionKey(bytes(range(32)))
OTHER_KEY = Spi(8), Salt(b"tlas"), SessionKey(bytes(range(1, 33)))
PEER, ELSEWHERE = Address("192.0.2.1", 4000), Address("192.0.2.2", 4000)
MTU = 1400

SETTINGS = TunnelSettings(
    "t0", IPv4Interface("10.77.0.1/30"), (), MTU, False, PEER, NO_FLOCKS, 0, "key"
)
FILLING = dataclasses.replace(SETTINGS, tfc=True)

BenchOf = Callable[[str], Bench]


class Blessing:
    """bless between the ends of its lanes."""

    def __init__(self, bench: Bench, settings: TunnelSettings = SETTINGS) -> None:
        self.writer, self.reader = bench.writer("bless"), bench.reader("purgatory")
        self.duty = Bless(bench.process)
        self.add(0, settings, KEY)
        self._opener = Opener(NO_FLOCKS, SUITE)
        self._opener.execute(InstallReceiveKey(*KEY), 0.0)
        self._opener.execute(InstallReceiveKey(*OTHER_KEY), 0.0)

    def add(self, tunnel: int, settings: TunnelSettings, key: tuple[Spi, Salt, SessionKey]) -> None:
        self.duty.add(tunnel, settings, [])
        self.duty._tunnels[tunnel].sealer.execute(InstallSendKey(*key), time.monotonic())

    def sealed(self) -> list[list[bytes]]:
        """Let it work once; the payloads of each batch that came of it."""
        self.duty._seal()
        return [
            [self._opener.open_untrusted(each, 0.0).payload for each in batch]
            for batch in _all_taken(self.reader)
        ]


class Confessing:
    """confess between the ends of its lanes."""

    def __init__(self, bench: Bench, settings: TunnelSettings = SETTINGS) -> None:
        self.writer, self.reader = bench.writer("confess"), bench.reader("heaven")
        self.duty = Confess(bench.process)
        self.duty.add(0, settings, [])
        self.duty._tunnels[0].opener.execute(InstallReceiveKey(*KEY), time.monotonic())
        self._sealer = Sealer(NO_FLOCKS, SUITE)
        self._sealer.execute(InstallSendKey(*KEY), 0.0)

    @property
    def opener(self) -> Opener:
        return self.duty._tunnels[0].opener

    def put(self, payloads: list[bytes], source: Address = PEER) -> None:
        put(self.writer, [self.seal(each) for each in payloads], pack_address(source))

    def seal(self, payload: bytes, next_: int = NEXT_INNER) -> bytes:
        return self._sealer.seal(payload, next_, 0.0) or b""

    def opened(self) -> list[list[bytes]]:
        """Let it work once; the payloads of each batch that came of it."""
        self.duty._open()
        return [[each[:-TAIL] for each in batch] for batch in _all_taken(self.reader)]


def _all_taken(reader: LaneReader) -> list[list[bytes]]:
    return list(iter(lambda: taken(reader), []))


def put_runs(writer: LaneWriter, runs: list[tuple[Run, bytes]]) -> None:
    """Hand a batch of several runs over; ``Run.offset`` is filled in here."""
    memory = writer.wait_slot()[1]
    at, placed = 0, []
    for run, data in runs:
        memory[at : at + len(data)] = data
        placed.append(run._replace(offset=at))
        at += len(data)
    writer.send(placed)


def run_of(packets: list[bytes], next_: int = NEXT_INNER, tunnel: int = 0) -> tuple[Run, bytes]:
    size, last = len(packets[0]), len(packets[-1])
    return Run(tunnel, next_, len(packets), size, last, 0, bytes(18)), b"".join(packets)


def plain(*payloads: bytes) -> list[bytes]:
    return [payload + bytes(TAIL) for payload in payloads]


def numbered(count: int, size: int) -> list[bytes]:
    return [i.to_bytes(2, "big") * (size // 2) for i in range(count)]


# How much.


def test_a_batch_of_as_many_runs_as_there_can_be_is_opened(bench_of: BenchOf) -> None:
    confess = Confessing(bench_of("confess"))
    runs = []
    for _ in range(MAX_RUNS // 2):
        runs.append(run_of([confess.seal(bytes(22)), confess.seal(bytes(22), NEXT_GRACE)]))
    put_runs(confess.writer, runs)
    assert [len(batch) for batch in confess.opened()] == [MAX_RUNS]
    assert not confess.opener.drops


@pytest.mark.parametrize("size", [1, 2001])
def test_what_can_not_be_sealed_ends_the_process(bench_of: BenchOf, size: int) -> None:
    bless = Blessing(bench_of("bless"))
    put(bless.writer, [bytes(size)])
    with pytest.raises(NeighbourLied):
        bless.duty._seal()


def test_a_batch_without_room_for_sealing_it_ends_the_process(bench_of: BenchOf) -> None:
    bless = Blessing(bench_of("bless"))
    put(bless.writer, [bytes(1330)] * (SLOT_BYTES // 1330))
    with pytest.raises(NeighbourLied):
        bless.duty._seal()


# Of whom, and to whom.


def test_packets_of_several_tunnels_are_sealed_under_their_own_keys(bench_of: BenchOf) -> None:
    bless = Blessing(bench_of("bless"))
    bless.add(1, dataclasses.replace(SETTINGS, instance="t1"), OTHER_KEY)
    here, there, grace = numbered(8, 60), numbered(3, 100), bytes(30)
    put_runs(
        bless.writer,
        [
            run_of(plain(*here)),
            run_of(plain(*there), tunnel=1),
            run_of(plain(grace), NEXT_GRACE, tunnel=5),
            run_of(plain(grace), NEXT_GRACE),
        ],
    )
    assert bless.sealed() == [[*here, *there, grace]]
    assert [bless.duty._tunnels[i].sealer.report().packets for i in (0, 1)] == [9, 3]
    assert bless.duty._tunnels[0].bytes == 8 * 110 + 80


def test_of_what_stands_beside_packets_only_one_mark_gets_past_bless(bench_of: BenchOf) -> None:
    bless = Blessing(bench_of("bless"))
    told = [bytes(18), TO_CANDIDATE, b"a secret of 18 B..", bytes(18)]
    put_runs(
        bless.writer,
        [
            (run._replace(source=source), data)
            for source in told
            for run, data in [run_of(plain(b"x" * 20))]
        ],
    )
    bless.duty._seal()
    batch = bless.reader.receive()
    assert batch is not None
    assert [run.source for run in batch.runs] == [bytes(18), TO_CANDIDATE, bytes(18), bytes(18)]
    assert {len(each) for each in packets_of(batch)} == {70}


def test_a_key_at_its_end_seals_nothing_of_a_batch(bench_of: BenchOf) -> None:
    bless = Blessing(bench_of("bless"))
    sealer = bless.duty._tunnels[0].sealer
    sealer.reserve(2**34 - 5, time.monotonic())
    put(bless.writer, plain(*numbered(8, 40)))
    assert bless.sealed() == []
    assert sealer.drops == {Drop.KEY_EXPIRED: 8}


def test_what_is_not_authentic_tells_nobody_where_the_peer_is(bench_of: BenchOf) -> None:
    confess = Confessing(bench_of("confess"))
    confess.put([bytes(60)])
    confess.opened()
    forged = bytearray(confess.seal(bytes(60)))
    forged[-1] ^= 1
    put(confess.writer, [bytes(forged)], pack_address(ELSEWHERE))
    assert confess.opened() == []
    assert confess.duty._tunnels[0].peer == pack_address(PEER)
    assert confess.opener.drops == {Drop.BAD_TAG: 1}


# Packets of one size.


def test_packets_are_filled_sealed_opened_and_cut(bench_of: BenchOf) -> None:
    bless = Blessing(bench_of("bless"), FILLING)
    confess = Confessing(bench_of("confess"), FILLING)
    flow, six = Flow(), Flow(version=6, source="fd00::1", destination="fd00::2")
    packets = [
        each.packet(bytes(size)) for each in (flow, six) for size in (0, 10, 10, 10, 10, 500, 1300)
    ]
    for several in (packets, packets[:1], packets[2:5]):
        put_runs(bless.writer, [run_of(plain(each)) for each in several])
        bless.duty._seal()
    sealed = [each for batch in _all_taken(bless.reader) for each in batch]
    assert {len(each) for each in sealed} == {MTU + 50}
    put(confess.writer, sealed, pack_address(PEER))
    opened = [packet for batch in confess.opened() for packet in batch]
    assert opened == [*packets, packets[0], *packets[2:5]]
    assert not confess.opener.drops
