"""The trace: what its lines say, that it never waits, and that nothing is left of it when off."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chancel.daemon import ctl
from chancel.daemon.group import ANSWER_LIMIT_S, MAX_INBOX
from chancel.daemon.lane import LaneWriter, make_lane
from chancel.daemon.records import BlessRecord, ConfessRecord, HeavenTxRecord, KeeperRecord
from chancel.daemon.run import Run, pack_address
from chancel.daemon.trace import DEVICE, Trace, make_channel
from chancel.errors import LinkClosed, LocalProtocolError
from chancel.protocol import events
from chancel.wire.drop import Drop
from chancel.wire.offer import OfferState
from chancel.wire.traffic import NEXT_GRACE
from chancel.wire.types import Address, InstanceId, Spi
from tests.daemon.network import InNetwork
from tests.daemon.running import LIMIT_S, Running, eventually
from tests.daemon.test_carrying import LeftOf, round_trip, tunnel

PEER = Address("192.0.2.7", 2333)
NAMES = {1: "office", 2: "lab"}

Line = dict[str, Any]


class Reader:
    """A trace of one process, read by the test."""

    def __init__(self) -> None:
        self.end, writing = make_channel()
        self.end.settimeout(LIMIT_S)
        self.offs = 0
        self.trace = Trace("bless", writing.detach(), NAMES, self._off)
        assert self.lines()[0]["event"] == "begin"

    def _off(self) -> None:
        self.offs += 1
        self.trace.close()

    def lines(self) -> list[Line]:
        """The lines of the next message, without what the clock decides."""
        told = [json.loads(line) for line in self.end.recv(1 << 20).splitlines()]
        assert all(line.pop("at") > 0 and line.pop("process") == "bless" for line in told)
        return told


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.end.close()
    made.trace.close()


def test_a_hop_is_told_by_tunnel_and_source(reader: Reader) -> None:
    source = pack_address(PEER)
    runs = [
        Run(1, 0, 3, 100, 50, 0, source),
        Run(1, NEXT_GRACE, 1, 20, 20, 256, source),
        Run(2, 0, 2, 60, 60, 512, bytes(18)),
    ]
    reader.trace.hop("purgatory-tx", runs)
    assert reader.lines() == [
        {
            "event": "hop",
            "tunnel": "office",
            "to": "purgatory-tx",
            "packets": 4,
            "bytes": 270,
            "peer": "192.0.2.7:2333",
            "graces": 1,
        },
        {"event": "hop", "tunnel": "lab", "to": "purgatory-tx", "packets": 2, "bytes": 120},
    ]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            events.ExchangeStarted(events.Reason.NO_KEYS, Spi(0xAB)),
            {"event": "exchange-started", "reason": "no keys", "spi": "000000ab"},
        ),
        (
            events.OffersSent(OfferState.CT, Spi(1), 4),
            {"event": "offers-sent", "kind": "ct", "spi": "00000001", "count": 4},
        ),
        (
            events.PeerRestarted(InstanceId(255)),
            {"event": "peer-restarted", "id": "00000000000000ff"},
        ),
        (events.PathChanged(PEER), {"event": "path-changed", "address": "192.0.2.7:2333"}),
        (events.PathChanged(None), {"event": "path-changed", "address": None}),
        (
            events.ClockSkew(-43.0, refused=True),
            {"event": "clock-skew", "seconds": -43.0, "refused": True},
        ),
    ],
)
def test_events_of_the_protocol(reader: Reader, event: events.Event, expected: Line) -> None:
    reader.trace.event(1, event)
    assert reader.lines() == [expected | {"tunnel": "office"}]


def test_what_changes_on_a_board_is_an_event(reader: Reader) -> None:
    told: list[tuple[Any, Any, Line]] = [
        (BlessRecord(), BlessRecord(spi=7), {"event": "send-key", "was": None, "to": "00000007"}),
        (
            ConfessRecord(),
            ConfessRecord(peer=pack_address(PEER)),
            {"event": "peer", "was": None, "to": "192.0.2.7:2333"},
        ),
        (
            HeavenTxRecord(probes=1),
            HeavenTxRecord(probes=2, probe_size=1422),
            {"event": "mtu-probe", "to": 1422},
        ),
        (
            KeeperRecord(state=0),
            KeeperRecord(state=1),
            {"event": "exchange", "was": "idle", "to": "offered"},
        ),
    ]
    for before, after, expected in told:
        reader.trace.page(2, before, after, {})
        assert reader.lines() == [expected | {"tunnel": "lab"}]
    reader.trace.page(1, BlessRecord(), BlessRecord(packets=9), {Drop.NO_KEY: 3})
    assert reader.lines() == [
        {"event": "drop", "reason": "no-key", "packets": 3, "tunnel": "office"}
    ]


def test_a_reader_that_sleeps_is_not_waited_for_and_hears_what_it_missed(reader: Reader) -> None:
    sent = 5000
    for _ in range(sent):
        reader.trace.hop(DEVICE, [Run(1, 0, 1, 100, 100, 0)])
    reader.end.setblocking(False)
    seen = 0
    while True:
        try:
            seen += len(reader.lines())
        except BlockingIOError:
            break
    assert 0 < seen < sent
    reader.end.settimeout(LIMIT_S)
    reader.trace.hop(DEVICE, [Run(1, 0, 1, 100, 100, 0)])
    lost, hop = reader.lines()
    assert lost == {"event": "lost", "lines": sent - seen}
    assert hop["event"] == "hop"
    reader.trace.hop(DEVICE, [Run(1, 0, 1, 100, 100, 0)])
    assert [line["event"] for line in reader.lines()] == ["hop"]


def test_a_reader_that_went_away_ends_it(reader: Reader) -> None:
    reader.end.close()
    reader.trace.hop(DEVICE, [Run(1, 0, 1, 100, 100, 0)])
    assert reader.offs == 1


def test_a_lane_that_nobody_watches_calls_nobody() -> None:
    ends = make_lane("test", 2, 4096)
    writer = LaneWriter(ends)
    seen: list[list[Run]] = []
    runs = [Run(1, 0, 1, 100, 100, 0)]
    for watch in (None, seen.append, None):
        writer.watch = watch
        writer.wait_slot()
        writer.send(runs)
        ends.reader.send(ends.reader.recv(1000)[:1])
    assert seen == [runs]


def test_a_batch_without_packets_is_nothing_to_tell(reader: Reader) -> None:
    """An empty message would read as the end of the trace."""
    reader.trace.hop("purgatory-tx", [])
    reader.trace.hop("purgatory-tx", [Run(1, 0, 1, 100, 100, 0)])
    assert [line["event"] for line in reader.lines()] == ["hop"]


def test_what_is_told_after_the_reader_has_gone_goes_nowhere(reader: Reader) -> None:
    """Several events may come at once; a call on a closed descriptor would end the process."""
    reader.end.close()
    for spi in range(3):
        reader.trace.event(1, events.SendKeyInstalled(Spi(spi)))
    assert reader.offs == 1


class Listener:
    """Reads the trace of a whole group."""

    def __init__(self, running: Running) -> None:
        self.end = ctl.trace(next(iter(sorted(running.dir.glob("*.ctl")))))
        self.end.settimeout(LIMIT_S)
        self.lines: list[Line] = []

    def until(self, *wanted: tuple[str, str]) -> None:
        """Read until each (process, event) was seen."""
        while not set(wanted) <= {(line["process"], line["event"]) for line in self.lines}:
            self.lines += [json.loads(line) for line in self.end.recv(1 << 20).splitlines()]


CARRYING = {"heaven-rx", "bless", "purgatory-tx", "purgatory-rx", "confess", "heaven-tx"}


def test_a_group_tells_the_whole_way_of_a_packet(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = LeftOf(tmp)(1)
        listener = Listener(running)
        assert round_trip(1, b"x" * 700, LIMIT_S)
        listener.until(*[(process, "hop") for process in CARRYING], ("heaven-tx", "heartbeat"))
        begun = [line for line in listener.lines if line["event"] == "begin"]
        assert {line["process"] for line in begun} == CARRYING | {"chapel"}
        whole = [line for line in listener.lines if line["event"] == "hop"]
        ways = {(line["process"], line["to"]) for line in whole}
        assert {
            ("heaven-rx", "bless"),
            ("bless", "purgatory-tx"),
            ("purgatory-tx", "network"),
        } <= ways
        assert {
            ("purgatory-rx", "confess"),
            ("confess", "heaven-tx"),
            ("heaven-tx", "device"),
        } <= ways
        assert {line["tunnel"] for line in whole} == {"dm1"}
        sizes = {line["bytes"] for line in whole if line["to"] == "device"}
        assert 700 + 28 in sizes or 700 + 28 + 2 in sizes
        listener.end.close()
        assert running.stop() == 0

    in_network(test)


def test_an_exchange_is_told_offer_by_offer(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = LeftOf(tmp)(1, right=(1, 2))
        listener = Listener(running)
        path = running.dir / "second.conf"
        path.write_text(tunnel(tmp, 2, left=True))
        with path.open("rb") as file:
            running.ask({"do": "add", "name": "second.conf"}, file.fileno())
        listener.until(("bless", "send-key"), ("confess", "receive-key"), ("chapel", "exchange"))
        eventually(lambda: round_trip(2, b"second"))
        listener.until(("chapel", "receive-key-used"))
        told = [line for line in listener.lines if line.get("tunnel") == "dm2"]
        names = Counter(line["event"] for line in told if line["process"] == "chapel")
        assert {"exchange-started", "offers-sent", "offer-received"} <= set(names)
        assert {"receive-key-installed", "send-key-installed"} <= set(names)
        fragments = {
            (line["kind"], line["fragment"]) for line in told if line["event"] == "offer-received"
        }
        assert {("pk", number) for number in range(4)} <= fragments
        assert {("ct", number) for number in range(4)} <= fragments
        text = json.dumps(listener.lines)
        secret = (running.dir / "secret").read_bytes()
        assert secret.hex() not in text
        assert running.stop() == 0

    in_network(test)


def test_the_next_trace_ends_the_last_and_one_without_reader_ends_by_itself(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        running = LeftOf(tmp)(1)
        first, second = Listener(running), Listener(running)
        while first.end.recv(1 << 20):  # to its end: no process holds the other end any more
            pass
        assert round_trip(1, b"x", LIMIT_S)
        second.until(("heaven-tx", "hop"))
        second.end.close()
        assert round_trip(1, b"x", LIMIT_S)
        third = Listener(running)
        assert round_trip(1, b"x", LIMIT_S)
        third.until(*[(process, "hop") for process in CARRYING])
        assert running.log().count("trace began") == 1, "at most once in a while"
        assert running.stop() == 0

    in_network(test)


def test_asking_for_a_trace_of_nothing() -> None:
    with pytest.raises(LinkClosed, match="nave is not running"):
        ctl.trace(Path("/nonexistent/nave.ctl"))


def test_a_stopped_process_ends_no_group_because_somebody_wants_a_trace(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        running = LeftOf(tmp)(1)
        path = running.dir / "dm1.ctl"
        os.kill(running.processes["bless"], signal.SIGSTOP)
        for _ in range(2 * MAX_INBOX):
            with pytest.raises(LocalProtocolError, match="bless does not answer"):
                ctl.trace(path)
        os.kill(running.processes["bless"], signal.SIGCONT)
        eventually(lambda: answers_to_a_trace(path))
        assert round_trip(1, b"x", LIMIT_S)
        assert running.stop() == 0

    in_network(test)


def answers_to_a_trace(path: Path) -> bool:
    try:
        ctl.trace(path).close()
    except LocalProtocolError:
        return False
    return True


def test_a_signal_is_heard_while_a_stopped_process_is_waited_for(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        running = LeftOf(tmp)(1)
        os.kill(running.processes["bless"], signal.SIGSTOP)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking,
            (tmp / "late.conf").open("w+") as file,
        ):
            file.write(tunnel(tmp, 2, left=True))
            file.seek(0)
            asking.connect(str(running.dir / "dm1.ctl"))
            request = json.dumps({"do": "add", "name": "late.conf"}).encode()
            socket.send_fds(asking, [request + b"\n"], [file.fileno()])
            eventually((running.dir / "dm2.ctl").exists)
            began = time.monotonic()
            assert running.stop() == 0
        assert time.monotonic() - began < ANSWER_LIMIT_S / 2
        assert "does not answer" not in running.log()
        assert not list(running.dir.glob("*.ctl"))

    in_network(test)
