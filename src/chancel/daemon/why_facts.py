"""What the rules of ``why`` are made of: findings, and facts of a status answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chancel.wire.drop import Drop

LASTING_S = 5.0
"""An exchange that takes longer has a reason: with both ends there it takes a second."""

SILENCE_S = 40.0
"""Heartbeats come every 15 seconds, so two of them are missing."""

RECENT_S = 90.0
"""A drop that is older says nothing about now. Longer than the pause after failed exchanges."""

SEVERAL = 3
"""Packets; one alone may have been anybody's."""

CLOCK_TOLERANCE_S = 10.0
"""Protocol section 7.3."""

KEEPERS = ("chapel", "pilgrim", "shrine")

Tunnel = dict[str, Any]


class Finding(NamedTuple):
    """Something that is wrong: a word for programs, a sentence, and what a person can do."""

    code: str
    says: str
    do: str


Rule = Callable[[Tunnel], Finding | None]


def hears(tunnel: Tunnel) -> bool:
    """Whether authentic packets come, as heartbeats do at least. A pilgrim needs none."""
    last_s = tunnel["rx"]["last_s"]
    if tunnel["mode"] == "pilgrim":
        return tunnel["tx"]["spi"] is not None and not recent(
            tunnel, ("purgatory-tx",), Drop.SEND_FAILED, within_s=SILENCE_S
        )
    return tunnel["rx"]["spi"] is not None and last_s is not None and last_s < SILENCE_S


def offer_came(tunnel: Tunnel) -> bool:
    """Whether an authentic offer came lately."""
    came_s = tunnel["exchange"]["offer_received_s"]
    return came_s is not None and came_s < SILENCE_S


def rejected(tunnel: Tunnel) -> int:
    """What came from the network lately and was refused there, or in the keeper."""
    reasons = [Drop(name) for each in tunnel["drops_by_process"].values() for name in each]
    return recent(tunnel, ("purgatory-rx", "confess", *KEEPERS), *reasons)


def recent(
    tunnel: Tunnel, processes: tuple[str, ...], *reasons: Drop, within_s: float = RECENT_S
) -> int:
    """How often some processes dropped packets for those of the reasons that happened lately."""
    return sum(
        drop["count"]
        for process in processes
        for reason, drop in tunnel["drops_by_process"].get(process, {}).items()
        if reason in reasons and drop["last_s"] is not None and drop["last_s"] <= within_s
    )
