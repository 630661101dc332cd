"""Graces to where the peer may be: the one mark that goes with packets past bless."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from ipaddress import IPv4Interface

import pytest

from chancel.daemon.board import BoardWriter
from chancel.daemon.config_types import Mode
from chancel.daemon.duties import bless, heaven_rx, purgatory_tx
from chancel.daemon.hot.filling import Filling
from chancel.daemon.hot.views import SlotView
from chancel.daemon.lane import LaneReader, LaneWriter
from chancel.daemon.link import KeyLink
from chancel.daemon.process import Process
from chancel.daemon.records import BlessRecord, HeavenTxRecord, KeeperRecord
from chancel.daemon.run import TO_CANDIDATE, Run, pack_address
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.daemon.topology import Wiring, of
from chancel.protocol.messages import InstallSendKey
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, MtuAck, MtuProbe, decode_untrusted, encode
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER, TAIL_BYTES
from chancel.wire.types import NO_FLOCKS, Address, Salt, SessionKey, Spi
from tests.daemon import wirings

TUNNEL = 3
MTU = 1300
PACKET = bytes((0x45, 0, 0, 40)) + bytes(36)
UNSAID = (b"", bytes(18))


def settings(*, tfc: bool = False) -> TunnelSettings:
    return TunnelSettings(
        instance="a",
        tunnel=IPv4Interface("10.0.0.1/24"),
        accepts=(),
        mtu=MTU,
        mtu_discovery=False,
        peer=None,
        flocks=NO_FLOCKS,
        spi_prefix=1,
        secret="",
        tfc=tfc,
        cathedral=CathedralSettings((), CathedralId(1), "", ""),
    )


class Bench:
    """One process's ends, and the others' here; the ends of lanes are mapped before its own."""

    def __init__(self, name: str, written: tuple[str, ...], read: tuple[str, ...]) -> None:
        self._wiring = wiring = Wiring.make(of(Mode.TUNNEL))
        self.writers = {lane: LaneWriter(wiring.lanes[lane]) for lane in written}
        self.readers = {lane: LaneReader(wiring.lanes[lane]) for lane in read}
        boards = [board for board, spec in of(Mode.TUNNEL).boards.items() if name in spec.readers]
        self.boards = {board: BoardWriter(wiring.boards[board]) for board in boards}
        self.process = Process(name, wiring)
        self._mapped = wiring.memories(name)

    def keys(self, link: str) -> KeyLink:
        return KeyLink(self._wiring.key_links[link][0])

    def close(self) -> None:
        wirings.close(self._wiring, self._mapped)


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for each in made:
        each.close()


def lay(writer: LaneWriter, *packets: tuple[int, bytes]) -> list[Run]:
    """Lay packets into a slot; the runs, to be sent."""
    filling = Filling()
    filling.begin(SlotView(writer.wait_slot()[1]))
    for next_, data in packets:
        filling.packet(TUNNEL, next_, memoryview(data))
    return filling.finish()


@pytest.mark.parametrize("tfc", [False, True])
def test_bless_hands_the_mark_on_and_nothing_else(benches: list[Bench], *, tfc: bool) -> None:
    bench = Bench("bless", ("bless",), ("purgatory",))
    benches.append(bench)
    duty = bless.make(bench.process)
    duty.add(TUNNEL, settings(tfc=tfc), [])
    bench.keys("send-keys").send(
        TUNNEL, InstallSendKey(Spi(7), Salt(bytes(4)), SessionKey(bytes(32)))
    )
    duty._take_keys()
    heartbeat = encode(Heartbeat())
    runs = lay(
        bench.writers["bless"],
        (NEXT_GRACE, heartbeat),
        (NEXT_INNER, PACKET),
        (NEXT_GRACE, heartbeat),
    )
    first, second, third = runs
    stranger = pack_address(Address("192.0.2.66", 66))
    bench.writers["bless"].send(
        [first._replace(source=TO_CANDIDATE), second, third._replace(source=stranger)]
    )
    duty._seal()
    sealed: list[Run] = []
    while (batch := bench.readers["purgatory"].receive()) is not None:
        sealed += batch.runs
        bench.readers["purgatory"].release(batch)
    assert [run.source == TO_CANDIDATE for run in sealed] == [True, False, False]
    assert all(run.source in (*UNSAID, TO_CANDIDATE) for run in sealed)
    assert sum(run.packets for run in sealed) == 3
    if tfc:
        assert len({run.size for run in sealed}) == 1


def test_heaven_rx_sends_what_the_keeper_wants_to_be_tried(benches: list[Bench]) -> None:
    bench = Bench("heaven-rx", (), ("bless",))
    benches.append(bench)
    duty = heaven_rx.make(bench.process)
    device, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    bench.boards["bless"].write(TUNNEL, BlessRecord(spi=7, keys=1), {})
    duty.add(TUNNEL, settings(), [device.detach()])

    def graces() -> list[tuple[bool, object]]:
        found: list[tuple[bool, object]] = []
        reader = bench.readers["bless"]
        while (batch := reader.receive()) is not None:
            for run in batch.runs:
                for i in range(run.packets):
                    at = run.offset + i * run.size
                    end = at + (run.last if i == run.packets - 1 else run.size) - TAIL_BYTES
                    grace = decode_untrusted(batch.memory[at:end])
                    found.append((run.source == TO_CANDIDATE, grace))
            reader.release(batch)
        return found

    graces()
    bench.boards["keeper"].write(TUNNEL, KeeperRecord(heartbeats=1, probes=1, probe_size=700), {})
    duty._look()
    assert graces() == [(True, Heartbeat()), (True, MtuProbe(700))]
    duty._look()
    assert graces() == []
    bench.boards["keeper"].write(TUNNEL, KeeperRecord(heartbeats=2, probes=1, probe_size=700), {})
    duty._look()
    assert graces() == [(True, Heartbeat())]
    # The peer's own probe is answered both ways, as the relay may be dead.
    trying = KeeperRecord(
        heartbeats=2,
        probes=1,
        probe_size=700,
        target=pack_address(Address("192.0.2.1", 1)),
        candidate=pack_address(Address("192.0.2.2", 2)),
    )
    bench.boards["keeper"].write(TUNNEL, trying, {})
    bench.boards["heaven-tx"].write(TUNNEL, HeavenTxRecord(probes=1, probe_size=650), {})
    duty._look()
    assert graces() == [(True, MtuAck(650)), (False, MtuAck(650))]
    direct = dataclasses.replace(trying, target=trying.candidate)
    bench.boards["keeper"].write(TUNNEL, direct, {})
    bench.boards["heaven-tx"].write(TUNNEL, HeavenTxRecord(probes=2, probe_size=650), {})
    duty._look()
    assert (False, MtuAck(650)) in graces()
    # What acknowledges such a probe says nothing of the MTU.
    bench.boards["heaven-tx"].write(TUNNEL, HeavenTxRecord(probes=2, acks=1, ack_size=700), {})
    duty._look()
    assert Drop.GRACE_SIZE not in duty._tunnels[TUNNEL].graces.drops
    other.close()
    duty.remove(TUNNEL)


class Sockets:
    """The peer, where it may be, and a cathedral."""

    def __init__(self) -> None:
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        for each in self.sockets:
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)
        self.addresses = [Address(*each.getsockname()) for each in self.sockets]

    def received(self) -> list[list[bytes]]:
        found: list[list[bytes]] = [[], [], []]
        for index, each in enumerate(self.sockets):
            try:
                while True:
                    found[index].append(each.recv(2000))
            except BlockingIOError:
                continue
        return found

    def close(self) -> None:
        for each in self.sockets:
            each.close()


def test_purgatory_tx_knows_where_each_goes(benches: list[Bench]) -> None:
    """Only the keeper names an address; what comes from bless can choose between two."""
    bench = Bench("purgatory-tx", ("purgatory", "offer"), ())
    benches.append(bench)
    there = Sockets()
    peer, candidate, cathedral = there.addresses
    duty = purgatory_tx.make(bench.process)
    outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    duty.add(TUNNEL, settings(), [outside.detach()])

    def send(lane: str, *sources: bytes) -> list[list[bytes]]:
        writer = bench.writers[lane]
        _, memory = writer.wait_slot()
        memory[: len(sources)] = bytes(range(len(sources)))
        writer.send([Run(TUNNEL, 0, 1, 1, 1, at, source) for at, source in enumerate(sources)])
        duty._send(bench.process.readers[lane])
        return there.received()

    assert send("purgatory", b"", TO_CANDIDATE) == [[], [], []]
    assert duty._tunnels[TUNNEL].sender.drops == {Drop.NO_PEER: 2}
    record = KeeperRecord(target=pack_address(peer), candidate=pack_address(candidate))
    bench.boards["keeper"].write(TUNNEL, record, {})
    duty._look()
    named = pack_address(cathedral)
    assert send("purgatory", b"", TO_CANDIDATE, named) == [[b"\0", b"\2"], [b"\1"], []]
    assert send("offer", b"", named) == [[b"\0"], [], [b"\1"]]
    bench.boards["keeper"].write(TUNNEL, KeeperRecord(target=pack_address(peer)), {})
    duty._look()
    assert send("purgatory", TO_CANDIDATE) == [[], [], []]
    there.close()
    duty.remove(TUNNEL)
