"""Graces to where the peer may be: the one mark that goes with packets past bless."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

import pytest

from chancel.crypto.system import SystemSuite
from chancel.daemon.board import BoardWriter
from chancel.daemon.config_types import Mode
from chancel.daemon.duties import bless, heaven_rx, heaven_tx, purgatory_tx
from chancel.daemon.hot.filling import Filling
from chancel.daemon.hot.views import SlotView
from chancel.daemon.lane import LaneReader, LaneWriter
from chancel.daemon.link import KeyLink
from chancel.daemon.process import Process
from chancel.daemon.records import BlessRecord, HeavenTxRecord, KeeperRecord
from chancel.daemon.run import TO_CANDIDATE, Run, pack_address
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.daemon.topology import Wiring, of
from chancel.errors import RemoteProtocolError
from chancel.protocol.graces import discovery_sizes
from chancel.protocol.messages import (
    Command,
    InstallCathedralMask,
    InstallMask,
    InstallSendKey,
)
from chancel.protocol.shroud import Shroud
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
    bench.boards["bless"].write(TUNNEL, BlessRecord(spi=7, keys=1))
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
    bench.boards["keeper"].write(TUNNEL, KeeperRecord(heartbeats=1, probes=1, probe_size=700))
    duty._look()
    assert graces() == [(True, Heartbeat()), (True, MtuProbe(700))]
    duty._look()
    assert graces() == []
    bench.boards["keeper"].write(TUNNEL, KeeperRecord(heartbeats=2, probes=1, probe_size=700))
    duty._look()
    assert graces() == [(True, Heartbeat())]
    # The peer's own probe is answered both ways, if it spoke there: the relay may be dead.
    trying = KeeperRecord(
        heartbeats=2,
        probes=1,
        probe_size=700,
        target=pack_address(Address("192.0.2.1", 1)),
        candidate=pack_address(Address("192.0.2.2", 2)),
        candidate_spoke=1,
    )
    bench.boards["keeper"].write(TUNNEL, trying)
    bench.boards["heaven-tx"].write(TUNNEL, HeavenTxRecord(probes=1, probe_size=650))
    duty._look()
    assert graces() == [(True, MtuAck(650)), (False, MtuAck(650))]
    unheard = dataclasses.replace(trying, candidate_spoke=0)
    bench.boards["keeper"].write(TUNNEL, unheard)
    bench.boards["heaven-tx"].write(TUNNEL, HeavenTxRecord(probes=2, probe_size=650))
    duty._look()
    assert graces() == [(False, MtuAck(650))]
    other.close()
    duty.remove(TUNNEL)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"mtu_discovery": True}, 2),
        ({}, 0),
        ({"cathedral": None, "mtu_discovery": True}, 3),
    ],
    ids=["auto", "a number", "no cathedral"],
)
def test_what_acknowledges_a_probe_of_the_path_says_nothing_of_the_mtu(
    benches: list[Bench], changes: dict[str, Any], count: int
) -> None:
    """Both may come at once: each has a place of its own on the board."""
    bench = Bench("heaven-tx", ("heaven",), ())
    benches.append(bench)
    duty = heaven_tx.make(bench.process)
    device, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    there = dataclasses.replace(settings(), **changes)
    duty.add(TUNNEL, there, [device.detach()])
    sizes = *[*discovery_sizes(MTU, there.protocol)][1:3], 700
    assert 700 not in sizes[:2]
    runs = lay(bench.writers["heaven"], *((NEXT_GRACE, encode(MtuAck(size))) for size in sizes))
    bench.writers["heaven"].send(runs)
    duty._write()
    record, _drops = duty._tunnels[TUNNEL].snapshot()
    assert (record.acks, record.ack_size) == (3, 700)
    assert (record.mtu_acks, record.mtu_ack_size) == (count, (0, *sizes)[count])
    other.close()
    duty.remove(TUNNEL)


@pytest.mark.parametrize("discovery", [True, False])
def test_heaven_rx_goes_by_what_says_something_of_the_mtu(
    benches: list[Bench], *, discovery: bool
) -> None:
    bench = Bench("heaven-rx", (), ("bless",))
    benches.append(bench)
    duty = heaven_rx.make(bench.process)
    device, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    duty.add(TUNNEL, dataclasses.replace(settings(), mtu_discovery=discovery), [device.detach()])
    graces = duty._tunnels[TUNNEL].graces
    bench.boards["heaven-tx"].write(TUNNEL, HeavenTxRecord(acks=1, ack_size=700))
    duty._look()
    assert graces.mtu == MTU
    assert not graces.drops
    record = HeavenTxRecord(acks=2, ack_size=700, mtu_acks=1, mtu_ack_size=1254)
    bench.boards["heaven-tx"].write(TUNNEL, record)
    duty._look()
    assert graces.mtu == (1254 if discovery else MTU)
    assert graces.drops == ({} if discovery else {Drop.GRACE_SIZE: 1})
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
    bench.boards["keeper"].write(TUNNEL, record)
    duty._look()
    named = pack_address(cathedral)
    assert send("purgatory", b"", TO_CANDIDATE, named) == [[b"\0", b"\2"], [b"\1"], []]
    assert send("offer", b"", named) == [[b"\0"], [], [b"\1"]]
    bench.boards["keeper"].write(TUNNEL, KeeperRecord(target=pack_address(peer)))
    duty._look()
    assert send("purgatory", TO_CANDIDATE) == [[], [], []]
    there.close()
    duty.remove(TUNNEL)


def test_purgatory_tx_puts_the_mask_of_a_new_ambry_on_offers_first(benches: list[Bench]) -> None:
    """On traffic when the keeper has understood the peer since then, and so the peer has it."""
    bench = Bench("purgatory-tx", ("purgatory", "offer"), ())
    benches.append(bench)
    there = Sockets()
    peer = there.addresses[0]
    duty = purgatory_tx.make(bench.process)
    outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    cathedral = CathedralSettings((), CathedralId(1), "", "", kek="kek")
    masked = dataclasses.replace(settings(), shroud=True, cathedral=cathedral)
    duty.add(TUNNEL, masked, [outside.detach()])
    keys = {name: name.encode().ljust(32) for name in ("old", "new")}
    record = KeeperRecord(target=pack_address(peer), peer_at=time.monotonic())

    def install(*commands: Command) -> None:
        for command in commands:
            bench.keys("send-mask").send(TUNNEL, command)
        duty._take_masks()

    def look(record: KeeperRecord) -> None:
        bench.boards["keeper"].write(TUNNEL, record)
        duty._look()

    def worn(lane: str) -> list[str]:
        """Which key takes off the mask of what is sent."""
        datagram = bytes(range(100, 160))
        writer = bench.writers[lane]
        _, memory = writer.wait_slot()
        memory[: len(datagram)] = datagram
        writer.send([Run(TUNNEL, 0, 1, len(datagram), len(datagram), 0, bytes(18))])
        duty._send(bench.process.readers[lane])
        ((sent,), *_others) = there.received()
        return [name for name, key in keys.items() if taken_off(key, sent) == datagram]

    def taken_off(key: bytes, datagram: bytes) -> bytes | None:
        try:
            return Shroud(key, SystemSuite()).unwrap(datagram)
        except RemoteProtocolError:
            return None

    look(record)
    install(InstallCathedralMask(bytes(32), bytes(16), (bytes((192, 0, 2, 1)),)))
    install(InstallMask(keys["old"]))
    assert (worn("purgatory"), worn("offer")) == (["old"], ["old"])
    install(InstallMask(keys["new"]))
    look(record)
    assert (worn("purgatory"), worn("offer")) == (["old"], ["new"])
    look(dataclasses.replace(record, peer_at=time.monotonic()))
    assert (worn("purgatory"), worn("offer")) == (["new"], ["new"])
    there.close()
    duty.remove(TUNNEL)
