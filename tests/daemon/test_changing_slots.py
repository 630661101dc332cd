"""A slot that its writer changes while the reader is at work on it.

The writer here is another process, on another processor: it scribbles into the slots of a lane
without a pause, while a real duty takes batch after batch from it.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface

import pytest

from chancel.crypto.system import SystemSuite
from chancel.daemon.duties.bless import Bless
from chancel.daemon.duties.confess import Confess
from chancel.daemon.duties.heaven_tx import HeavenTx
from chancel.daemon.duties.purgatory_tx import PurgatoryTx
from chancel.daemon.lane import LaneWriter
from chancel.daemon.run import pack_address
from chancel.daemon.settings import TunnelSettings
from chancel.errors import RemoteProtocolError
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.protocol.opening import Opener
from chancel.protocol.traffic import Sealer
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_INNER
from chancel.wire.types import NO_FLOCKS, Address, Salt, SessionKey, Spi
from tests.daemon.benches import Bench, put, taken
from tests.daemon.naive import TAIL, Flow

SUITE = SystemSuite()
KEY = Spi(7), Salt(b"salt"), SessionKey(bytes(range(32)))
PEER = Address("127.0.0.1", 0)
BATCHES, PACKETS = 150, 30
PAYLOAD = 700
ALLOWED = "10.77.0.2"
REFUSED = IPv4Address("192.0.2.66").packed

SETTINGS = TunnelSettings(
    "t0", IPv4Interface("10.77.0.1/30"), (), 1400, False, PEER, NO_FLOCKS, 0, "key"
)

EXPECTED = {
    Drop.BAD_TAG,
    Drop.UNKNOWN_SPI,
    Drop.ZERO_SPI,
    Drop.SEQUENCE_MISMATCH,
    Drop.FLOCK_MISMATCH,
}
"""How a damaged datagram is refused."""

Scribble = Callable[[random.Random, memoryview], None]


@contextmanager
def scribbling(writer: LaneWriter, scribble: Scribble) -> Iterator[None]:
    """Another process that has the writer's mapping, and writes where it likes."""
    pid = os.fork()
    if pid == 0:
        rng = random.Random(1)
        try:
            while True:
                for view in writer.views:
                    scribble(rng, view.memory)
        finally:
            os._exit(1)
    try:
        yield
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it scribbled all the time"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def anywhere(rng: random.Random, memory: memoryview) -> None:
    at = rng.randrange(PACKETS * (PAYLOAD + 50))
    memory[at] = rng.randrange(256)


def packet(number: int) -> bytes:
    return Flow(protocol=17, source=ALLOWED).packet(bytes((number,)) * PAYLOAD)


@pytest.mark.usefixtures("twin")
def test_bless_seals_something_under_each_number_once(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("bless")
    writer, reader = bench.writer("bless"), bench.reader("purgatory")
    duty = Bless(bench.process)
    duty.add(0, SETTINGS, [])
    duty._tunnels[0].sealer.execute(InstallSendKey(*KEY), 0.0)
    duty._tunnels[0].sealer._key.installed_at = time.monotonic()  # type: ignore[union-attr]
    numbers: list[int] = []
    with scribbling(writer, anywhere):
        for _ in range(BATCHES):
            put(writer, [packet(n) + bytes(TAIL) for n in range(PACKETS)])
            duty._seal()
            sealed = taken(reader)
            assert {len(each) for each in sealed} == {len(packet(0)) + 50}
            assert {each[:4] for each in sealed} == {bytes((0, 0, 0, 7))}
            numbers += [int.from_bytes(each[8:16], "big") for each in sealed]
    assert numbers == list(range(1, BATCHES * PACKETS + 1))


@pytest.mark.usefixtures("twin")
def test_confess_lets_nothing_out_that_was_not_sealed(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("confess")
    writer, reader = bench.writer("confess"), bench.reader("heaven")
    duty = Confess(bench.process)
    duty.add(0, SETTINGS, [])
    duty._tunnels[0].opener.execute(InstallReceiveKey(*KEY), time.monotonic())
    sealer = Sealer(NO_FLOCKS, SUITE)
    sealer.execute(InstallSendKey(*KEY), 0.0)
    true = {packet(n) + bytes(TAIL) for n in range(PACKETS)}
    passed = 0
    with scribbling(writer, anywhere):
        for _ in range(BATCHES):
            sealed = [sealer.seal(packet(n), NEXT_INNER, 0.0) or b"" for n in range(PACKETS)]
            put(writer, sealed, pack_address(PEER))
            duty._open()
            opened = taken(reader)
            assert set(opened) <= true
            passed += len(opened)
    drops = duty._tunnels[0].opener.drops
    assert passed + sum(drops.values()) == BATCHES * PACKETS
    assert passed
    assert set(drops) <= EXPECTED


def test_heaven_tx_writes_nothing_that_its_filter_did_not_see(
    bench_of: Callable[[str], Bench],
) -> None:
    def swap_address(_rng: random.Random, memory: memoryview) -> None:
        size = len(packet(0)) + TAIL
        allowed = IPv4Address(ALLOWED).packed
        for source in (REFUSED, allowed):
            for at in range(0, PACKETS * size, size):
                memory[at + 12 : at + 16] = source

    bench = bench_of("heaven-tx")
    writer = bench.writer("heaven")
    device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel.setblocking(False)
    duty = HeavenTx(bench.process)
    duty.add(0, SETTINGS, [device.detach()])
    written = 0
    with scribbling(writer, swap_address), kernel:
        for _ in range(BATCHES):
            put(writer, [packet(n) + bytes(TAIL) for n in range(PACKETS)])
            duty._write()
            while select.select([kernel], [], [], 0)[0]:
                frame = kernel.recv(70_000)
                assert frame[10 + 12 : 10 + 16] != REFUSED
                written += 1
    drops = duty._tunnels[0].writer.drops
    assert written
    assert set(drops) <= {Drop.INNER_ADDRESS}
    assert duty._tunnels[0].writer.packets + sum(drops.values()) == BATCHES * PACKETS


def test_purgatory_tx_sends_as_many_and_as_large_as_it_was_told(
    bench_of: Callable[[str], Bench],
) -> None:
    bench = bench_of("purgatory-tx")
    writer = bench.writer("purgatory")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        receiving.bind(PEER)
        receiving.settimeout(5.0)
        duty = PurgatoryTx(bench.process)
        duty.add(0, SETTINGS, [sending.detach()])
        duty._tunnels[0].peer = Address(*receiving.getsockname())
        with scribbling(writer, anywhere):
            for _ in range(BATCHES):
                put(writer, [packet(n) for n in range(PACKETS)])
                duty._send(bench.process.readers["purgatory"])
                for _ in range(PACKETS):
                    assert len(receiving.recv(2048)) == len(packet(0))
    assert duty._tunnels[0].sender.datagrams == BATCHES * PACKETS


@pytest.mark.usefixtures("twin")
def test_what_bless_made_of_it_opens_or_is_refused(bench_of: Callable[[str], Bench]) -> None:
    """Whatever comes of a packet that changes while it is sealed, its receiver can live with it."""
    bench = bench_of("bless")
    writer, reader = bench.writer("bless"), bench.reader("purgatory")
    duty = Bless(bench.process)
    duty.add(0, SETTINGS, [])
    duty._tunnels[0].sealer.execute(InstallSendKey(*KEY), time.monotonic())
    opener = Opener(NO_FLOCKS, SUITE)
    opener.execute(InstallReceiveKey(*KEY), 0.0)
    reasons = set()
    with scribbling(writer, anywhere):
        for _ in range(BATCHES // 3):
            put(writer, [packet(n) + bytes(TAIL) for n in range(PACKETS)])
            duty._seal()
            for sealed in taken(reader):
                try:
                    opener.open_untrusted(sealed, 0.0)
                except RemoteProtocolError as error:
                    reasons.add(error.reason)
    assert reasons <= {Drop.BAD_TAG, Drop.RESERVED_NOT_ZERO, Drop.UNKNOWN_NEXT}
