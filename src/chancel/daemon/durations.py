"""Lengths of time as people say them."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """``0.4 s``, ``43 s``, ``5 min 2 s``, ``3 h 20 min``, ``12 d 4 h``."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    for unit, name, small, small_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // small
            return (
                f"{whole // unit} {name} {rest} {small_name}" if rest else f"{whole // unit} {name}"
            )
    raise AssertionError(seconds)


def ago(seconds: float | None) -> str:
    """How long something is past; ``never`` for ``None``."""
    return "never" if seconds is None else f"{duration(seconds)} ago"
