"""Who has a tunnel to whom, and by which way: from the status of one machine, or of several.

The two ends of one tunnel know each other by what they have in common: each sends under the SPI
that the other receives under.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any

from chancel.daemon.health import state

Answer = dict[str, Any]


class Way(enum.StrEnum):
    """How what one end sends gets to the other."""

    DIRECT = "direct"
    RELAY = "relay"
    NONE = "none"
    """The tunnel isn't up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One tunnel. ``via`` is the cathedral that relays it; rates are what leaves ``left``."""

    left: str
    right: str
    tunnels: tuple[str, ...]
    way: Way
    via: str | None
    sent_bps: float
    received_bps: float


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """``machines`` are those whose status is known, ``peers`` the others; lines lead between."""

    machines: tuple[str, ...]
    peers: tuple[str, ...]
    cathedrals: tuple[str, ...]
    lines: tuple[Line, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return dataclasses.asdict(self)


def chart(answers: Mapping[str, Answer]) -> Network:
    """The network as these machines know it: their status answers by their names."""
    ends = [(name, tunnel) for name, answer in answers.items() for tunnel in answer["tunnels"]]
    receivers = {
        tunnel["rx"]["spi"]: number
        for number, (_, tunnel) in enumerate(ends)
        if tunnel["rx"]["spi"] is not None
    }
    drawn: set[int] = set()
    lines: list[Line] = []
    for number, (name, tunnel) in enumerate(ends):
        if number in drawn:
            continue
        other = receivers.get(tunnel["tx"]["spi"])
        mutual = other is not None and ends[other][1]["tx"]["spi"] == tunnel["rx"]["spi"]
        if other is None or other == number or not mutual:
            lines.append(_line(name, tunnel, _stranger(tunnel)))
        else:
            drawn.add(other)
            far_name, far = ends[other]
            lines.append(_line(name, tunnel, far_name, far["instance"]))
    machines = tuple(answers)
    peers = _unique(line.right for line in lines if line.right not in machines)
    return Network(machines, peers, _cathedrals(answers, lines), tuple(lines))


def _line(name: str, tunnel: Answer, peer: str, *instances: str) -> Line:
    rates = tunnel["rates"]
    way = _way(tunnel)
    return Line(
        left=name,
        right=peer,
        tunnels=_unique((tunnel["instance"], *instances)),
        way=way,
        via=_cathedral(tunnel) if way is Way.RELAY else None,
        sent_bps=rates["tx_bps"] or 0.0,
        received_bps=rates["rx_bps"] or 0.0,
    )


def _way(tunnel: Answer) -> Way:
    if state(tunnel) != "up":
        return Way.NONE
    return Way.RELAY if tunnel["path"] == "relay" else Way.DIRECT


def _stranger(tunnel: Answer) -> str:
    """A name for a peer whose own status we don't have; in a liturgy it has a number."""
    if (device := tunnel.get("peer_device")) is not None:
        return f"device {device:02x}"
    return str(tunnel["descr"] or f"peer of {tunnel['instance']}")


def _cathedrals(answers: Mapping[str, Answer], lines: Iterable[Line]) -> tuple[str, ...]:
    """Those that relay, and those that are in use."""
    used = [
        cathedral
        for answer in answers.values()
        for tunnel in answer["tunnels"]
        if (cathedral := _cathedral(tunnel)) is not None
    ]
    relaying = [line.via for line in lines if line.via is not None]
    return _unique([*relaying, *used])


def _cathedral(tunnel: Answer) -> str | None:
    told = tunnel.get("cathedral")  # a group of an earlier release says nothing of it
    return told["address"] if told else None


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
