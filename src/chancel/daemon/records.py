"""What each process writes on its board about one tunnel.

Plain numbers in a fixed layout of the machine's own byte order: boards never leave the machine.
Times are monotonic seconds, 0.0 for "never". ``docs/architecture.md`` has the table of who reads
which.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import struct
from collections.abc import Callable, Iterable
from typing import ClassVar, Self

from chancel.daemon.lies import NeighbourLied
from chancel.daemon.run import pack_address, unpack_address
from chancel.protocol.events import Reason
from chancel.protocol.registration_events import Key
from chancel.protocol.states import State
from chancel.wire.drop import Drop
from chancel.wire.types import Address

_END_OF_TIME_S = 2.0**40
"""No machine runs for so long."""

_LARGEST_MTU = 0xFFFF

AMBRY_REFUSALS = (
    Drop.AMBRY_BAD_TAG,
    Drop.AMBRY_EXPIRED,
    Drop.AMBRY_TUNNEL,
    Drop.AMBRY_REPEATED,
)
"""Why an ambry may be of no use."""

NOWHERE = bytes(18)
"""No address, packed."""

NO_IP = bytes(16)
"""The same without a port."""


def possible_time(at: float) -> bool:
    """Whether this can be a time of the monotonic clock. NaN is none."""
    return 0.0 <= at < _END_OF_TIME_S


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """Base of the records: ``FORMAT`` packs the fields in their order."""

    FORMAT: ClassVar[struct.Struct]
    _values: ClassVar[Callable[[Record], tuple[object, ...]]]

    def __init_subclass__(cls) -> None:
        fields = (name for name in cls.__annotations__ if name != "FORMAT")
        cls._values = operator.attrgetter(*fields)

    @classmethod
    def size(cls) -> int:
        """Bytes of the packed record."""
        return cls.FORMAT.size

    def pack(self) -> bytes:
        """The record as bytes."""
        return self.FORMAT.pack(*type(self)._values(self))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Inverse of :meth:`pack`. Raises :class:`NeighbourLied` for what can't be true."""
        record = cls(*cls.FORMAT.unpack(data))
        if not record.possible():
            raise NeighbourLied(f"a board says what can't be true ({cls.__name__})")
        return record

    def possible(self) -> bool:
        """Whether a sane process could have written this."""
        names = (name for name in self.__annotations__ if name.endswith(("_at", "_since")))
        return all(possible_time(getattr(self, name)) for name in names)


@dataclasses.dataclass(frozen=True, slots=True)
class HeavenRxRecord(Record):
    """heaven-rx: the MTU that discovery arrived at, and what was read from the device.

    ``safe_mtu``: the largest payload that surely arrives on the path as it is now.
    ``mtu_lost_at``: when discovery last ended without any acknowledgement; 0.0 once there is one.
    """

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=IIQQdQd")

    mtu: int = 0
    safe_mtu: int = 0
    packets: int = 0
    octets: int = 0
    heartbeat_at: float = 0.0
    trains: int = 0
    mtu_lost_at: float = 0.0

    def possible(self) -> bool:
        return Record.possible(self) and max(self.mtu, self.safe_mtu) <= _LARGEST_MTU


@dataclasses.dataclass(frozen=True, slots=True)
class BlessRecord(Record):
    """bless: the sending key in use. ``packets`` and ``bytes`` begin anew with each key."""

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=IIQQdd")

    spi: int = 0
    keys: int = 0
    packets: int = 0
    octets: int = 0
    installed_at: float = 0.0
    last_at: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class PurgatoryRecord(Record):
    """purgatory-tx and purgatory-rx: datagrams, bytes, and the system calls that moved them.

    ``error`` is the ``errno`` of the last send that the machine refused. ``broken`` holds the
    :class:`Offload` that was given up.
    """

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQQII")

    datagrams: int = 0
    octets: int = 0
    calls: int = 0
    error: int = 0
    broken: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class ConfessRecord(Record):
    """confess: the receiving key in use and where the last authentic packet came from.

    ``moved_at``: when the first of those came from there. ``other`` is the source before that, and
    ``other_at`` when the last packet came from there: a peer with a cathedral may have two.
    """

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=IQQddd18sdd18s")

    spi: int = 0
    packets: int = 0
    octets: int = 0
    installed_at: float = 0.0
    alive_at: float = 0.0
    peer_at: float = 0.0
    peer: bytes = NOWHERE
    moved_at: float = 0.0
    other_at: float = 0.0
    other: bytes = NOWHERE


@dataclasses.dataclass(frozen=True, slots=True)
class HeavenTxRecord(Record):
    """heaven-tx: what was written, and the graces that heaven-rx has to answer or to heed.

    ``probes`` and ``acks`` count, so that a second probe of the same size is seen as new. Where
    there is a cathedral, paths are probed, too: ``mtu_acks`` are the acknowledgements that say
    something of the MTU, and have a size of their own, as both may come at once.
    ``refused_source`` and ``refused_target`` are the addresses of the last inner packet that no
    accepted network has (IPv4 mapped into IPv6). ``broken`` holds each :class:`Offload` that was
    given up.
    """

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQdIIIIIIQ16s16sI")

    packets: int = 0
    octets: int = 0
    heartbeat_at: float = 0.0
    probes: int = 0
    probe_size: int = 0
    acks: int = 0
    ack_size: int = 0
    mtu_acks: int = 0
    mtu_ack_size: int = 0
    writes: int = 0
    refused_source: bytes = NO_IP
    refused_target: bytes = NO_IP
    broken: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class KeeperRecord(Record):
    """The keeper: how the key exchange stands, and the address the last good offer came from.

    ``state`` and ``reason`` are indices into ``EXCHANGE_STATES`` and ``EXCHANGE_REASONS``.
    ``forgotten_at``: addresses seen before this time no longer count (``peer auto`` after its peer
    fell silent). ``skew_s`` is the peer's clock minus ours, NaN while unknown. ``trying_since``:
    when the present search for a sending key began, 0.0 when there is none; ``offers``: how many
    were sent in it.

    ``target``: where to send, and ``target_at`` since when, for tunnels in which that isn't simply
    where the last authentic packet came from: those with a cathedral, and those that try an
    address of an earlier run. ``direct``: the target is the peer itself, and proved.
    ``candidate``: where the peer may be as well; ``heartbeats`` and ``probes`` count what
    heaven-rx has to send there, probes of ``probe_size``. ``candidate_spoke``: something came from
    there, so acknowledgements go there, too.

    ``cathedral``: the one in use, of ``cathedrals`` that are known; ``cathedral_at``: since when,
    ``cathedral_heard_at``: when it was last heard, ``cathedral_silent_at``: since when it owes an
    answer, 0.0 when it doesn't. ``announced_at``: when it last said where the peer is.
    ``cathedral_skew_s`` is its clock minus ours. ``generation`` is that of the ambry in use, 0 for
    none, since ``ambry_at``. ``trouble`` is an index into ``TROUBLES``, ``trouble_at`` when it was
    last met.
    """

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=IIIIdddd18sdI18sdI18sIIII18sIddddddId")

    state: int = 0
    reason: int = 0
    trouble: int = 0
    completed: int = 0
    completed_at: float = 0.0
    skew_s: float = float("nan")
    forgotten_at: float = 0.0
    peer_at: float = 0.0
    peer: bytes = NOWHERE
    trying_since: float = 0.0
    offers: int = 0
    target: bytes = NOWHERE
    target_at: float = 0.0
    direct: int = 0
    candidate: bytes = NOWHERE
    candidate_spoke: int = 0
    heartbeats: int = 0
    probes: int = 0
    probe_size: int = 0
    cathedral: bytes = NOWHERE
    cathedrals: int = 0
    cathedral_at: float = 0.0
    cathedral_heard_at: float = 0.0
    cathedral_silent_at: float = 0.0
    announced_at: float = 0.0
    cathedral_skew_s: float = float("nan")
    ambry_at: float = 0.0
    generation: int = 0
    trouble_at: float = 0.0

    def possible(self) -> bool:
        return (
            Record.possible(self)
            and self.state < len(EXCHANGE_STATES)
            and self.reason < len(EXCHANGE_REASONS)
            and not math.isinf(self.skew_s)
            and not math.isinf(self.cathedral_skew_s)
            and self.trouble < len(TROUBLES)
            and self.probe_size <= _LARGEST_MTU
        )


@dataclasses.dataclass(frozen=True, slots=True)
class LiturgyRecord(Record):
    """liturgy: who is there, as the last answer of a cathedral says.

    ``members``: bit n of the number that these bytes are, the first byte lowest, stands for device
    n. ``answered_at``: when that answer came. The rest is as in :class:`KeeperRecord`;
    ``questions`` and ``error`` (the ``errno`` of the last one that the machine refused to send)
    are of what was asked.
    """

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=32sd18sIdddIdQI")

    members: bytes = bytes(32)
    answered_at: float = 0.0
    cathedral: bytes = NOWHERE
    cathedrals: int = 0
    cathedral_at: float = 0.0
    cathedral_silent_at: float = 0.0
    cathedral_skew_s: float = float("nan")
    trouble: int = 0
    trouble_at: float = 0.0
    questions: int = 0
    error: int = 0

    def possible(self) -> bool:
        return (
            Record.possible(self)
            and not math.isinf(self.cathedral_skew_s)
            and self.trouble < len(TROUBLES)
        )

    @property
    def devices(self) -> frozenset[int]:
        """The members, whatever numbers these are."""
        number = int.from_bytes(self.members, "little")
        return frozenset(device for device in range(8 * len(self.members)) if number >> device & 1)


def member_bits(devices: Iterable[int]) -> bytes:
    """Inverse of :attr:`LiturgyRecord.devices`, of numbers below 256."""
    return sum(1 << device for device in set(devices)).to_bytes(32, "little")


EXCHANGE_STATES = (*(state.value for state in State), "paused")
EXCHANGE_REASONS = ("", *(reason.value for reason in Reason))
"""The words behind a chapel record's numbers."""


def unreadable(key: Key) -> str:
    """The word for a key that can't be read."""
    return f"{key.name.lower()}-unreadable"


IN_VAIN = "cathedral-in-vain"

TROUBLES = (
    "",
    *map(unreadable, Key),
    *(str(reason) for reason in AMBRY_REFUSALS),
    "ambry-not-kept",
    "remembrance-not-kept",
    IN_VAIN,
)
"""What a tunnel's dealings with cathedrals may suffer from."""


def current_peer(
    configured: Address | None,
    confess: ConfessRecord | None,
    chapel: KeeperRecord | None,
) -> Address | None:
    """Where to send: the newest address an authentic packet came from, else the configured one; in
    a tunnel with a cathedral what the keeper has decided.

    Traffic is authenticated in confess and offers in chapel, so each has an opinion; the newer
    counts (protocol section 10).
    """
    if chapel and chapel.target != NOWHERE:
        return unpack_address(chapel.target)
    forgotten_at = chapel.forgotten_at if chapel else 0.0
    seen = [
        (record.peer_at, record.peer)
        for record in (confess, chapel)
        if record and record.peer != NOWHERE and record.peer_at > forgotten_at
    ]
    return unpack_address(max(seen)[1]) if seen else configured


__all__ = [
    "AMBRY_REFUSALS",
    "EXCHANGE_REASONS",
    "EXCHANGE_STATES",
    "IN_VAIN",
    "NOWHERE",
    "NO_IP",
    "TROUBLES",
    "BlessRecord",
    "ConfessRecord",
    "HeavenRxRecord",
    "HeavenTxRecord",
    "KeeperRecord",
    "LiturgyRecord",
    "PurgatoryRecord",
    "Record",
    "current_peer",
    "member_bits",
    "pack_address",
    "unreadable",
]
