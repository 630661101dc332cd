"""Why a liturgy finds nobody: a pure function of its part of a status answer.

Of its tunnels ``why`` tells; here is what keeps tunnels from being made. The rules stand in causal
order, and a condition has to last before it is told.
"""

from __future__ import annotations

from typing import Any

from chancel.daemon.durations import ago, duration
from chancel.daemon.why_cathedral import ANSWER_S, silent, skewed, unknown, unreadable
from chancel.daemon.why_facts import Finding

Liturgy = dict[str, Any]

_KEYS = {"secret-unreadable": "cathedral_secret", "cosk-unreadable": "cathedral_cosk"}


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
    if trouble in _KEYS:
        return unreadable(trouble, _KEYS[trouble], "liturgy")
    if trouble != "remembrance-not-kept":
        return None
    return Finding(
        trouble,
        "the file of cathedral_remembrance can't be written",
        "the log of liturgy says why (remembrance can't be kept)",
    )


def _name(liturgy: Liturgy) -> Finding | None:
    return unknown(liturgy["cathedral"])


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
    return skewed(liturgy["cathedral"])


def _silent(liturgy: Liturgy) -> Finding | None:
    """Each question is answered, whoever is there."""
    answered_s, since_s = liturgy["answered_s"], liturgy["cathedral"]["since_s"] or 0.0
    silent_s = since_s if answered_s is None else min(answered_s, since_s)
    if silent_s < ANSWER_S:
        return None
    return silent(
        liturgy["cathedral"],
        f"hasn't answered for {duration(silent_s)}",
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
