"""Whether a tunnel works, from its part of a status answer."""

from __future__ import annotations

from typing import Any

ONLINE_S = 120.0
"""A tunnel is up while its last packet from the peer is younger, as for the reference's tools."""

STATES = ("up", "pending")


def state(tunnel: dict[str, Any]) -> str:
    """``up``: the keys that its mode has, and a packet lately; ``pending``: not (yet) so.

    A pilgrim hears nothing, so a key to send with is all that can be told of it.
    """
    last_s = tunnel["rx"]["last_s"]
    has_key, hears = tunnel["tx"]["spi"] is not None, tunnel["rx"]["spi"] is not None
    lately = hears and last_s is not None and last_s < ONLINE_S
    match tunnel.get("mode", "tunnel"):
        case "pilgrim":
            is_up = has_key
        case "shrine":
            is_up = lately
        case _:
            is_up = has_key and lately
    return "up" if is_up else "pending"


def can_send(tunnel: dict[str, Any]) -> bool:
    """Whether it has what it takes to send, which a shrine never does."""
    return tunnel["tx"]["spi"] is not None or tunnel.get("mode") == "shrine"
