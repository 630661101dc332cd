"""The trace of a group: what its processes do, as lines of JSON for whoever asked for it.

Off, it costs one comparison for a batch. On, each process writes to one socket that they share and
that never makes them wait: what doesn't fit is counted and told (``lost``) with the next line that
does. When the reader is gone, each process notices at its next line and falls silent.

A line has ``at`` (monotonic seconds), ``process``, ``event``, and ``tunnel`` where it is about one.
It holds sizes, counts, SPIs, addresses and states; never a key, and nothing of a packet's content.
``docs/observability.md`` has the table of events.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chancel.daemon.records import (
    EXCHANGE_STATES,
    NOWHERE,
    BlessRecord,
    ConfessRecord,
    HeavenRxRecord,
    HeavenTxRecord,
    KeeperRecord,
    Record,
)
from chancel.daemon.run import Run, unpack_address
from chancel.protocol.session_types import SessionEvent
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE
from chancel.wire.types import Address

DEVICE, NETWORK = "device", "network"
"""Where hops end that no process of ours receives."""

BUFFER_BYTES = 1 << 20
"""What may wait for the reader, as far as the machine allows: some thousand lines."""

_DONTWAIT = int(socket.MSG_DONTWAIT)

Line = dict[str, Any]


def make_channel() -> tuple[socket.socket, socket.socket]:
    """The end to read a trace from, and the one that every process gets a duplicate of."""
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    writing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    return reading, writing


class Trace:
    """One process's side. ``names`` has the instance of each tunnel; ``off`` ends this trace."""

    def __init__(
        self, process: str, fd: int, names: Mapping[int, str], off: Callable[[], None]
    ) -> None:
        self._process = process
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=fd)
        self._names = names
        self._off = off
        self._lost = 0
        self._write([self._line("begin", None, wall=time.time())])

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def hop(self, target: str, runs: Iterable[Run]) -> None:
        """A batch went from here to ``target``, the next process or the outside."""
        lines: dict[tuple[int, bytes], Line] = {}
        for run in runs:
            line = lines.get((run.tunnel, run.source))
            if line is None:
                line = self._line("hop", run.tunnel, to=target, packets=0, bytes=0)
                if run.source not in (b"", NOWHERE):
                    line["peer"] = str(unpack_address(run.source))
                lines[run.tunnel, run.source] = line
            line["packets"] += run.packets
            line["bytes"] += run.end - run.offset
            if run.next == NEXT_GRACE:
                line["graces"] = line.get("graces", 0) + run.packets
        self._write(list(lines.values()))

    def event(self, tunnel: int, event: SessionEvent) -> None:
        """Something that the protocol did."""
        fields = {
            field.name: _plain(field.name, getattr(event, field.name))
            for field in dataclasses.fields(event)
        }
        self._write([self._line(_kebab(type(event).__name__), tunnel, **fields)])

    def page(
        self, tunnel: int, before: Record | None, after: Record, dropped: Mapping[Drop, int]
    ) -> None:
        """The board's entry of a tunnel changed; ``dropped``: by how much its counters grew."""
        lines = [
            self._line("drop", tunnel, reason=str(reason), packets=count)
            for reason, count in dropped.items()
        ]
        for watched in _WATCHED.get(type(after), ()) if before is not None else ():
            old, new = getattr(before, watched.field), getattr(after, watched.field)
            if old != new:
                told = {"to": watched.word(getattr(after, watched.told or watched.field))}
                if watched.told is None:
                    told["was"] = watched.word(old)
                lines.append(self._line(watched.event, tunnel, **told))
        if lines:
            self._write(lines)

    def _line(self, event: str, tunnel: int | None, **fields: Any) -> Line:
        line = {"at": round(time.monotonic(), 6), "process": self._process, "event": event}
        if tunnel is not None:
            line["tunnel"] = self._names.get(tunnel, "?")
        return line | fields

    def _write(self, lines: Sequence[Line]) -> None:
        if not lines or self._socket.fileno() < 0:
            return  # empty, it would read as the end; and things are told even after the end
        if self._lost:
            lines = [self._line("lost", None, lines=self._lost), *lines]
        try:
            self._socket.send(
                "".join(json.dumps(line) + "\n" for line in lines).encode(), _DONTWAIT
            )
        except BlockingIOError:
            self._lost += len(lines) - bool(self._lost)
        except OSError:  # the reader is gone
            self._off()
        else:
            self._lost = 0


class _Watched(NamedTuple):
    """A field of a record whose change is an event. ``told``: another field that says to what."""

    field: str
    event: str
    word: Callable[[Any], Any]
    told: str | None = None


def _spi(value: int) -> str | None:
    return f"{value:08x}" if value else None


def _peer(packed: bytes) -> str | None:
    return None if packed == NOWHERE else str(unpack_address(packed))


_WATCHED: dict[type[Record], tuple[_Watched, ...]] = {
    HeavenRxRecord: (_Watched("mtu", "mtu", int),),
    BlessRecord: (_Watched("spi", "send-key", _spi),),
    ConfessRecord: (_Watched("spi", "receive-key", _spi), _Watched("peer", "peer", _peer)),
    HeavenTxRecord: (
        _Watched("heartbeat_at", "heartbeat", float),
        _Watched("probes", "mtu-probe", int, told="probe_size"),
        _Watched("acks", "mtu-acknowledged", int, told="ack_size"),
    ),
    KeeperRecord: (
        _Watched("state", "exchange", EXCHANGE_STATES.__getitem__),
        _Watched("peer", "peer", _peer),
        _Watched("target", "target", _peer),
        _Watched("candidate", "candidate", _peer),
        _Watched("cathedral", "cathedral", _peer),
    ),
}


def _kebab(name: str) -> str:
    return re.sub(r"(?<=.)(?=[A-Z])", "-", name).lower()


def _plain(name: str, value: object) -> object:
    match value:
        case enum.IntEnum():
            return value.name.lower()
        case enum.Enum():
            return value.value
        case Address() | None:
            return value and str(value)
        case int() if name == "spi":
            return f"{value:08x}"
        case int() if name == "id":
            return f"{value:016x}"
    return value
