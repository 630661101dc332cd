"""The targets, by name. Modules are loaded one at a time, so that an engine can instrument them."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

NAMES = (
    # layouts of the wire and of the machine's own messages
    "offer",
    "traffic",
    "grace",
    "datagram",
    "shroud",
    "encapsulation",
    "tfc",
    "messages",
    "runs",
    "settings",
    "board",
    "cathedral",
    # the protocol's machines
    "window",
    "admission",
    "graces",
    "exchange",
    "pilgrim",
    "shrine",
    "session",
    "batches",
    "cathedral_offers",
    "registration",
    "cathedral_server",
    # links, and the library on top
    "framing",
    "text_lines",
    "library",
    # the hot functions
    "checksum",
    "cut",
    "receive",
    "masking",
    "tfc_runs",
    "opening",
    "coalesce",
    "filter",
    # the same, both twins of them side by side
    "twins_read",
    "twins_seal",
    "twins_send",
    "twins_receive",
    "twins_open",
    "twins_write",
    "twins_mask",
    # what the machine's own users and processes say
    "config",
    "control",
    "request",
    "cathedral_settings",
)

DEFAULT_BYTES = 4096

logging.getLogger("chancel").addHandler(logging.NullHandler())  # many would be said the same


class Target(NamedTuple):
    """One target. ``invariant`` is a sentence; inputs have at most ``most_bytes``."""

    name: str
    invariant: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    most_bytes: int


def load(name: str) -> Target:
    """Import a target."""
    module = importlib.import_module(f"fuzz.targets.{name}")
    invariant = (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")
    most_bytes: int = getattr(module, "MOST_BYTES", DEFAULT_BYTES)
    return Target(name, invariant, module.check, module.seeds, most_bytes)
