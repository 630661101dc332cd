"""Who is joined to whom: the tables that are the daemon's security policy.

No process has more than one side of a barrier: plaintext (heaven) and network (purgatory) meet only
through bless and confess, which have no descriptor but lanes, links and boards; keys exist only in
chapel, bless and confess. The guardian makes everything below before it forks; a child keeps its
own ends and closes all others.
"""

from __future__ import annotations

import dataclasses
import socket
from typing import NamedTuple

from chancel.daemon.bell import Bell
from chancel.daemon.board import make_board
from chancel.daemon.config_types import TUNNEL_PROCESSES
from chancel.daemon.lane import LaneEnds, make_lane
from chancel.daemon.link import make_link
from chancel.daemon.records import (
    BlessRecord,
    ChapelRecord,
    ConfessRecord,
    HeavenRxRecord,
    HeavenTxRecord,
    PurgatoryRecord,
    Record,
)

GUARDIAN = "guardian"

DUTIES = TUNNEL_PROCESSES
"""In the order in which they are started (that of the reference)."""

ADD_ORDER = (
    "heaven-tx",
    "confess",
    "purgatory-tx",
    "bless",
    "chapel",
    "control",
    "heaven-rx",
    "purgatory-rx",
)
"""A tunnel joins from the far ends backwards, so that no batch reaches a process before it is
known there; it leaves in the opposite order."""


class LaneSpec(NamedTuple):
    """One lane: its two ends and its size."""

    writer: str
    reader: str
    slots: int
    slot_bytes: int


LANES: dict[str, LaneSpec] = {
    "bless": LaneSpec("heaven-rx", "bless", 8, 256 * 1024),
    "purgatory": LaneSpec("bless", "purgatory-tx", 8, 256 * 1024),
    "confess": LaneSpec("purgatory-rx", "confess", 8, 256 * 1024),
    "heaven": LaneSpec("confess", "heaven-tx", 8, 256 * 1024),
    "chapel": LaneSpec("purgatory-rx", "chapel", 8, 64 * 1024),
    "offer": LaneSpec("chapel", "purgatory-tx", 8, 64 * 1024),
}

KEY_LINKS: dict[str, tuple[str, str]] = {
    "send-keys": ("chapel", "bless"),
    "receive-keys": ("chapel", "confess"),
}

BOARDS: dict[str, type[Record]] = {
    "heaven-rx": HeavenRxRecord,
    "bless": BlessRecord,
    "purgatory-tx": PurgatoryRecord,
    "purgatory-rx": PurgatoryRecord,
    "confess": ConfessRecord,
    "heaven-tx": HeavenTxRecord,
    "chapel": ChapelRecord,
}

BOARD_READERS: dict[str, tuple[str, ...]] = {
    "heaven-rx": ("control", GUARDIAN),  # the guardian sets the device's MTU
    "bless": ("control", "heaven-rx"),  # a new key calls for heartbeats
    "purgatory-tx": ("control",),
    "purgatory-rx": ("control",),
    "confess": ("control", "chapel", "purgatory-tx", "heaven-rx"),  # the peer's address, first use
    "heaven-tx": ("control", "heaven-rx"),  # probes to acknowledge, acknowledgements
    "chapel": ("control", "purgatory-tx", "heaven-rx", "confess"),  # the peer's address
}

RINGS: dict[str, tuple[str, ...]] = {
    "heaven-rx": (GUARDIAN,),
    "bless": ("heaven-rx",),
    "confess": ("chapel", "purgatory-tx", "heaven-rx"),
    "heaven-tx": ("heaven-rx",),
    "chapel": ("purgatory-tx", "heaven-rx"),
}
"""Whose bells a process rings after a change on its board that cannot wait."""


@dataclasses.dataclass(slots=True)
class Wiring:
    """Everything that joins the group, as the guardian makes it before it forks."""

    lanes: dict[str, LaneEnds]
    key_links: dict[str, tuple[socket.socket, socket.socket]]
    boards: dict[str, int]
    bells: dict[str, Bell]
    guardian_links: dict[str, tuple[socket.socket, socket.socket]]

    @classmethod
    def make(cls) -> Wiring:
        """Make all lanes, links, boards and bells; nothing is mapped yet."""
        return cls(
            lanes={
                name: make_lane(name, spec.slots, spec.slot_bytes) for name, spec in LANES.items()
            },
            key_links={name: make_link() for name in KEY_LINKS},
            boards={name: make_board(name) for name in BOARDS},
            bells={name: Bell() for name in (*DUTIES, GUARDIAN)},
            guardian_links={name: make_link() for name in DUTIES},
        )
