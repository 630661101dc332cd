"""A process that lies to its neighbours ends its group, by one line, and gets nowhere with it.

Real groups in which one process is not what it should be: it has the ends that its duty has, and
says on them what no process of ours says.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chancel.daemon import child, config, group, guardian
from chancel.daemon.board import HEAD_BYTES, HEADS_BYTES, BoardReader, BoardWriter, make_board
from chancel.daemon.config_types import Mode
from chancel.daemon.lane import SLOT_BYTES, LaneCopy, LaneReader, LaneWriter, make_lane
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.link import KeyLink, make_link
from chancel.daemon.process import Process
from chancel.daemon.records import ConfessRecord, HeavenRxRecord, KeeperRecord, Record
from chancel.daemon.run import Run, encode_runs
from chancel.daemon.settings import TunnelSettings
from chancel.errors import ChancelError
from tests.daemon.network import InNetwork
from tests.daemon.running import LIMIT_S, print_to, text

SLOT = 4096
MOST_LINES = 40
"""What a whole group says that starts, meets a lie and ends; a traceback would be more."""

Lie = Callable[[Process], None]


def token(*runs: Run, slot: int = 0) -> bytes:
    return bytes((slot,)) + encode_runs(list(runs))


def on_lane(lane: str, words: bytes) -> Lie:
    """As the writer of a lane."""
    return lambda process: _send(process.writers[lane]._socket, words)


def from_reader(lane: str, words: bytes) -> Lie:
    """As the reader of a lane."""
    return lambda process: _send(process.readers[lane]._socket, words)


def on_link(link: str, words: bytes) -> Lie:
    return lambda process: _send(process.key_links[link]._end, words)


def _send(end: socket.socket, words: bytes) -> None:
    end.send(words)


def to_guardian(words: bytes, times: int = 1) -> Lie:
    def lie(process: Process) -> None:
        for _ in range(times):
            process.guardian._end.send(words)

    return lie


def on_board(entry: bytes) -> Lie:
    def lie(process: Process) -> None:
        assert process.board is not None
        body = entry[HEAD_BYTES:]
        process.board._map[HEADS_BYTES : HEADS_BYTES + len(body)] = body
        process.board._map[:HEAD_BYTES] = entry[:HEAD_BYTES]
        process.ring()

    return lie


def entry_of(record: Record) -> bytes:
    """What the owner of a board writes to lie well: the checksum fits."""
    memory = make_board("lie")
    BoardWriter(memory).write(0, record)
    size, _ = struct.unpack("=II", os.pread(memory, 8, 0))
    body = record.pack() + os.pread(memory, size - record.size(), HEADS_BYTES + record.size())
    os.close(memory)
    return struct.pack("=II", size, zlib.crc32(body)) + body


class Case(NamedTuple):
    """Who lies how, who finds it, and with which words."""

    liar: str
    lie: Lie
    finder: str
    words: str


ODD = Run(0, 0, 1, 100, 100, SLOT_BYTES - 50)
LONG = Run(0, 0, 120, 2048, 2048, 0)
TINY = Run(0, 0, 1, 1, 1, 0)

CASES = [
    Case("heaven-rx", on_lane("bless", token(slot=8)), "bless", "a slot that does not exist"),
    Case("heaven-rx", on_lane("bless", b"\0odd"), "bless", "an odd length"),
    Case("bless", on_lane("purgatory", token(ODD)), "purgatory-tx", "outside of its slot"),
    Case("purgatory-rx", on_lane("confess", token(TINY, TINY)), "confess", "outside of its slot"),
    Case("purgatory-rx", on_lane("keeper", token(slot=200)), "chapel", "does not exist"),
    Case("confess", on_lane("heaven", token(LONG, LONG)), "heaven-tx", "outside of its slot"),
    Case("chapel", on_lane("offer", token(slot=9)), "purgatory-tx", "does not exist"),
    Case("confess", on_lane("heaven", b""), "heaven-tx", "and it lives"),
    Case("purgatory-tx", from_reader("offer", b"\3"), "chapel", "that was not out"),
    Case("chapel", on_link("send-keys", b"x"), "bless", "no key command"),
    Case("chapel", on_link("receive-keys", b"\0\0R" + bytes(7)), "confess", "no key command"),
    Case("confess", on_board(b"\1" * 512), "", "never becomes whole"),
    Case("confess", on_board(entry_of(ConfessRecord(peer_at=float("inf")))), "", "can't be true"),
    Case("chapel", on_board(entry_of(KeeperRecord(state=99))), "", "can't be true"),
    Case("heaven-rx", on_board(entry_of(HeavenRxRecord(mtu=1 << 20))), "", "can't be true"),
    Case("bless", to_guardian(b"no JSON"), "guardian", "bless lies: a message"),
    Case("control", to_guardian(b"[" * 5000), "guardian", "control lies: a message"),
    Case("control", to_guardian(b""), "guardian", "control hung up"),
    Case("control", to_guardian(b'{"x": 1}', 80), "guardian", "more than it is asked for"),
]


def liar(lie: Lie) -> Callable[[Process], Any]:
    class Liar:
        """Says the untrue once the tunnel is there, and does nothing else."""

        def __init__(self, process: Process) -> None:
            self.process = process
            process.hear = lambda message, fds: None

        def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
            lie(self.process)

        def remove(self, tunnel: int) -> None:
            """Nothing is kept."""

        def wake_at(self) -> float | None:
            return None

        def wake(self, now: float) -> None:
            raise AssertionError("nothing was to be woken for")

    return Liar


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.liar}: {case.words}")
def test_a_lie_ends_the_group_by_one_line(
    case: Case, in_network: InNetwork, tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "HUNG_UP_LIMIT_S", 0.5)
    monkeypatch.setattr(group, "HUNG_UP_LIMIT_S", 0.5)
    makers = guardian.load_duties(Mode.TUNNEL) | {case.liar: liar(case.lie)}

    def test() -> None:
        status = end_of(tmp, text(tmp, 1, "peer 127.0.0.1:7999", "offload off"), makers)
        log = (tmp / "output").read_text()
        found = [line for line in log.splitlines() if case.words in line]
        assert found, log
        assert f"[{case.finder}" in found[0], log
        assert status == 1, log
        assert "Traceback" not in log
        assert len(log.splitlines()) < MOST_LINES

    in_network(test)


def end_of(tmp: Path, configuration: str, makers: dict[str, Any]) -> int:
    """Run a group that is to end by itself, as the command line would; its exit status.

    Some lies are found before the group says that it is up.
    """
    pid = os.fork()
    if pid == 0:
        status = 77
        try:
            print_to(tmp / "output")
            status = guardian.serve([config.parse(configuration, "1.conf")], tmp, makers)
        except ChancelError as error:
            print(f"[guardian]: {error}", flush=True)
            status = 1
        finally:
            os._exit(status)
    ended = bool(select.select([os.pidfd_open(pid)], [], [], LIMIT_S)[0])
    if not ended:
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_nobody_resizes_a_lane_and_its_reader_never_maps_it_writable() -> None:
    ends = make_lane("test", 2, SLOT)
    with pytest.raises(PermissionError):
        os.ftruncate(ends.memory, SLOT)
    with pytest.raises(PermissionError):
        os.ftruncate(ends.memory, 3 * SLOT)
    writer, reader = LaneWriter(ends), LaneReader(ends)
    with pytest.raises(PermissionError):
        mmap.mmap(ends.memory, 2 * SLOT)
    taken = writer.slot()
    assert taken is not None
    taken[1][:5] = b"still"
    writer.send([Run(0, 0, 1, 5, 5, 0, bytes(18))])
    batch = reader.receive()
    assert batch is not None
    assert bytes(batch.memory[:5]) == b"still"


def test_nobody_resizes_a_board() -> None:
    memory = make_board("test")
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)


def test_what_was_copied_from_a_lane_stays_when_its_writer_changes_the_slot() -> None:
    ends = make_lane("test", 1, SLOT)
    writer, copy = LaneWriter(ends), LaneCopy(LaneReader(ends))
    taken = writer.slot()
    assert taken is not None
    memory = taken[1]
    runs = [Run(0, 0, 1, 5, 5, 7, bytes(18)), Run(0, 0, 2, 6, 6, 100, bytes(18))]
    memory[7:12], memory[100:112] = b"first", b"second" * 2
    writer.send(runs)
    assert copy.receive() == runs
    assert writer.slot() is not None, "the slot is back at once"
    memory[:] = bytes(SLOT)
    assert bytes(copy.memory[7:12]) == b"first"
    assert bytes(copy.memory[100:112]) == b"second" * 2
    assert copy.receive() is None


@pytest.mark.parametrize(
    "record",
    [
        ConfessRecord(alive_at=float("nan")),
        ConfessRecord(installed_at=-1.0),
        KeeperRecord(reason=1000),
        KeeperRecord(skew_s=float("-inf")),
        HeavenRxRecord(heartbeat_at=1e300),
    ],
    ids=repr,
)
def test_a_record_that_cannot_be_true_is_a_lie(record: Record) -> None:
    with pytest.raises(NeighbourLied, match="can't be true"):
        type(record).unpack(record.pack())


def test_drops_at_impossible_times_are_a_lie() -> None:
    memory = make_board("test")
    writer = BoardWriter(memory)
    reader = BoardReader(memory, ConfessRecord)
    writer.write(0, ConfessRecord())
    (size,) = struct.unpack_from("=I", writer._map)
    entry = writer._map[HEADS_BYTES : HEADS_BYTES + size]
    struct.pack_into("=d", entry, size - 8, float("nan"))
    struct.pack_into("=I", writer._map, 4, zlib.crc32(entry))
    with pytest.raises(NeighbourLied, match="impossible times"):
        reader.read(0)


def test_descriptors_on_a_key_link_are_the_kernel_s_to_close() -> None:
    ours, theirs = make_link()
    reading, writing = os.pipe2(os.O_NONBLOCK)
    socket.send_fds(theirs, [b"\0\0E"], [writing] * 3)
    os.close(writing)
    assert KeyLink(ours).receive() is not None
    assert os.read(reading, 1) == b"", "no copy of the other end is open"
    os.close(reading)
    assert fcntl.fcntl(ours, fcntl.F_GETFD) >= 0
