"""A run: packets of one size that lie one behind the other in a slot.

A batch is a slot and its runs. A run is what one system call moves (UDP GSO and GRO want packets of
equal size, of which the last may be shorter) and what one numpy expression works on. Runs keep the
order in which packets came; nothing in the daemon reorders a flow.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

from chancel.daemon.lies import NeighbourLied
from chancel.wire.types import Address

MAX_RUNS = 256
"""Runs in one batch; bounds the token (and what a reader must parse)."""

MAX_RUN_PACKETS = 4096
"""Packets in one run; bounds the nonces and views that the hot functions keep ready."""

MAX_PACKET_BYTES = 2048
"""The largest packet a run may hold; above the 1522 of the wire, below what would overflow."""


TO_CANDIDATE = b"\xff" * 18
"""In place of a source: this run goes to where the peer may be, not to where it surely is."""


class Run(NamedTuple):
    """``packets`` packets of ``size`` bytes, the last of ``last``, from ``offset`` in the slot.

    ``next`` is the traffic tail's next byte (0x00 inner packet, 0xfc grace) on the plaintext side
    and 0 elsewhere. ``source`` is the packed source address of datagrams from the network
    (:func:`pack_address`); of offers on their way out it is where they go, unless that is the
    peer's address; of graces :data:`TO_CANDIDATE`; and all zero elsewhere.
    """

    tunnel: int
    next: int
    packets: int
    size: int
    last: int
    offset: int
    source: bytes = b""

    @property
    def end(self) -> int:
        """Offset of the first byte behind the run."""
        return self.offset + (self.packets - 1) * self.size + self.last


_FIELDS = "HBxHHHxxI18s2x"
_RUN = struct.Struct(f"={_FIELDS}")
LONE = struct.Struct(f"=B{_FIELDS}")
"""A token with one run, as most are while latency counts: the slot's number, and a :class:`Run`."""
RUN_BYTES = _RUN.size
LONE_BYTES = LONE.size

_new = tuple.__new__  # Run._make, without its Python
_ADDRESS = struct.Struct("!16sH")
_ZONE = struct.Struct("!I")
_ZONE_AT = 2


def _is_link_local(raw: bytes) -> bool:
    return raw[0] == 0xFE and raw[1] & 0xC0 == 0x80


def pack_address(address: Address) -> bytes:
    """An address as 18 bytes: IPv6 (IPv4 mapped into it), then be16 port.

    The zone of a link-local address, a number, lies where such an address has only zeros.
    """
    ip = ipaddress.ip_address(address.host)
    raw = ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed
    if ip.version == 6 and ip.scope_id is not None and _is_link_local(raw):
        raw = raw[:_ZONE_AT] + _ZONE.pack(int(ip.scope_id)) + raw[_ZONE_AT + _ZONE.size :]
    return _ADDRESS.pack(raw, address.port)


def unpack_address(packed: bytes) -> Address:
    """Inverse of :func:`pack_address`."""
    raw, port = _ADDRESS.unpack(packed)
    ip = ipaddress.IPv6Address(raw)
    if not _is_link_local(raw):
        return Address(str(ip.ipv4_mapped or ip), port)
    (zone,) = _ZONE.unpack_from(raw, _ZONE_AT)
    bare = ipaddress.IPv6Address(raw[:_ZONE_AT] + bytes(_ZONE.size) + raw[_ZONE_AT + _ZONE.size :])
    return Address(f"{bare}%{zone}" if zone else str(bare), port)


def encode_runs(runs: list[Run]) -> bytes:
    """The runs as they travel in a lane's token. Raises ``ValueError`` if they are too many."""
    if len(runs) > MAX_RUNS:
        raise ValueError(f"{len(runs)} runs in one batch")
    return b"".join([_RUN.pack(*run) for run in runs])


def encode_token(slot: int, runs: list[Run]) -> bytes:
    """What hands a slot over: its number and its runs. Raises ``ValueError`` as above."""
    if len(runs) == 1:
        return LONE.pack(slot, *runs[0])
    return bytes((slot,)) + encode_runs(runs)


def decode_token(token: bytes | bytearray, slot_bytes: int) -> tuple[int, list[Run]]:
    """Inverse of :func:`encode_token`, of what a neighbour sent. The slot's number is not judged.

    Raises :class:`NeighbourLied` as :func:`decode_runs` does.
    """
    if len(token) != LONE_BYTES:
        return token[0], decode_runs(token[1:], slot_bytes)
    fields = LONE.unpack(token)
    run = _new(Run, fields[1:])
    _checked_end(run, 0, slot_bytes)
    return fields[0], [run]


def decode_runs(data: bytes | bytearray | memoryview, slot_bytes: int) -> list[Run]:
    """Decode and bound the runs of a token: they lie one behind the other within ``slot_bytes``.

    Raises :class:`NeighbourLied` for anything else.
    """
    if len(data) % RUN_BYTES or len(data) > MAX_RUNS * RUN_BYTES:
        raise NeighbourLied("a lane's token has an odd length")
    runs = [_new(Run, fields) for fields in _RUN.iter_unpack(data)]
    end = 0
    for run in runs:
        end = _checked_end(run, end, slot_bytes)
    return runs


def _checked_end(run: Run, begin: int, slot_bytes: int) -> int:
    """Where a neighbour's run ends; it must not begin before ``begin``."""
    _tunnel, _next, packets, size, last, offset, _source = run
    end = offset + (packets - 1) * size + last
    if (
        not 1 <= packets <= MAX_RUN_PACKETS
        or not 0 < last <= size <= MAX_PACKET_BYTES
        or offset < begin
        or end > slot_bytes
    ):
        raise NeighbourLied("a lane's token names a run outside of its slot")
    return end


def is_lone(runs: list[Run]) -> bool:
    """Whether a batch is a single packet: then latency counts, and the slot is as good as new."""
    return len(runs) == 1 and runs[0][2] == 1
