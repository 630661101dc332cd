"""Batches as no process of ours makes them, though their tokens are bounded: from one taken over.

Each duty that takes batches from a lane does something with whatever runs they have, or says that
its neighbour lied; it never fails otherwise, and hands nothing on that its own neighbour would
refuse.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chancel.daemon.duties.bless import Bless
from chancel.daemon.duties.confess import Confess
from chancel.daemon.duties.heaven_tx import HeavenTx
from chancel.daemon.duties.purgatory_tx import PurgatoryTx
from chancel.daemon.lane import SLOT_BYTES, LaneReader
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.run import MAX_PACKET_BYTES, TO_CANDIDATE, Run
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.wire.traffic import NEXT_GRACE, TAIL_BYTES
from chancel.wire.types import Address
from tests.daemon.benches import Bench, taken
from tests.daemon.paths import KEY, SETTINGS
from tests.daemon.test_changing_slots import packet

pytestmark = pytest.mark.usefixtures("twin")

Take = Callable[[], None]

NOISE = random.Random(1).randbytes(SLOT_BYTES)
MOST_RUNS = 6


@st.composite
def batches(draw: st.DrawFn) -> list[Run]:
    """Runs that lie within their slot, one behind the other, and nothing else is right about."""
    runs, at = [], draw(st.sampled_from([0, 0, 1, 16, 255_000]))
    for _ in range(draw(st.integers(1, MOST_RUNS))):
        size = draw(st.sampled_from([1, 2, 3, 21, 49, 50, 51, 700, 1522, MAX_PACKET_BYTES]))
        last = min(size, draw(st.sampled_from([1, 2, size - 1 or 1, size, size])))
        packets = draw(st.sampled_from([1, 1, 2, 5, 6, 30, 4096]))
        packets = min(packets, max(1, (SLOT_BYTES - at - last) // size + 1))
        run = Run(
            draw(st.sampled_from([0, 0, 0, 1, 0xFFFF])),
            draw(st.sampled_from([0, 0xFC, 1, 255])),
            packets,
            size,
            last,
            at,
            draw(st.sampled_from([bytes(18), TO_CANDIDATE, b"\1" * 18])),
        )
        if run.end > SLOT_BYTES:
            break
        runs.append(run)
        at = run.end + draw(st.sampled_from([0, 0, 7]))
        if at >= SLOT_BYTES:
            break
    return runs or [Run(0, 0, 1, 60, 60, 0, bytes(18))]


@contextmanager
def bench(duty: str) -> Iterator[Bench]:
    """One for each batch: after a lie a process is over."""
    made = Bench(duty)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=["noise", "packets"])
def content(request: pytest.FixtureRequest) -> bytes:
    """What is in the slot."""
    if request.param == "noise":
        return NOISE
    return (packet(1) * (SLOT_BYTES // len(packet(1)) + 1))[:SLOT_BYTES]


def judge(take: Callable[[list[Run]], None]) -> None:
    """Let a duty take many such batches."""

    @settings(max_examples=50, suppress_health_check=list(HealthCheck), database=None)
    @given(batches())
    def test(runs: list[Run]) -> None:
        take(runs)

    test()


def hand_over(made: Bench, lane: str, runs: list[Run], content: bytes, take: Take) -> None:
    """Give a duty a batch; it may say that this is a lie, and nothing else."""
    writer = made.writer(lane)
    writer.wait_slot()[1][:] = content
    writer.send(runs)
    with contextlib.suppress(NeighbourLied):
        take()


def test_bless_seals_them_or_finds_the_lie(content: bytes) -> None:
    def take(runs: list[Run]) -> None:
        with bench("bless") as made:
            duty = Bless(made.process)
            duty.add(0, SETTINGS, [])
            duty._tunnels[0].sealer.execute(InstallSendKey(*KEY), time.monotonic())
            reader = made.reader("purgatory")
            hand_over(made, "bless", runs, content, duty._seal)
            assert all(each[:4] == KEY[0].to_bytes(4, "big") for each in all_of(reader))

    judge(take)


def test_confess_lets_nothing_of_them_pass(content: bytes) -> None:
    def take(runs: list[Run]) -> None:
        with bench("confess") as made:
            duty = Confess(made.process)
            duty.add(0, SETTINGS, [])
            duty._tunnels[0].opener.execute(InstallReceiveKey(*KEY), time.monotonic())
            reader = made.reader("heaven")
            hand_over(made, "confess", runs, content, duty._open)
            assert all_of(reader) == []

    judge(take)


def test_heaven_tx_writes_what_passes_its_filter(content: bytes) -> None:
    def take(runs: list[Run]) -> None:
        device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        device.setblocking(False)
        with kernel, bench("heaven-tx") as made:
            duty = HeavenTx(made.process)
            duty.add(0, SETTINGS, [device.fileno()])
            hand_over(made, "heaven", runs, content, duty._write)
            writer = duty._tunnels[0].writer
            inner = sum(run.packets for run in runs if run.tunnel == 0 and run.next != NEXT_GRACE)
            assert writer.packets + sum(writer.drops.values()) >= inner or lied(runs)
        device.close()

    judge(take)


def test_purgatory_tx_sends_them_as_they_are(content: bytes) -> None:
    def take(runs: list[Run]) -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
            bench("purgatory-tx") as made,
        ):
            receiving.bind(("127.0.0.1", 0))
            sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            duty = PurgatoryTx(made.process)
            duty.add(0, SETTINGS, [sending.detach()])
            duty._tunnels[0].peer = Address(*receiving.getsockname())
            lane = made.process.readers["purgatory"]
            hand_over(made, "purgatory", runs, content, lambda: duty._send(lane))
            sender = duty._tunnels[0].sender
            count = sum(run.packets for run in runs if run.tunnel == 0)
            assert sender.datagrams + sum(sender.drops.values()) == count

    judge(take)


def lied(runs: list[Run]) -> bool:
    """Whether heaven-tx may have ended over these: no packet is shorter than its tail."""
    return any(run.last < TAIL_BYTES for run in runs)


def all_of(reader: LaneReader) -> list[bytes]:
    """All packets that a duty handed on; what is read of them is bounded by their reader."""
    found: list[bytes] = []
    while some := taken(reader):
        found += some
    return found
