"""What a tunnel's figures mean, in words. Pure functions over the status answer of a group."""

from __future__ import annotations

from typing import Any

from chancel.daemon.durations import ago, duration
from chancel.daemon.offloads import SWITCHES

OFFER_VALIDITY_S = 10.0
"""A peer refuses offers whose time differs more from its own clock (protocol section 7.3)."""

ANNOUNCEMENT_VALIDITY_S = 1750.0
"""The same for what a pilgrim announces to its shrine (section 12.4)."""

CLOCK_WARNING_S = 2.0


def clock_warning(skew_s: float | None, mode: str = "tunnel") -> str | None:
    """What a difference of clocks does; ``skew_s`` is the peer's time minus ours."""
    if skew_s is None or abs(skew_s) < CLOCK_WARNING_S:
        return None
    clock = f"your clock is {duration(abs(skew_s))} {'behind' if skew_s > 0 else 'ahead'}"
    if mode == "shrine":
        refused = abs(skew_s) > ANNOUNCEMENT_VALIDITY_S
        return f"{clock}: the pilgrim's announcements are refused" if refused else None
    if abs(skew_s) > OFFER_VALIDITY_S:
        return f"{clock}: the peer refuses your offers"
    return f"{clock}: beyond {OFFER_VALIDITY_S:.0f} s the peer would refuse your offers"


def notes(tunnel: dict[str, Any]) -> list[str]:
    """What somebody should know or do, the most important first."""
    warning = clock_warning(tunnel["clock_skew_s"], tunnel["mode"])
    found = [] if warning is None else [warning]
    exchange = tunnel["exchange"]
    if exchange["state"] == "paused":
        found.append(f"key exchange paused: {exchange['reason']}")
    if tunnel["path"] == "unknown":
        found.append("the peer's address is unknown: it has to send first")
    return found


def keys(tunnel: dict[str, Any]) -> str:
    """The kind and the age of the keys in use: ``hybrid ML-KEM-1024 + X25519, 41 s ago``."""
    ages = [side["age_s"] for side in (tunnel["tx"], tunnel["rx"]) if side["age_s"] is not None]
    if tunnel["post_quantum"] is None or not ages:
        return "none yet"
    return f"{tunnel['post_quantum']}, {ago(min(ages))}"


def outside(tunnel: dict[str, Any]) -> str:
    """How datagrams are made to tell less; empty where they aren't."""
    hidden = {"masked (shroud)": tunnel["shroud"], "all of one size (TFC)": tunnel["tfc"]}
    return ", ".join(each for each, is_on in hidden.items() if is_on)


def cathedral(tunnel: dict[str, Any]) -> str:
    """The cathedral in use, and the ambry that came from it; empty for a tunnel without."""
    told = tunnel.get("cathedral")  # a group of an earlier release says nothing of it
    if told is None:
        return ""
    if told["address"] is None:
        return "no name can be looked up"
    words = f"{told['address']}, heard {ago(told['heard_s'])}"
    if told["silent_s"] is not None:
        words += f", silent for {duration(told['silent_s'])}"
    if told["generation"] is not None:
        words += f"; ambry {told['generation']} {ago(told['ambry_s'])}"
    return words


def announced(tunnel: dict[str, Any]) -> str:
    """The keys that a pilgrim announced, or a shrine heard of; empty in tunnel mode."""
    exchange = tunnel["exchange"]
    count = f"{exchange['completed']} key{'' if exchange['completed'] == 1 else 's'}"
    if tunnel["mode"] == "pilgrim":
        return f"{count} in {exchange['offers_sent']} announcements"
    if tunnel["mode"] == "shrine":
        return f"{count}, the last announcement {ago(exchange['offer_received_s'])}"
    return ""


def scaled(number: float, unit: str) -> str:
    """A number with a decimal prefix: ``1.42 Gbit/s``, ``18.3 MB``, ``512 B``."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 999.5 or prefix == "T":
            break
        number /= 1000
    return f"{number:.3g} {prefix}{unit}" if number < 999.5 else f"{number:.0f} {prefix}{unit}"


def rate(bits_per_s: float, packets_per_s: float) -> str:
    """``1.42 Gbit/s, 118 kpkt/s``; ``idle`` without packets."""
    if not packets_per_s:
        return "idle"
    return f"{scaled(bits_per_s, 'bit/s')}, {scaled(packets_per_s, 'pkt/s')}"


def offloads(states: dict[str, str]) -> str:
    """``on: checksum, tso; refused: uso; broken: coalesce_tcp6``: a switch where all of it is in
    one state, else its parts.
    """
    by_state: dict[str, list[str]] = {"on": []}
    for switch, members in SWITCHES.items():
        parts = [name for each in members if (name := str(each.name).lower()) in states]
        alike = len({states[name] for name in parts}) == 1
        for name in [switch] if alike else parts:
            by_state.setdefault(states[parts[0] if alike else name], []).append(name)
    return "; ".join(f"{state}: {', '.join(names) or 'none'}" for state, names in by_state.items())


def confinement(group: dict[str, Any]) -> str | None:
    """What of the sandbox is missing in a group; nothing is said of a whole one."""
    match group:
        case {"sandbox": "on", "landlock": 0}:
            return f"group {group['pid']}: this kernel has no Landlock: filters alone close files"
        case {"sandbox": "off" | "log" as mode}:
            return f"group {group['pid']}: not confined (--sandbox={mode})"
    return None
