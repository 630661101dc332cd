"""The metrics of a liturgy, beside those of its tunnels (``metrics``): who is there, who came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from chancel.daemon import metrics
from chancel.daemon.health import STATES, state
from chancel.daemon.metrics import Labels, Sample, counter, gauge

MEMBERS = gauge("liturgy_members", "Devices that the cathedral named last.")
TUNNELS = gauge("liturgy_tunnels", "Tunnels to devices, by state.")
JOINS = counter("liturgy_joins", "Tunnels that were made.")
LEAVES = counter("liturgy_leaves", "Tunnels that were taken down while the group ran.")
QUESTIONS = counter("liturgy_questions", "How often the cathedral was asked.")
ANSWER_AGE = gauge("liturgy_answer_age_seconds", "Since the cathedral answered last.")
DROPS = counter("liturgy_dropped_packets", "Datagrams dropped by the process liturgy, by reason.")


def exposition(answer: dict[str, Any]) -> bytes:
    """The metrics of tunnels, and of their liturgy, as text."""
    return metrics.exposition(answer) + metrics.text_of(_samples(answer))


def _samples(answer: dict[str, Any]) -> Iterator[Sample]:
    states = Counter(map(state, answer["tunnels"]))
    for liturgy in answer["liturgies"]:
        labels: Labels = {"liturgy": liturgy["instance"]}
        yield Sample(MEMBERS, labels, len(liturgy["members"]))
        for each in STATES:
            yield Sample(TUNNELS, labels | {"state": each}, states[each])
        yield Sample(JOINS, labels, liturgy["joins"])
        yield Sample(LEAVES, labels, liturgy["leaves"])
        yield Sample(QUESTIONS, labels, liturgy["questions"])
        yield Sample(ANSWER_AGE, labels, liturgy["answered_s"])
        for reason, count in sorted(liturgy["drops"].items()):
            yield Sample(DROPS, labels | {"reason": reason}, count)
