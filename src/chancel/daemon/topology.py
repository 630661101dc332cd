"""Who is joined to whom: the tables that are the daemon's security policy.

No process has more than one side of a barrier: plaintext (heaven) and network (purgatory) meet only
through bless and confess, which have no descriptor but lanes, links and boards; traffic keys exist
only in the keeper, bless and confess. The guardian makes everything below before it forks; a child
keeps its own ends and closes all others.

The *keeper* is the one process that reads secrets and makes keys: chapel in tunnel mode, pilgrim or
shrine in the one-way modes. A one-way mode has the same tables with what it has no process for left
out: a pilgrim's group can't receive, and a shrine's can't send, whatever its processes do.
"""

from __future__ import annotations

import dataclasses
import enum
import fcntl
import functools
import os
import socket
from typing import NamedTuple

from chancel.daemon.bell import Bell
from chancel.daemon.board import make_board
from chancel.daemon.config_types import KEEPER, LITURGY, PROCESSES, Mode
from chancel.daemon.lane import SLOT_BYTES, SLOTS, LaneEnds, make_lane
from chancel.daemon.link import make_link
from chancel.daemon.records import (
    BlessRecord,
    ConfessRecord,
    HeavenRxRecord,
    HeavenTxRecord,
    KeeperRecord,
    LiturgyRecord,
    PurgatoryRecord,
    Record,
)

GUARDIAN = "guardian"

LOOKUP = "lookup"
"""What the guardian forks to look names up; it is joined to nobody else."""

WIRED_FROM = 900
"""The descriptors of the wiring have numbers from here on, and everything else one below: so the
filter of a process knows the one from the other, whatever it is passed later. It leaves room below
for two sockets of each of 256 tunnels, and above for the wiring in the usual limit of 1024."""

ROLE = "keeper"
"""Stands in the tables below for the process that is the keeper of a mode."""

LITURGIST = "guardian of a liturgy"
"""Stands there for a guardian that adds and removes tunnels by itself."""


CARRYING = frozenset({"heaven-rx", "bless", "purgatory-tx", "purgatory-rx", "confess", "heaven-tx"})
"""The processes on the way of a packet."""

TIMES = 1023
"""The descriptor by which such a process reads its own times: the last one of the usual limit."""


class End(enum.Enum):
    """The kinds of descriptors of a process; the value is the word for them in the documentation.

    A memory object is closed once it is mapped.
    """

    GUARDIAN = "the link to the guardian"
    BELL = "its bell"
    RINGS = "bells it rings"
    LANES = "its lanes"
    KEYS_IN = "links that bring keys"
    KEYS_OUT = "links that take keys away"
    OUTPUT = "standard output"
    SYSLOG = "the connection to syslog"
    TIMES = "its own times"
    ARRIVED = "what the guardian passes"


class LaneSpec(NamedTuple):
    """One lane: its two ends and its size."""

    writer: str
    reader: str
    slots: int
    slot_bytes: int


class LinkSpec(NamedTuple):
    """A link that carries keys one way."""

    writer: str
    reader: str


class BoardSpec(NamedTuple):
    """One board: the process that writes it, its records, and who reads it."""

    owner: str
    record: type[Record]
    readers: tuple[str, ...]


_ADD_ORDER = (
    "heaven-tx",
    "confess",
    "purgatory-tx",
    "bless",
    ROLE,
    "control",
    "heaven-rx",
    "purgatory-rx",
)

_LANES = {
    "bless": LaneSpec("heaven-rx", "bless", SLOTS, SLOT_BYTES),
    "purgatory": LaneSpec("bless", "purgatory-tx", SLOTS, SLOT_BYTES),
    "confess": LaneSpec("purgatory-rx", "confess", SLOTS, SLOT_BYTES),
    "heaven": LaneSpec("confess", "heaven-tx", SLOTS, SLOT_BYTES),
    "keeper": LaneSpec("purgatory-rx", ROLE, 128, 16 * 1024),
    "offer": LaneSpec(ROLE, "purgatory-tx", 8, 64 * 1024),
}
"""That of keepers has a slot for each tunnel of many: peers that begin at one time go on at one
time, and of those that find no slot the same ones would be unheard again and again."""

_KEY_LINKS = {
    "send-keys": LinkSpec(ROLE, "bless"),
    "receive-keys": LinkSpec(ROLE, "confess"),
    "send-mask": LinkSpec(ROLE, "purgatory-tx"),  # derived keys that mask datagrams, and no others
    "receive-mask": LinkSpec(ROLE, "purgatory-rx"),
}

_BOARDS = {
    "heaven-rx": BoardSpec(
        "heaven-rx",
        HeavenRxRecord,
        ("control", "purgatory-tx", GUARDIAN),  # the MTU: for masks, and for the device
    ),
    "bless": BoardSpec(
        "bless",
        BlessRecord,
        ("control", "heaven-rx", LITURGIST),  # new keys: heartbeats; whether a tunnel is alive
    ),
    "purgatory-tx": BoardSpec("purgatory-tx", PurgatoryRecord, ("control",)),
    "purgatory-rx": BoardSpec("purgatory-rx", PurgatoryRecord, ("control",)),
    "confess": BoardSpec(
        "confess",
        ConfessRecord,
        # the peer's address, first use of a key; whether a tunnel is alive
        ("control", ROLE, "purgatory-tx", "heaven-rx", LITURGIST),
    ),
    "heaven-tx": BoardSpec(
        "heaven-tx",
        HeavenTxRecord,
        ("control", "heaven-rx", "chapel"),  # probes to acknowledge, acknowledgements
    ),
    "keeper": BoardSpec(
        ROLE,
        KeeperRecord,
        # the peer's address; for the guardian, whether a cathedral's name has to be looked up
        ("control", "purgatory-tx", "heaven-rx", "confess", GUARDIAN),
    ),
    "liturgy": BoardSpec(LITURGY, LiturgyRecord, ("control", GUARDIAN)),  # who is there
}

_RINGS = {
    "heaven-rx": (GUARDIAN, "purgatory-tx"),
    "bless": ("heaven-rx",),
    "confess": (ROLE, "purgatory-tx", "heaven-rx"),
    "heaven-tx": ("heaven-rx", "chapel"),
    ROLE: ("purgatory-tx", "heaven-rx"),
    LITURGY: (GUARDIAN,),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Topology:
    """The tables of one mode."""

    keeper: str
    """The process that reads secrets and makes keys."""
    duties: tuple[str, ...]
    """In the order in which they are started (that of the reference)."""
    add_order: tuple[str, ...]
    """A tunnel joins from the far ends backwards, so that no batch reaches a process before it is
    known there; it leaves in the opposite order."""
    lanes: dict[str, LaneSpec]
    key_links: dict[str, LinkSpec]
    boards: dict[str, BoardSpec]
    rings: dict[str, tuple[str, ...]]
    """Whose bells a process rings after a change on its board that cannot wait."""


@functools.cache
def of(mode: Mode, *, liturgy: bool = False) -> Topology:
    """The tables of a mode: the full ones without what joins a process that the mode lacks.

    ``liturgy``: its tunnels are those of a liturgy, which is one process more.
    """
    duties = (*PROCESSES[mode], LITURGY) if liturgy else PROCESSES[mode]
    members = {*duties, GUARDIAN}
    roles = {ROLE: KEEPER[mode], **({LITURGIST: GUARDIAN} if liturgy else {})}

    def name(role: str) -> str:
        return roles.get(role, role)

    def names(roles: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name(role) for role in roles if name(role) in members)

    lanes = {
        lane: spec._replace(writer=name(spec.writer), reader=name(spec.reader))
        for lane, spec in _LANES.items()
    }
    links = {
        link: LinkSpec(name(spec.writer), name(spec.reader)) for link, spec in _KEY_LINKS.items()
    }
    boards = {
        board: spec._replace(owner=name(spec.owner), readers=names(spec.readers))
        for board, spec in _BOARDS.items()
    }
    return Topology(
        keeper=KEEPER[mode],
        duties=duties,
        add_order=names(_ADD_ORDER),
        lanes={lane: spec for lane, spec in lanes.items() if {*spec[:2]} <= members},
        key_links={link: spec for link, spec in links.items() if {*spec} <= members},
        boards={board: spec for board, spec in boards.items() if spec.owner in members},
        rings={name(role): names(rung) for role, rung in _RINGS.items() if name(role) in members},
    )


@dataclasses.dataclass(slots=True)
class Wiring:
    """Everything that joins the group, as the guardian makes it before it forks."""

    topology: Topology
    lanes: dict[str, LaneEnds]
    key_links: dict[str, tuple[socket.socket, socket.socket]]
    boards: dict[str, int]
    bells: dict[str, Bell]
    guardian_links: dict[str, tuple[socket.socket, socket.socket]]

    @classmethod
    def make(cls, topology: Topology) -> Wiring:
        """Make all lanes, links, boards and bells; nothing is mapped yet. Raises OSError."""
        return cls(
            topology=topology,
            lanes={
                name: _high_lane(make_lane(name, spec.slots, spec.slot_bytes))
                for name, spec in topology.lanes.items()
            },
            key_links={name: _high_link() for name in topology.key_links},
            boards={name: make_board(name) for name in topology.boards},
            bells={name: Bell(_high) for name in (*topology.duties, GUARDIAN)},
            guardian_links={name: _high_link() for name in topology.duties},
        )

    def ends(self, name: str) -> dict[End, tuple[int, ...]]:
        """The descriptors that the process ``name`` keeps, by the tables."""
        rings = self.topology.rings.get(name, ())
        ends = {
            End.OUTPUT: [1, 2],
            End.GUARDIAN: [self.guardian_links[name][1].fileno()],
            End.BELL: [self.bells[name].fileno()],
            End.RINGS: [self.bells[listener].fileno() for listener in rings],
            End.LANES: [],
            End.KEYS_IN: [],
            End.KEYS_OUT: [],
            End.TIMES: [TIMES] if name in CARRYING else [],
        }
        for lane, spec in self.topology.lanes.items():
            if name == spec.writer:
                ends[End.LANES].append(self.lanes[lane].writer.fileno())
            elif name == spec.reader:
                ends[End.LANES].append(self.lanes[lane].reader.fileno())
        for link, owners in self.topology.key_links.items():
            writing, reading = self.key_links[link]
            if name == owners.writer:
                ends[End.KEYS_OUT].append(writing.fileno())
            elif name == owners.reader:
                ends[End.KEYS_IN].append(reading.fileno())
        return {kind: tuple(numbers) for kind, numbers in ends.items()}

    def memories(self, name: str) -> frozenset[int]:
        """The descriptors of the memory that the process ``name`` has to map, by the tables."""
        lanes, boards = self.topology.lanes.items(), self.topology.boards.items()
        return frozenset(
            [self.lanes[lane].memory for lane, spec in lanes if name in (spec.writer, spec.reader)]
            + [self.boards[board] for board, page in boards if name in (page.owner, *page.readers)]
        )

    def own_descriptors(self, name: str) -> frozenset[int]:
        """All descriptors that belong to the process ``name`` at its start."""
        return self.memories(name).union(*self.ends(name).values())


def _high(fd: int) -> int:
    """Move a descriptor to where those of the wiring are."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, WIRED_FROM)
    os.close(fd)
    return moved


def _high_lane(lane: LaneEnds) -> LaneEnds:
    return lane._replace(writer=_high_socket(lane.writer), reader=_high_socket(lane.reader))


def _high_link() -> tuple[socket.socket, socket.socket]:
    left, right = make_link()
    return _high_socket(left), _high_socket(right)


def _high_socket(end: socket.socket) -> socket.socket:
    return socket.socket(fileno=_high(end.detach()))
