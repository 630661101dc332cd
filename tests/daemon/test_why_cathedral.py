"""Why a tunnel with a cathedral doesn't work, or soon won't."""

from __future__ import annotations

from typing import Any

import pytest

from chancel.daemon.records import AMBRY_REFUSALS, TROUBLES
from chancel.daemon.why import explain
from chancel.wire.drop import Drop
from tests.daemon.test_why import DOWN, UP, drops

FINE: dict[str, Any] = {
    "address": "198.51.100.1:2333",
    "known": 1,
    "since_s": 300.0,
    "heard_s": 2.0,
    "silent_s": None,
    "answers_always": False,
    "peer_announced_s": 2.0,
    "candidate": None,
    "nat_detection": True,
    "wants_ambry": False,
    "generation": None,
    "ambry_s": None,
    "clock_skew_s": 0.0,
    "trouble": None,
    "trouble_s": None,
}
RELAYED = UP | {"peer": FINE["address"], "path": "relay", "cathedral": FINE}
LOST = DOWN | {
    "peer": FINE["address"],
    "path": "relay",
    "cathedral": FINE,
    "traffic": UP["traffic"],
}


def told(tunnel: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    """Code and sentence of each finding; the changes are to what is said of the cathedral."""
    explained = explain(tunnel | {"cathedral": FINE | changes})
    assert all(finding.do for finding in explained.findings)
    return [(finding.code, finding.says) for finding in explained.findings]


NEVER = {"heard_s": None, "peer_announced_s": None}


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        (
            {"trouble": "secret-unreadable"} | NEVER,
            "cathedral-key-unreadable",
            "the file of cathedral_secret can't be read",
        ),
        (
            {"trouble": "cosk-unreadable"} | NEVER,
            "cathedral-key-unreadable",
            "the file of cathedral_cosk can't be read",
        ),
        (
            {"trouble": "kek-unreadable", "wants_ambry": True},
            "cathedral-key-unreadable",
            "the file of kek can't be read",
        ),
        (
            {"address": None, "known": 0, "since_s": None} | NEVER,
            "cathedral-unknown",
            "no name of a cathedral can be looked up",
        ),
        (
            {"clock_skew_s": -11.0},
            "cathedral-clock",
            "your clock is 11 s ahead of the cathedral's, so each refuses what the other says",
        ),
        (
            {"silent_s": 50.0, "heard_s": 50.0},
            "cathedral-silent",
            "the cathedral 198.51.100.1:2333 has been silent for 50 s; no other is known",
        ),
        (
            {"silent_s": 50.0, "known": 3},
            "cathedral-silent",
            "the cathedral 198.51.100.1:2333 has been silent for 50 s; 2 others are known",
        ),
        (
            {"since_s": 16.0} | NEVER,
            "cathedral-no-answer",
            "the cathedral 198.51.100.1:2333 hasn't answered once in 16 s: it can't be reached, its"
            " clock and ours differ by more than 10 s, or it doesn't know this end, or the peer"
            " isn't registered there (it answers no lonely end)",
        ),
        (
            {"since_s": 16.0, "answers_always": True} | NEVER,
            "cathedral-no-answer",
            "the cathedral 198.51.100.1:2333 hasn't answered once in 16 s: it can't be reached, its"
            " clock and ours differ by more than 10 s, or it doesn't know this end",
        ),
        (
            {"wants_ambry": True, "peer_announced_s": None},
            "no-ambry",
            "the cathedral answers and brings no ambry, so there is no secret to begin with",
        ),
        (
            {"peer_announced_s": None},
            "peer-not-registered",
            "the cathedral answers and doesn't know the peer (last told of it never)",
        ),
        (
            {"peer_announced_s": 100.0},
            "peer-not-registered",
            "the cathedral answers and doesn't know the peer (last told of it 1 min 40 s ago)",
        ),
        (
            {"trouble": "cathedral-in-vain", "trouble_s": 9.0, "known": 2},
            "cathedral-in-vain",
            "a cathedral said for minutes that the peer is there, and nothing of the peer came"
            " through it, so it was left 9 s ago for 198.51.100.1:2333",
        ),
        (
            {},
            "no-answer",
            "no answer: 37 offers sent through the cathedral in 40 s, and nothing came back",
        ),
    ],
)
def test_what_keeps_it_from_being_up(changes: dict[str, Any], code: str, says: str) -> None:
    assert told(LOST, **changes) == [(code, says)]


@pytest.mark.parametrize("trouble", [*map(str, AMBRY_REFUSALS), "ambry-not-kept"])
def test_an_ambry_of_no_use(trouble: str) -> None:
    changes = {"trouble": trouble, "wants_ambry": True, "peer_announced_s": None}
    for tunnel in (LOST, RELAYED):
        ((code, says),) = told(tunnel, **changes)
        assert code == trouble
        assert "ambry" in says


def test_every_trouble_has_words() -> None:
    for trouble in TROUBLES[1:]:
        assert told(RELAYED, trouble=trouble), trouble


def test_a_promise_in_vain_hides_nothing_that_the_peer_sends() -> None:
    """With another secret at the peer no cathedral can keep its promise."""
    lost = LOST | {"drops_by_process": drops("chapel", Drop.OFFER_BAD_TAG, 9, 1.0)}
    ((code, _),) = told(lost, trouble="cathedral-in-vain", trouble_s=9.0)
    assert code == "wrong-secret"


def test_a_secret_that_has_yet_to_come_is_no_unreadable_one() -> None:
    """Offers are refused until then for want of it."""
    waiting = LOST | {"drops_by_process": drops("chapel", Drop.NO_SECRET, 9, 1.0)}
    assert told(waiting, wants_ambry=True) == [
        (
            "no-ambry",
            "the cathedral answers and brings no ambry, so there is no secret to begin with",
        )
    ]
    assert told(waiting, wants_ambry=True, since_s=3.0) != [
        ("secret-unreadable", "the shared secret can't be read")
    ]
    came = {"wants_ambry": True, "generation": "00000007"}
    unreadable = ("secret-unreadable", "the shared secret can't be read")
    assert told(waiting, **came, ambry_s=5.0) == [unreadable]
    assert unreadable not in told(waiting, **came, ambry_s=0.5)
    up = UP | {"drops_by_process": drops("chapel", Drop.NO_SECRET, 9, 70.0)}
    assert told(up, **came, ambry_s=60.0) == []


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"silent_s": 50.0, "peer_announced_s": 60.0}, ["cathedral-silent"]),
        ({"clock_skew_s": 30.0}, ["cathedral-clock"]),
        ({"trouble": "remembrance-not-kept"}, ["remembrance-not-kept"]),
        ({"trouble": "ambry-expired", "silent_s": 9.0}, ["cathedral-silent", "ambry-expired"]),
        ({"peer_announced_s": None}, []),
        ({"address": None}, ["cathedral-unknown"]),
    ],
)
def test_what_is_missed_as_soon_as_it_is_needed(changes: dict[str, Any], codes: list[str]) -> None:
    """A tunnel that is up, directly, whatever its cathedrals do."""
    direct = UP | {"path": "direct"}
    assert [code for code, _ in told(direct, **changes)] == codes


def test_conditions_have_to_last() -> None:
    young = LOST | {"exchange": LOST["exchange"] | {"trying_s": 2.0}}
    assert told(young, since_s=3.0, wants_ambry=True, **NEVER) == []


def test_what_was_tried() -> None:
    tried = explain(RELAYED | {"cathedral": FINE | {"candidate": "192.0.2.7:2333"}}).tried
    assert (
        "cathedral 198.51.100.1:2333 for 5 min, last heard 2 s ago; it told of the peer 2 s ago"
        in tried
    )
    assert "192.0.2.7:2333 is tried, in case the peer can be reached there directly" in tried
    tried = explain(RELAYED | {"cathedral": FINE | {"nat_detection": False}}).tried
    assert "no direct path is sought: there is no cathedral_nat_port line" in tried
    assert any("tells no address of the peer's own" in line for line in explain(RELAYED).tried)
    for changes in ({"since_s": 20.0}, {"peer_announced_s": None}, {"candidate": "192.0.2.7:1"}):
        tried = explain(RELAYED | {"cathedral": FINE | changes}).tried
        assert not any("tells no address of the peer's own" in line for line in tried)
    assert explain(RELAYED).path == ("198.51.100.1:2333 (relay) for 5 min 2 s, last proved 3 s ago")


@pytest.mark.parametrize(("known", "asked"), [(1, "the cathedral"), (3, "any of 3 cathedrals")])
def test_nothing_ever_comes_in(known: int, asked: str) -> None:
    silent = LOST["traffic"] | {"rx": LOST["traffic"]["rx"] | {"datagrams": 0}}
    never = NEVER | {"known": known, "silent_s": 20.0}
    ((code, says),) = told(LOST | {"traffic": silent}, since_s=16.0, **never)
    assert code == "no-path"
    out = LOST["traffic"]["tx"]["datagrams"]
    assert says == (
        f"no path: {out} datagrams went out, and not one has come in, neither from {asked} nor"
        " from the peer"
    )
    ((code, _),) = told(LOST, since_s=16.0, **never)
    assert code == "cathedral-silent", "something came in"
    findings = told(LOST | {"traffic": silent}, since_s=14.0, **NEVER)
    assert "no-path" not in [code for code, _ in findings], "it is too early to say"
