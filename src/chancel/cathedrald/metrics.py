"""A cathedral's status as Prometheus metrics: a pure function of it.

Labels are bounded: reasons of ``Drop``, directions, bundles by the flocks they are for. No client
is named, and no address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chancel.daemon.metrics import Sample, counter, gauge, group_samples, text_of

TUNNELS = gauge("cathedral_tunnels", "Tunnel ends that are registered.")
LITURGIES = gauge("cathedral_liturgies", "Liturgies that are registered.")
FEDERATION = gauge("cathedral_federation", "Cathedrals that this one is federated with.")
PROBLEMS = gauge("cathedral_settings_problems", "Errors in the settings file as it is now.")
TAKEN = gauge("cathedral_settings_taken_seconds", "When settings were last taken, in Unix time.")
EXPIRY = gauge("cathedral_bundle_expiry_seconds", "When a bundle in force expires, in Unix time.")
SOUND = gauge("cathedral_bundle_ok", "1 if the bundle's file as it is now is in force.")
RELAYED = counter("cathedral_relayed_packets", "Packets to be relayed, and those that were.")
RELAYED_BYTES = counter("cathedral_relayed_bytes", "Bytes relayed.")
DATAGRAMS = counter("cathedral_datagrams", "UDP datagrams received and sent, of any kind.")
CALLS = counter("cathedral_calls", "System calls that moved them.")
DROPS = counter("cathedral_dropped_packets", "Datagrams dropped, by reason.")


def exposition(answer: dict[str, Any]) -> bytes:
    """The metrics of a cathedral as text."""
    return text_of(_samples(answer))


def _samples(answer: dict[str, Any]) -> Iterator[Sample]:
    yield from group_samples(answer["group"])
    for cathedral in answer["cathedrals"]:
        labels = {"cathedral": cathedral["instance"]}
        yield from _registered(cathedral, labels)
        yield from _settings(cathedral, labels)
        for direction, moved in cathedral["datagrams"].items():
            ours = labels | {"direction": direction}
            yield Sample(DATAGRAMS, ours, moved["datagrams"])
            yield Sample(CALLS, ours, moved["calls"])
        for reason, drop in sorted(cathedral["drops"].items()):
            yield Sample(DROPS, labels | {"reason": reason}, drop["count"])


def _registered(cathedral: dict[str, Any], labels: dict[str, str]) -> Iterator[Sample]:
    for where in ("local", "federated"):
        ours = labels | {"where": where}
        yield Sample(TUNNELS, ours, cathedral["tunnels"][where])
        yield Sample(LITURGIES, ours, cathedral["liturgies"][where])
    for kind, relayed in cathedral["relayed"].items():
        ours = labels | {"kind": kind}
        for direction in ("in", "out"):
            packets = relayed[f"packets_{direction}"]
            yield Sample(RELAYED, ours | {"direction": direction}, packets)
        yield Sample(RELAYED_BYTES, ours, relayed["bytes"])


def _settings(cathedral: dict[str, Any], labels: dict[str, str]) -> Iterator[Sample]:
    if "settings" not in cathedral:
        return
    yield Sample(FEDERATION, labels, len(cathedral["federation"]))
    yield Sample(PROBLEMS, labels, len(cathedral["settings"]["problems"]))
    yield Sample(TAKEN, labels, cathedral["settings"]["taken_wall"])
    for bundle in cathedral["bundles"]:
        ours = labels | {"flocks": "-".join(bundle["flocks"])}
        yield Sample(EXPIRY, ours, bundle["expires_wall"])
        yield Sample(SOUND, ours, int(not bundle["problem"]))
