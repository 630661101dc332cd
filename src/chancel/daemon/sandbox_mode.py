"""Whether processes are closed in (``sandbox``): a word that command lines need, too, and fast."""

from __future__ import annotations

import enum


class Sandbox(enum.StrEnum):
    """``chancel run --sandbox=…``."""

    ON = "on"
    LOG = "log"
    """Nothing is stopped; what would have been is logged (for a new version of a library)."""
    OFF = "off"
