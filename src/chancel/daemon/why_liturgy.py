"""Why a liturgy finds nobody: a pure function of its part of a status answer.

Of its tunnels ``why`` tells; here is what keeps tunnels from being made. The rules stand in causal
order, and a condition has to last before it is told.
"""

from __future__ import annotations

from typing import Any

from chancel.daemon.durations import ago, duration
from chancel.daemon.why_facts import CLOCK_TOLERANCE_S, LASTING_S, Finding

ANSWER_S = 3 * LASTING_S
"""Questions go out every five seconds: by now there were several."""

Liturgy = dict[str, Any]

_TROUBLES = {
    "secret-unreadable": ("cathedral_secret", "key unavailable"),
    "cosk-unreadable": ("cathedral_cosk", "key unavailable"),
    "remembrance-not-kept": ("cathedral_remembrance", "remembrance can't be kept"),
}


def findings(liturgy: Liturgy) -> list[Finding]:
    """What is wrong, the cause first."""
    rules = (_trouble, _name, _cannot_send, _clock, _silent, _alone)
    found = [finding for rule in rules if (finding := rule(liturgy)) is not None]
    return found[:1]


def tried(liturgy: Liturgy) -> str:
    """What was done so far."""
    return (
        f"{liturgy['questions']} questions were asked, the last answer came"
        f" {ago(liturgy['answered_s'])}"
    )


def _trouble(liturgy: Liturgy) -> Finding | None:
    trouble = liturgy["cathedral"]["trouble"]
    if trouble not in _TROUBLES:
        return None
    directive, logged = _TROUBLES[trouble]
    verb = "be written" if trouble == "remembrance-not-kept" else "be read"
    return Finding(
        trouble,
        f"the file of {directive} can't {verb}",
        f"the log of liturgy says why ({logged})",
    )


def _name(liturgy: Liturgy) -> Finding | None:
    if liturgy["cathedral"]["address"] is not None:
        return None
    return Finding(
        "cathedral-unknown",
        "no name of a cathedral can be looked up",
        "check the machine's DNS (getent ahostsv4 NAME) and the cathedral lines; it is tried again"
        " every 10 s",
    )


def _cannot_send(liturgy: Liturgy) -> Finding | None:
    if liturgy["send_error"] is None:
        return None
    return Finding(
        "cannot-send",
        f"this machine refuses to send to {liturgy['cathedral']['address']}"
        f" ({liturgy['send_error']})",
        "check its network and its firewall: UDP to the cathedral has to be allowed",
    )


def _clock(liturgy: Liturgy) -> Finding | None:
    skew_s = liturgy["cathedral"]["clock_skew_s"]
    if skew_s is None or abs(skew_s) <= CLOCK_TOLERANCE_S:
        return None
    side = "behind" if skew_s > 0 else "ahead of"
    return Finding(
        "cathedral-clock",
        f"your clock is {duration(abs(skew_s))} {side} the cathedral's, so each refuses what the"
        " other says",
        f"set the clock that is wrong (timedatectl set-ntp true); {CLOCK_TOLERANCE_S:.0f} s are"
        " tolerated",
    )


def _silent(liturgy: Liturgy) -> Finding | None:
    """Each question is answered, whoever is there."""
    answered_s, since_s = liturgy["answered_s"], liturgy["cathedral"]["since_s"] or 0.0
    silent_s = since_s if answered_s is None else min(answered_s, since_s)
    if silent_s < ANSWER_S:
        return None
    others = liturgy["cathedral"]["known"] - 1
    return Finding(
        "cathedral-silent",
        f"the cathedral {liturgy['cathedral']['address']} hasn't answered for"
        f" {duration(silent_s)}"
        + (f"; {others} others are known" if others > 0 else "; no other is known"),
        "check that it runs, that its UDP port is open on the way, and both clocks; its settings"
        " need an allow line with this end's cathedral_id and spi. Tunnels stay as they are"
        " meanwhile",
    )


def _alone(liturgy: Liturgy) -> Finding | None:
    if liturgy["members"] or liturgy["answered_s"] is None:
        return None
    if liturgy["tunnels"] or (liturgy["cathedral"]["since_s"] or 0.0) < ANSWER_S:
        return None
    hidden = "; this device is hidden, and sees none that are" if liturgy["hidden"] else ""
    return Finding(
        "nobody-else",
        f"the cathedral answers and names nobody else of group {liturgy['group']}{hidden}",
        "start others of the same flock, domain and liturgy_group, at this cathedral or one that"
        " is federated with it",
    )
