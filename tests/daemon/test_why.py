"""Why a tunnel doesn't work: a table of what status may say, and what follows from it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from chancel.daemon.why import explain
from chancel.wire.drop import Drop

UP: dict[str, Any] = {
    "instance": "office",
    "mode": "tunnel",
    "device": "office",
    "local": "0.0.0.0:2333",
    "peer": "192.0.2.7:2333",
    "path": "configured",
    "path_since_s": 302.0,
    "path_proved_s": 3.0,
    "networks": ["10.77.0.0/30", "172.16.0.0/24"],
    "mtu": 1422,
    "mtu_configured": 1422,
    "mtu_discovery": False,
    "mtu_lost_s": None,
    "tx": {"spi": "00000001", "age_s": 302.0, "last_s": 1.0},
    "rx": {"spi": "00000002", "age_s": 302.0, "last_s": 3.0},
    "exchange": {
        "state": "idle",
        "reason": "",
        "completed": 1,
        "completed_s": 302.0,
        "trying_s": None,
        "offers_sent": 8,
        "offer_received_s": 300.0,
    },
    "clock_skew_s": 0.0,
    "traffic": {"rx": {"datagrams": 900}, "tx": {"datagrams": 950}},
    "send_error": None,
    "inner_refused": None,
    "drops_by_process": {},
}
NO_KEY = {"spi": None, "age_s": None, "last_s": None}
TRYING = {
    "state": "offered",
    "reason": "no keys",
    "completed": 0,
    "completed_s": None,
    "trying_s": 40.0,
    "offers_sent": 37,
    "offer_received_s": None,
}
DOWN: dict[str, Any] = UP | {
    "path_since_s": None,
    "path_proved_s": None,
    "tx": NO_KEY,
    "rx": NO_KEY,
    "exchange": TRYING,
    "clock_skew_s": None,
    "traffic": {"rx": {"datagrams": 0}, "tx": {"datagrams": 60}},
}


def drops(process: str, reason: Drop, count: int, last_s: float) -> dict[str, Any]:
    return {process: {str(reason): {"count": count, "last_s": last_s}}}


def told(tunnel: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    """Code and sentence of each finding."""
    changed = copy.deepcopy(tunnel) | changes
    return [(finding.code, finding.says) for finding in explain(changed).findings]


def test_nothing_is_wrong() -> None:
    assert told(UP) == []


BAD_TAG = drops("chapel", Drop.OFFER_BAD_TAG, 40, 1.0)
REFUSED = drops("heaven-tx", Drop.INNER_ADDRESS, 7, 1.0)
ADDRESSES = {"source": "172.17.0.1", "target": "10.77.0.1"}


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        (
            {"drops_by_process": drops("chapel", Drop.NO_SECRET, 1, 2.0)},
            "secret-unreadable",
            "the shared secret can't be read",
        ),
        (
            {
                "send_error": "ENETUNREACH",
                "drops_by_process": drops("purgatory-tx", Drop.SEND_FAILED, 9, 1.0),
            },
            "cannot-send",
            "this machine has no route to 192.0.2.7:2333 (ENETUNREACH)",
        ),
        (
            {
                "send_error": "EPERM",
                "drops_by_process": drops("purgatory-tx", Drop.SEND_FAILED, 9, 1.0),
            },
            "cannot-send",
            "a firewall of this machine refuses what we send to 192.0.2.7:2333 (EPERM)",
        ),
        (
            {"peer": None, "path": "unknown", "exchange": TRYING | {"trying_s": None}},
            "peer-unknown",
            "the peer's address is unknown and has to be learnt from its first offer"
            " (0 datagrams came)",
        ),
        (
            {"peer": None, "path": "unknown", "exchange": TRYING | {"trying_s": None}}
            | {"drops_by_process": drops("confess", Drop.UNKNOWN_SPI, 3, 1.0)},
            "not-understood",
            "datagrams arrive and none can be opened: the peer still uses keys from before this end"
            " was started, or both ends aren't set up alike",
        ),
        (
            {"peer": None, "path": "unknown", "exchange": TRYING | {"trying_s": None}}
            | {"drops_by_process": drops("purgatory-rx", Drop.TOO_SHORT, 1, 1.0)},
            "peer-unknown",
            "the peer's address is unknown and has to be learnt from its first offer"
            " (0 datagrams came)",
        ),
        (
            {
                "clock_skew_s": 43.0,
                "drops_by_process": drops("chapel", Drop.OFFER_TIME, 4, 1.0),
            },
            "clock",
            "your clock is 43 s behind the peer's, so each end refuses the other's offers",
        ),
        (
            {
                "clock_skew_s": -3700.0,
                "drops_by_process": drops("chapel", Drop.OFFER_TIME, 4, 1.0),
            },
            "clock",
            "your clock is 1 h 1 min ahead of the peer's, so each end refuses the other's offers",
        ),
        (
            {
                "mode": "shrine",
                "clock_skew_s": 3700.0,
                "drops_by_process": drops("shrine", Drop.OFFER_TIME, 4, 1.0),
            },
            "clock",
            "your clock is 1 h 1 min behind the peer's, so its announcements are refused",
        ),
        (
            {"drops_by_process": BAD_TAG, "traffic": {"rx": {"datagrams": 40}}},
            "wrong-secret",
            "offers arrive and none is authentic: the two ends have different secrets or flocks",
        ),
        (
            {},
            "no-answer",
            "no answer: 37 offers sent to 192.0.2.7:2333 in 40 s, and nothing came back",
        ),
        (
            {"drops_by_process": drops("confess", Drop.UNKNOWN_SPI, 40, 1.0)},
            "not-understood",
            "37 offers sent to 192.0.2.7:2333 in 40 s; what arrives here is not understood",
        ),
        (
            {"exchange": TRYING | {"offer_received_s": 1.0}},
            "not-heard",
            "the peer's offers arrive, and none of ours was answered for 40 s",
        ),
        (
            {
                "tx": {"spi": "00000001", "age_s": 25.0, "last_s": 1.0},
                "rx": {"spi": "00000002", "age_s": 25.0, "last_s": None},
                "exchange": UP["exchange"],
            },
            "no-traffic",
            "keys were agreed 25 s ago, and the last authentic packet came never",
        ),
        (
            {"mode": "shrine", "exchange": TRYING | {"trying_s": None}},
            "no-announcement",
            "no pilgrim has announced a key yet (0 datagrams came)",
        ),
    ],
)
def test_what_keeps_a_tunnel_down(changes: dict[str, Any], code: str, says: str) -> None:
    assert told(DOWN, **changes) == [(code, says)]


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        (
            {"drops_by_process": drops("heaven-tx", Drop.DEVICE_WRITE_FAILED, 7, 1.0)},
            "device-down",
            "the device office takes no packets: it is down",
        ),
        (
            {"drops_by_process": REFUSED, "inner_refused": ADDRESSES},
            "not-accepted",
            "packets from 172.17.0.1 to 10.77.0.1 are refused: only 10.77.0.0/30, 172.16.0.0/24"
            " may appear inside",
        ),
        (
            {"drops_by_process": drops("heaven-tx", Drop.INNER_PROTOCOL, 7, 1.0)},
            "protocol-not-carried",
            "the peer sends IP protocols that a tunnel doesn't carry",
        ),
        (
            {"drops_by_process": drops("purgatory-tx", Drop.SEND_TOO_LARGE, 7, 1.0)},
            "mtu-too-large",
            "packets of the tunnel's MTU of 1422 don't fit the network outside",
        ),
        (
            {"mtu_lost_s": 12.0, "mtu_discovery": True},
            "mtu-unknown",
            "no MTU was acknowledged down to the smallest, 12 s ago: large packets are lost on the"
            " way, or the peer doesn't answer probes",
        ),
    ],
)
def test_what_is_lost_in_a_tunnel_that_is_up(changes: dict[str, Any], code: str, says: str) -> None:
    assert told(UP, **changes) == [(code, says)]


def test_the_lines_that_would_let_packets_in() -> None:
    (finding,) = explain(UP | {"drops_by_process": REFUSED, "inner_refused": ADDRESSES}).findings
    assert finding.do.startswith("if that is wanted: accept 172.17.0.1/32 (or the network")


def test_a_cause_hides_what_follows_from_it() -> None:
    everything = (
        drops("chapel", Drop.NO_SECRET, 1, 2.0)
        | drops("purgatory-tx", Drop.SEND_FAILED, 9, 1.0)
        | REFUSED
    )
    changes = {"send_error": "EPERM", "inner_refused": ADDRESSES, "drops_by_process": everything}
    assert [code for code, _ in told(DOWN, **changes)] == ["secret-unreadable"]
    del everything["chapel"]
    assert [code for code, _ in told(DOWN, **changes)] == ["cannot-send"]
    del everything["purgatory-tx"]
    assert [code for code, _ in told(DOWN, **changes)] == ["no-answer"]
    assert [code for code, _ in told(UP, **changes)] == ["not-accepted"]


def test_independent_losses_are_all_told() -> None:
    both = REFUSED | drops("purgatory-tx", Drop.SEND_TOO_LARGE, 7, 1.0)
    codes = [code for code, _ in told(UP, drops_by_process=both, inner_refused=ADDRESSES)]
    assert codes == ["not-accepted", "mtu-too-large"]


@pytest.mark.parametrize(
    ("tunnel", "changes"),
    [
        pytest.param(DOWN, {"exchange": TRYING | {"trying_s": 3.0}}, id="just begun"),
        pytest.param(
            UP, {"drops_by_process": drops("chapel", Drop.OFFER_BAD_TAG, 99, 1.0)}, id="strangers"
        ),
        pytest.param(
            UP,
            {"drops_by_process": drops("purgatory-tx", Drop.SEND_FAILED, 2, 1.0)}
            | {"send_error": "ENETUNREACH"},
            id="a route that flapped",
        ),
        pytest.param(
            UP,
            {
                "drops_by_process": drops("heaven-tx", Drop.INNER_ADDRESS, 9, 91.0),
                "inner_refused": ADDRESSES,
            },
            id="long ago",
        ),
        pytest.param(
            UP,
            {
                "drops_by_process": drops("heaven-tx", Drop.INNER_ADDRESS, 2, 1.0),
                "inner_refused": ADDRESSES,
            },
            id="too few",
        ),
        pytest.param(UP, {"clock_skew_s": 43.0}, id="a clock that harms nobody now"),
        pytest.param(
            UP,
            {
                "mtu_discovery": True,
                "drops_by_process": drops("purgatory-tx", Drop.SEND_TOO_LARGE, 9, 1.0),
            },
            id="probes",
        ),
        pytest.param(UP, {"exchange": UP["exchange"] | {"trying_s": 30.0}}, id="a slow rekey"),
        pytest.param(UP, {"mode": "pilgrim", "rx": NO_KEY}, id="a pilgrim hears nothing"),
    ],
)
def test_what_is_no_reason_to_worry(tunnel: dict[str, Any], changes: dict[str, Any]) -> None:
    assert told(tunnel, **changes) == []


def test_where_the_path_is_and_what_was_tried() -> None:
    up, down = explain(UP), explain(DOWN)
    assert up.path == "192.0.2.7:2333 (configured) for 5 min 2 s, last proved 3 s ago"
    assert up.tried == (
        "1 key exchanges completed, the last 5 min 2 s ago",
        "900 datagrams came, the last authentic offer 5 min ago, the last authentic packet 3 s ago",
    )
    assert down.path == (
        "192.0.2.7:2333 (configured), never proved: nothing authentic has come from anywhere"
    )
    assert down.tried == (
        "37 offers sent in 40 s to get a key (no keys; offered)",
        "0 datagrams came, the last authentic offer never, the last authentic packet never",
    )
    assert explain(DOWN | {"peer": None}).path == "the peer's address is unknown"
