"""What boards say, in words, rates and the 88 bytes of the reference."""

from __future__ import annotations

import dataclasses
import errno
import struct
from ipaddress import IPv4Interface, ip_address
from typing import Any

import pytest

from chancel.daemon import topology
from chancel.daemon.board import BoardReader, BoardWriter, make_board, packed_drops
from chancel.daemon.config_types import Mode
from chancel.daemon.metrics import exposition
from chancel.daemon.offloads import ALL, TSO, Offload, states
from chancel.daemon.records import (
    EXCHANGE_REASONS,
    EXCHANGE_STATES,
    TROUBLES,
    BlessRecord,
    ConfessRecord,
    HeavenRxRecord,
    HeavenTxRecord,
    KeeperRecord,
    PurgatoryRecord,
    pack_address,
)
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.daemon.status import StatusBook
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Address

SETTINGS = TunnelSettings(
    instance="dm1",
    tunnel=IPv4Interface("10.77.1.1/30"),
    accepts=(),
    mtu=1422,
    mtu_discovery=True,
    peer=Address("192.0.2.7", 2333),
    flocks=NO_FLOCKS,
    spi_prefix=0,
    secret="/nonexistent",
)
TUNNEL = 3

BOARDS = topology.of(Mode.TUNNEL).boards


class Boards:
    """All boards of a group, and the book that reads them."""

    def __init__(self, settings: TunnelSettings = SETTINGS) -> None:
        memories = {name: make_board(name) for name in BOARDS}
        self.writers = {name: BoardWriter(memory) for name, memory in memories.items()}
        self.book = StatusBook(
            {
                name: BoardReader[Any](memory, BOARDS[name].record)
                for name, memory in memories.items()
            }
        )
        about = {"descr": "", "device": "dm1", "offloads": states(ALL & ~TSO, ALL & ~TSO)}
        self.book.add(TUNNEL, settings, about)

    def tunnel(self, now: float) -> dict[str, Any]:
        (answer,) = self.book.status(now)["tunnels"]
        assert isinstance(answer, dict)
        return answer


@pytest.fixture
def boards() -> Boards:
    return Boards()


def test_before_anything_was_written(boards: Boards) -> None:
    seen = boards.tunnel(100.0)
    assert seen["instance"] == "dm1"
    assert (seen["peer"], seen["path"]) == ("192.0.2.7:2333", "configured")
    nothing = dict.fromkeys(("spi", "age_s", "expires_s", "last_s")) | {"packets": 0, "bytes": 0}
    assert seen["tx"] == seen["rx"] == nothing
    assert seen["post_quantum"] is seen["clock_skew_s"] is seen["last_heartbeat_s"] is None
    assert seen["exchange"] == {
        "state": "idle",
        "reason": "",
        "completed": 0,
        "completed_s": None,
        "trying_s": None,
        "offers_sent": 0,
        "offer_received_s": None,
    }
    assert seen["path_since_s"] is seen["path_proved_s"] is seen["inner_refused"] is None
    assert seen["send_error"] is seen["mtu_lost_s"] is None
    assert seen["drops"] == seen["drops_by_process"] == {}
    assert seen["mtu"] == 1422
    assert set(seen["rates"].values()) == {0.0}


def test_offloads_that_processes_gave_up(boards: Boards) -> None:
    assert boards.tunnel(100.0)["offloads"] == states(ALL & ~TSO, ALL & ~TSO)
    boards.writers["purgatory-tx"].write(TUNNEL, PurgatoryRecord(broken=Offload.GSO))
    beyond = Offload.COALESCE_TCP6 | 1 << 31
    boards.writers["heaven-tx"].write(TUNNEL, HeavenTxRecord(broken=beyond))
    found = boards.tunnel(100.0)["offloads"]
    assert [name for name, state in found.items() if state == "broken"] == ["gso", "coalesce_tcp6"]
    assert [name for name, state in found.items() if state == "off"] == ["tso4", "tso6"]


def test_keys_peer_and_drops(boards: Boards) -> None:
    boards.writers["bless"].write(TUNNEL, BlessRecord(0xABC, 1, 7, 700, 90.0, 99.0))
    peer = pack_address(Address("198.51.100.1", 4000))
    confess = ConfessRecord(0xDEF, 8, 800, 91.0, 98.0, 98.0, peer)
    dropped = packed_drops({Drop.BAD_TAG: 2, Drop.DUPLICATE: 1}, {Drop.BAD_TAG: 96.0})
    boards.writers["confess"].write(TUNNEL, confess, dropped)
    boards.writers["heaven-tx"].write(
        TUNNEL, HeavenTxRecord(heartbeat_at=97.0), packed_drops({Drop.INNER_ADDRESS: 3}, {})
    )
    chapel = KeeperRecord(
        state=EXCHANGE_STATES.index("paused"),
        reason=EXCHANGE_REASONS.index("no keys"),
        skew_s=-43.0,
    )
    boards.writers["keeper"].write(TUNNEL, chapel, packed_drops({Drop.OFFER_TIME: 4}, {}))
    seen = boards.tunnel(100.0)
    assert seen["tx"] == {
        "spi": "00000abc",
        "age_s": 10.0,
        "expires_s": 3590.0,
        "packets": 7,
        "bytes": 700,
        "last_s": 1.0,
    }
    assert seen["rx"]["spi"] == "00000def"
    assert (seen["peer"], seen["path"]) == ("198.51.100.1:4000", "learned")
    assert (seen["exchange"]["state"], seen["exchange"]["reason"]) == ("paused", "no keys")
    assert seen["clock_skew_s"] == -43.0
    assert seen["last_heartbeat_s"] == 3.0
    assert seen["drops"] == {"bad-tag": 2, "duplicate": 1, "inner-address": 3, "offer-time": 4}
    assert seen["drops_by_process"]["confess"] == {
        "bad-tag": {"count": 2, "last_s": 4.0},
        "duplicate": {"count": 1, "last_s": None},
    }
    assert set(seen["drops_by_process"]) == {"confess", "heaven-tx", "chapel"}


def test_where_the_path_is_and_what_went_wrong_on_it(boards: Boards) -> None:
    peer = pack_address(Address("198.51.100.1", 4000))
    confess = ConfessRecord(0xDEF, 8, 800, 91.0, 98.0, 98.0, peer, 95.0)
    boards.writers["confess"].write(TUNNEL, confess)
    boards.writers["purgatory-tx"].write(
        TUNNEL,
        PurgatoryRecord(5, 500, 2, errno.ENETUNREACH),
        packed_drops({Drop.SEND_FAILED: 1}, {}),
    )
    boards.writers["heaven-tx"].write(
        TUNNEL,
        HeavenTxRecord(
            refused_source=ip_address("::ffff:172.16.0.9").packed,
            refused_target=ip_address("2001:db8::1").packed,
        ),
    )
    boards.writers["heaven-rx"].write(TUNNEL, HeavenRxRecord(mtu_lost_at=70.0))
    boards.writers["keeper"].write(TUNNEL, KeeperRecord(trying_since=60.0, offers=24))
    seen = boards.tunnel(100.0)
    assert (seen["path_since_s"], seen["path_proved_s"], seen["mtu_lost_s"]) == (5.0, 2.0, 30.0)
    assert seen["send_error"] == "ENETUNREACH"
    assert seen["inner_refused"] == {"source": "172.16.0.9", "target": "2001:db8::1"}
    assert (seen["exchange"]["trying_s"], seen["exchange"]["offers_sent"]) == (40.0, 24)
    assert seen["traffic"]["tx"]["datagram_calls"] == 2


CATHEDRAL, PEER = Address("198.51.100.1", 2333), Address("192.0.2.7", 2333)
WITH_CATHEDRAL = dataclasses.replace(
    SETTINGS,
    peer=None,
    cathedral=CathedralSettings((), CathedralId(1), "", "", nat_port=2334, kek="/nonexistent"),
)
RELAYED = KeeperRecord(
    target=pack_address(CATHEDRAL),
    target_at=90.0,
    candidate=pack_address(PEER),
    cathedral=pack_address(CATHEDRAL),
    cathedrals=2,
    cathedral_at=80.0,
    cathedral_heard_at=97.0,
    announced_at=96.0,
    cathedral_skew_s=1.5,
    ambry_at=81.0,
    generation=0xBEEF,
)


def told_of_cathedral(keeper: KeeperRecord) -> dict[str, Any]:
    boards = Boards(WITH_CATHEDRAL)
    boards.writers["keeper"].write(TUNNEL, keeper)
    return boards.tunnel(100.0)


def test_a_cathedral_and_what_it_brought() -> None:
    seen = told_of_cathedral(RELAYED)
    assert (seen["peer"], seen["path"], seen["path_since_s"]) == (str(CATHEDRAL), "relay", 10.0)
    assert seen["cathedral"] == {
        "address": str(CATHEDRAL),
        "known": 2,
        "since_s": 20.0,
        "heard_s": 3.0,
        "silent_s": None,
        "answers_always": False,
        "peer_announced_s": 4.0,
        "candidate": str(PEER),
        "nat_detection": True,
        "wants_ambry": True,
        "generation": "0000beef",
        "ambry_s": 19.0,
        "clock_skew_s": 1.5,
        "trouble": None,
        "trouble_s": None,
    }


def test_a_cathedral_that_is_no_help() -> None:
    nothing = told_of_cathedral(KeeperRecord())
    assert (nothing["peer"], nothing["path"], nothing["cathedral"]["address"]) == (
        None,
        "unknown",
        None,
    )
    assert nothing["cathedral"]["clock_skew_s"] is None
    trouble = TROUBLES.index("ambry-expired")
    silent = dataclasses.replace(
        RELAYED, cathedral_silent_at=70.0, trouble=trouble, trouble_at=95.0
    )
    seen = told_of_cathedral(silent)["cathedral"]
    assert (seen["silent_s"], seen["trouble"], seen["trouble_s"]) == (30.0, "ambry-expired", 5.0)


def test_a_direct_path_and_a_fixed_one() -> None:
    direct = dataclasses.replace(RELAYED, target=pack_address(PEER), direct=1)
    assert told_of_cathedral(direct)["path"] == "direct"
    boards = Boards(dataclasses.replace(WITH_CATHEDRAL, peer=PEER))
    boards.writers["keeper"].write(TUNNEL, direct)
    assert boards.tunnel(100.0)["path"] == "configured"


def test_the_keepers_target_counts_whoever_was_heard() -> None:
    """Also in the 88 bytes."""
    boards = Boards(WITH_CATHEDRAL)
    stranger = pack_address(Address("203.0.113.9", 9))
    boards.writers["confess"].write(TUNNEL, ConfessRecord(peer=stranger, peer_at=99.0))
    boards.writers["keeper"].write(TUNNEL, RELAYED)
    assert boards.tunnel(100.0)["peer"] == str(CATHEDRAL)
    assert boards.book.datagram(TUNNEL)[-8:-4] == bytes((198, 51, 100, 1))


def test_metrics_of_a_tunnel_with_a_cathedral() -> None:
    tunnel = told_of_cathedral(RELAYED)
    group = {"started_wall": 0.0, "wakeups": {}}
    text = exposition({"group": group, "tunnels": [tunnel]}).decode()
    for line in (
        'chancel_peer_path{tunnel="dm1",path="relay"} 1',
        'chancel_cathedrals{tunnel="dm1"} 2',
        'chancel_cathedral_silent{tunnel="dm1"} 0',
        'chancel_cathedral_answer_age_seconds{tunnel="dm1"} 3.0',
        'chancel_cathedral_clock_skew_seconds{tunnel="dm1"} 1.5',
        'chancel_peer_announcement_age_seconds{tunnel="dm1"} 4.0',
        'chancel_ambry_age_seconds{tunnel="dm1"} 19.0',
    ):
        assert line in text.splitlines()


def test_wake_ups_per_hour(boards: Boards) -> None:
    """Over the life of the group at first, later since somebody looked a minute ago or more."""

    def wakeups(now: float, own: int) -> dict[str, dict[str, int]]:
        told: dict[str, dict[str, int]] = boards.book.status(now, own)["group"]["wakeups"]
        return told

    boards.writers["keeper"].write(TUNNEL, KeeperRecord(), wakeups=100)
    first = wakeups(1800.0, 10)
    assert first["chapel"] == {"count": 100, "per_hour": 200}
    assert first["control"] == {"count": 10, "per_hour": 20}
    boards.writers["keeper"].write(TUNNEL, KeeperRecord(), wakeups=130)
    assert wakeups(1830.0, 10)["chapel"] == {"count": 130, "per_hour": 256}
    assert wakeups(1920.0, 12)["chapel"]["per_hour"] == round(130 * 3600 / 1920)
    assert wakeups(1800.0 + 3600.0, 12)["chapel"] == {"count": 130, "per_hour": 30}


def test_rates_need_half_a_second(boards: Boards) -> None:
    boards.writers["heaven-rx"].write(TUNNEL, HeavenRxRecord(packets=10, octets=1000))
    assert boards.book.ready_at(100.0) == 100.5
    boards.writers["heaven-rx"].write(TUNNEL, HeavenRxRecord(packets=20, octets=3000))
    assert boards.book.ready_at(100.5) == 100.5
    rates = boards.tunnel(100.5)["rates"]
    assert rates == {"tx_pps": 20.0, "tx_bps": 32000.0, "rx_pps": 0.0, "rx_bps": 0.0}
    assert boards.book.ready_at(200.0) == 200.5  # what was seen long ago is no rate


def test_the_reference_layout(boards: Boards) -> None:
    bless = BlessRecord(0x3C6DF77C, 1, 0x1A, 0xCA8, float(0x7A1), float(0x7C1))
    boards.writers["bless"].write(TUNNEL, bless)
    confess = ConfessRecord(0x3A21A105, 0x16, 0xA8, float(0x7A1), float(0x7C1))
    boards.writers["confess"].write(TUNNEL, confess)
    fields = (0x3C6DF77C, 0x7A1, 0x1A, 0x7C1, 0xCA8, 0x3A21A105, 0x7A1, 0x16, 0x7C1, 0xA8)
    expected = struct.pack("@IQQQQIQQQQ", *fields) + bytes.fromhex("c0000207091d")
    assert boards.book.datagram(TUNNEL) == expected + struct.pack("@H", 1422)
