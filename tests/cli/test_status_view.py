"""What ``chancel status`` says about recorded answers, in words and as a picture."""

from __future__ import annotations

import copy
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chancel.cli import status_words as words
from chancel.cli.status_view import render
from chancel.daemon.durations import duration
from chancel.daemon.health import state

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
UP, PENDING = RECORDED["tunnels"]


def drawn(answer: dict[str, Any], width: int = 160) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(render(answer))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_a_tunnel_that_is_up() -> None:
    text = drawn({"tunnels": [UP]})
    for line in (
        "office  up  the-office",
        "192.168.201.2:2333 (learned)",
        "10.77.0.1/30 on office",
        "1422 (discovered)",
        "hybrid ML-KEM-1024 + X25519, 41 s ago",
        "1.42 Gbit/s, 118 kpkt/s; 1024 packets, 1.46 MB under key 2cea6ee1, made 41 s ago",
        "12.5 kbit/s, 20 pkt/s; 900 packets, 90.2 kB under key 37b6c02e",
        "last 0.3 s ago",
        "7 s ago",
        "agrees with the peer's",
        "12 bad-tag, 3 duplicate",
        "on: checksum, tso, coalesce_tcp4, gro; refused: uso; broken: coalesce_tcp6, gso;",
        "off: coalesce_udp",
        "192.168.201.2:2333 (learned) for 5 min 2 s",
    ):
        assert line in text
    assert "too-short" not in text


def test_a_tunnel_that_is_pending() -> None:
    text = drawn({"tunnels": [PENDING]})
    for line in (
        "lab  pending",
        "your clock is 43 s behind: the peer refuses your offers",
        "the peer's address is unknown: it has to send first",
        "43 s behind the peer's",
        "1300 (fixed)",
        "none yet",
        "on: none; off: checksum, tso, uso, coalesce, gso, gro",
        "running: no keys",
        "no key",
        "never",
    ):
        assert line in text


def test_what_the_tunnels_of_a_group_share() -> None:
    group = RECORDED["group"]
    text = drawn({"tunnels": [UP], "groups": [group]})
    assert "group 4321: sandbox on, Landlock version 6, accelerator on; wake-ups per hour:" in text
    assert "wake-ups per hour: bless 240, control 12" in text
    bare = group | {"sandbox": "off", "landlock": 0, "accelerator": "not installed"}
    assert "sandbox off, no Landlock, accelerator not installed;" in drawn(
        {"tunnels": [UP], "groups": [bare]}
    )


def test_two_tunnels_are_two_panels_and_many_are_a_table() -> None:
    assert drawn(RECORDED).count("exchange") == 2
    many = [UP | {"instance": f"t{number}"} for number in range(16)]
    table = drawn({"tunnels": many})
    assert "exchange" not in table
    assert len([line for line in table.splitlines() if "192.168.201.2:2333" in line]) == 16


def test_nothing_runs() -> None:
    assert drawn({"tunnels": []}) == "no tunnel is running\n"


def test_a_dead_group_is_down() -> None:
    assert "office is not running" in drawn(
        {"tunnels": [], "silent": ["office is not running: Connection refused"]}
    )


def test_brackets_from_a_group_are_no_markup() -> None:
    assert "[bold]" in drawn({"tunnels": [UP | {"peer": "[bold]"}]})


@pytest.mark.parametrize(
    ("skew_s", "warning"),
    [
        (None, None),
        (1.9, None),
        (-1.9, None),
        (4.0, "your clock is 4 s behind: beyond 10 s the peer would refuse your offers"),
        (-4.0, "your clock is 4 s ahead: beyond 10 s the peer would refuse your offers"),
        (10.0, "your clock is 10 s behind: beyond 10 s the peer would refuse your offers"),
        (43.0, "your clock is 43 s behind: the peer refuses your offers"),
        (-3725.0, "your clock is 1 h 2 min ahead: the peer refuses your offers"),
    ],
)
def test_clock_warnings(skew_s: float | None, warning: str | None) -> None:
    assert words.clock_warning(skew_s) == warning


def test_up_needs_keys_both_ways_and_a_packet_lately() -> None:
    assert state(UP) == "up"
    for side, field, value in (
        ("rx", "last_s", 120.0),
        ("rx", "last_s", None),
        ("tx", "spi", None),
    ):
        tunnel = copy.deepcopy(UP)
        tunnel[side][field] = value
        assert state(tunnel) == "pending"


def test_one_way_tunnels_need_the_key_that_they_have() -> None:
    pilgrim = UP | {"mode": "pilgrim", "rx": PENDING["rx"]}
    assert state(pilgrim) == "up"
    assert state(pilgrim | {"tx": PENDING["tx"]}) == "pending"
    shrine = UP | {"mode": "shrine", "tx": PENDING["tx"]}
    assert state(shrine) == "up"
    assert state(shrine | {"rx": UP["rx"] | {"last_s": 121.0}}) == "pending"


def test_a_paused_exchange_is_noted() -> None:
    paused = UP | {"exchange": {"state": "paused", "reason": "peer might be down"}}
    assert words.notes(paused) == ["key exchange paused: peer might be down"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (1.0, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (62.0, "1 min 2 s"),
        (3600.0, "1 h"),
        (90_061.0, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (5e15, "5000 TB")],
)
def test_scaled_numbers(number: float, text: str) -> None:
    assert words.scaled(number, "B") == text


@pytest.mark.parametrize(
    ("sandbox", "landlock", "said"),
    [
        ("on", 6, None),
        ("on", 0, "group 7: this kernel has no Landlock: filters alone close files"),
        ("off", 0, "group 7: not confined (--sandbox=off)"),
        ("log", 0, "group 7: not confined (--sandbox=log)"),
    ],
)
def test_a_group_that_is_not_confined(sandbox: str, landlock: int, said: str | None) -> None:
    group = RECORDED["group"] | {"pid": 7, "sandbox": sandbox, "landlock": landlock}
    assert words.confinement(group) == said
    for tunnels in ([UP], [UP] * 5):
        text = drawn({"tunnels": tunnels, "groups": [group]})
        assert ("confined" in text or "no Landlock" in text) == (said is not None)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tunnel6": "fd77::1/64"}, "10.77.0.1/30, fd77::1/64 on office"),
        ({"tap": True, "tunnel": None}, "Ethernet on office"),
        ({"tap": True, "tunnel": None, "bridge": "br0"}, "Ethernet on office, a port of br0"),
    ],
)
def test_the_device_and_what_is_on_it(changes: dict[str, Any], line: str) -> None:
    assert line in drawn({"tunnels": [{**UP, **changes}]})


ONE_WAY = [
    (
        {"mode": "pilgrim"},
        {"announced  3 keys in 240 announcements"},
        {"receiving", "heartbeat", "clock ", "exchange"},
    ),
    (
        {"mode": "shrine", "shroud": True, "tfc": True},
        {
            "announced  3 keys, the last announcement 8 s ago",
            "outside    masked (shroud), all of one size (TFC)",
        },
        {"sending", "exchange"},
    ),
]


@pytest.mark.parametrize(("changes", "shown", "left_out"), ONE_WAY, ids=["pilgrim", "shrine"])
def test_one_way_tunnels_show_what_they_have(
    changes: dict[str, Any], shown: set[str], left_out: set[str]
) -> None:
    exchange = {"completed": 3, "offers_sent": 240, "offer_received_s": 8.0}
    text = drawn({"tunnels": [{**UP, **changes, "exchange": {**UP["exchange"], **exchange}}]})
    assert {line for line in shown if line in text} == shown
    assert not {label for label in left_out if label in text}


@pytest.mark.parametrize(
    ("skew_s", "warning"),
    [
        (1750.0, None),
        (-1751.0, "your clock is 29 min 11 s ahead: the pilgrim's announcements are refused"),
    ],
)
def test_a_shrine_tolerates_half_an_hour(skew_s: float, warning: str | None) -> None:
    assert words.clock_warning(skew_s, "shrine") == warning
