"""The board: one owner writes, readers believe only what is whole."""

from __future__ import annotations

import mmap
import os
import re
import select
import struct
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon import topology
from chancel.daemon.board import (
    BOARD_BYTES,
    ENTRY_BYTES,
    HEAD_BYTES,
    HEADS_BYTES,
    MAX_TUNNELS,
    BoardReader,
    BoardWriter,
    make_board,
    packed_drops,
)
from chancel.daemon.config_types import Mode
from chancel.daemon.records import (
    NOWHERE,
    BlessRecord,
    ConfessRecord,
    HeavenRxRecord,
    HeavenTxRecord,
    KeeperRecord,
    PurgatoryRecord,
    Record,
    current_peer,
)
from chancel.daemon.run import pack_address
from chancel.wire.drop import Drop
from chancel.wire.types import Address

ALL_DROPS = {reason: 2**64 - 1 - i for i, reason in enumerate(Drop)}

RECORDS = sorted({spec.record for spec in topology.of(Mode.TUNNEL).boards.values()}, key=str)


@pytest.mark.parametrize(
    "record", sorted({spec.record for spec in topology.of(Mode.TUNNEL).boards.values()}, key=str)
)
def test_every_record_packs_and_fits_an_entry_with_all_counters(record: type[Record]) -> None:
    memory = make_board("test")
    writer, reader = BoardWriter(memory), BoardReader(memory, record)
    written = filled(record)
    assert record.unpack(written.pack()) == written
    assert len(written.pack()) == record.size()
    assert record.size() + 8 + 16 * len(Drop) <= ENTRY_BYTES
    for tunnel in (0, 7, MAX_TUNNELS - 1):
        assert reader.read(tunnel) is None
        writer.write(tunnel, written, packed_drops(ALL_DROPS, {Drop.NO_KEY: 7.5}), 2**63 + tunnel)
        assert reader.read(tunnel) == (written, ALL_DROPS, 2**63 + tunnel, {Drop.NO_KEY: 7.5})
    assert reader.read(6) is None
    assert reader.read(8) is None
    writer.clear(7)
    assert reader.read(7) is None


def filled(record: type[Record]) -> Record:
    """A record whose every field has a value of its own."""
    values: list[object] = []
    for number, (size, kind) in enumerate(re.findall(r"(\d*)([dsIQ])", record.FORMAT.format)):
        text = bytes([number]) * int(size or 1)
        values.append({"d": number + 0.5, "s": text}.get(kind, 1 + number))
    return record(*values)


@pytest.mark.parametrize(
    ("reason", "dropped"), [(None, {}), (Drop.BAD_TAG, {Drop.BAD_TAG: 3, Drop.NO_KEY: 0})]
)
def test_reasons_that_never_happened_are_left_out(
    reason: Drop | None, dropped: dict[Drop, int]
) -> None:
    memory = make_board("test")
    BoardWriter(memory).write(0, PurgatoryRecord(), packed_drops(dropped, {}))
    entry = BoardReader(memory, PurgatoryRecord).read(0)
    assert entry is not None
    assert entry.drops == ({reason: 3} if reason else {})


def test_nobody_else_can_map_it_for_writing_nor_change_its_size() -> None:
    memory = make_board("test")
    BoardReader(memory, PurgatoryRecord)
    BoardWriter(memory)
    with pytest.raises(PermissionError):
        mmap.mmap(memory, BOARD_BYTES)
    with pytest.raises(PermissionError):
        os.pwrite(memory, b"x", 0)
    for size in (0, 2 * BOARD_BYTES):
        with pytest.raises(PermissionError):
            os.ftruncate(memory, size)
    reader = BoardReader(memory, PurgatoryRecord)
    with pytest.raises(TypeError):
        reader._map[0] = 1


def test_an_entry_that_never_becomes_whole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _pause: None)
    memory = make_board("test")
    reader = BoardReader(memory, PurgatoryRecord)
    os.pwrite(memory, struct.pack("=II", reader._size, 12345), 0)
    with pytest.raises(ValueError, match="never becomes whole"):
        reader.read(0)
    os.pwrite(memory, struct.pack("=II", 5, zlib.crc32(bytes(5))), 0)
    with pytest.raises(ValueError, match="never becomes whole"):
        reader.read(0)


def test_an_owner_that_lost_the_processor_within_its_write_is_waited_for() -> None:
    memory = make_board("test")
    reader = BoardReader(memory, PurgatoryRecord)
    body = PurgatoryRecord(1, 2, 3).pack() + bytes(8 + 16 * len(Drop))
    os.pwrite(memory, struct.pack("=II", len(body), zlib.crc32(body)), 0)
    os.pwrite(memory, body[:20], HEADS_BYTES)
    child = os.fork()
    if child == 0:
        time.sleep(0.05)
        os.pwrite(memory, body[20:], HEADS_BYTES + 20)
        os._exit(0)
    read = reader.read(0)
    assert read is not None
    assert read.record == PurgatoryRecord(1, 2, 3)
    os.waitpid(child, 0)


def torn_record(number: int) -> HeavenTxRecord:
    one = number
    return HeavenTxRecord(one, one, float(one), one, one, one, one, one)


def test_torn_writes_are_never_believed() -> None:
    """A writer that never rests; each record it writes has one number in all of its fields."""
    memory = make_board("test")
    stop, stopping = os.pipe()
    child = os.fork()
    if child == 0:
        writer, number = BoardWriter(memory), 0
        while not select.select([stop], [], [], 0)[0]:
            for _ in range(100):
                number += 1
                record = torn_record(number)
                writer.write(3, record, packed_drops(dict.fromkeys(Drop, number), {}))
        os._exit(0)
    reader = BoardReader(memory, HeavenTxRecord)
    seen = set()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        entry = reader.read(3)
        if entry is None:
            continue
        (number,) = {*entry.drops.values(), entry.record.packets, entry.record.ack_size}
        assert entry.record == torn_record(number)
        seen.add(number)
    os.write(stopping, b"x")
    os.waitpid(child, 0)
    os.close(stop)
    os.close(stopping)
    assert len(seen) > 20
    assert sorted(seen)[-1] > 100


class Torn(bytearray):
    """An entry, of which the first copies come out torn."""

    def __init__(self, whole: bytes, torn: list[bytes]) -> None:
        super().__init__(whole)
        self._torn = torn

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        return (self._torn.pop() if self._torn else bytes(self))[at]


@given(st.integers(1, HEAD_BYTES) | st.integers(HEADS_BYTES, HEADS_BYTES + 376), st.integers(0, 1))
def test_a_copy_with_any_part_of_another_version_is_read_again(at: int, which: int) -> None:
    memory = make_board("test")
    writer, reader = BoardWriter(memory), BoardReader(memory, PurgatoryRecord)
    versions = []
    for number in (1, 2):
        writer.write(
            0,
            PurgatoryRecord(number, number, number),
            packed_drops(dict.fromkeys(Drop, number), {}),
        )
        versions.append(bytes(reader._map[: HEADS_BYTES + ENTRY_BYTES]))
    os.close(memory)
    old, new = versions
    torn = Torn(versions[which], [old[:at] + new[at:], new[:at] + old[at:]])
    reader._map = torn  # type: ignore[assignment]
    entry = reader.read(0)
    assert entry is not None
    assert entry.record == PurgatoryRecord(which + 1, which + 1, which + 1)
    assert set(entry.drops.values()) == {which + 1}


HERE, THERE, MOVED = Address("192.0.2.1", 1), Address("192.0.2.2", 2), Address("198.51.100.3", 3)


def confess(address: Address, at: float) -> ConfessRecord:
    return ConfessRecord(peer=pack_address(address), peer_at=at)


def chapel(address: Address | None, at: float, forgotten_at: float = 0.0) -> KeeperRecord:
    peer = pack_address(address) if address else NOWHERE
    return KeeperRecord(peer=peer, peer_at=at, forgotten_at=forgotten_at)


@pytest.mark.parametrize(
    ("traffic", "offers", "peer"),
    [
        (None, None, HERE),
        (ConfessRecord(), KeeperRecord(), HERE),
        (confess(THERE, 1.0), None, THERE),
        (None, chapel(THERE, 1.0), THERE),
        (confess(THERE, 1.0), chapel(MOVED, 2.0), MOVED),
        (confess(THERE, 3.0), chapel(MOVED, 2.0), THERE),
        (confess(THERE, 3.0), chapel(MOVED, 2.0, forgotten_at=2.5), THERE),
        (confess(THERE, 3.0), chapel(MOVED, 2.0, forgotten_at=3.0), HERE),
        (confess(THERE, 3.0), chapel(None, 0.0, forgotten_at=4.0), HERE),
    ],
)
def test_the_newest_address_counts_unless_it_is_forgotten(
    traffic: ConfessRecord | None, offers: KeeperRecord | None, peer: Address
) -> None:
    assert current_peer(HERE, traffic, offers) == peer


def test_records_start_with_nothing() -> None:
    assert HeavenRxRecord() == HeavenRxRecord(0, 0, 0, 0, 0.0, 0, 0.0)
    assert BlessRecord().spi == 0
    assert ConfessRecord().peer == NOWHERE


def test_a_reader_hears_of_each_tunnel_that_was_written_or_withdrawn_once() -> None:
    memory = make_board("test")
    writer, reader = BoardWriter(memory), BoardReader(memory, BlessRecord)
    written = filled(BlessRecord)
    assert reader.changed() == []
    writer.write(200, written)
    writer.write(3, written)
    assert reader.changed() == [3, 200]
    assert reader.changed() == []
    writer.write(3, written, wakeups=1)
    assert reader.changed() == [3]
    writer.write(3, written, wakeups=1)
    assert reader.changed() == []  # it says the same
    writer.clear(200)
    assert reader.changed() == [200]
