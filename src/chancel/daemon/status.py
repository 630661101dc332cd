"""What ``chancel status`` shows: the boards of a group, read together and put into words and rates.

Times on boards are monotonic, so ages come out right whatever the wall clock does.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections import Counter, deque
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any, NamedTuple, TypeVar

from chancel.daemon.board import BoardReader, Entry
from chancel.daemon.records import (
    EXCHANGE_REASONS,
    EXCHANGE_STATES,
    BlessRecord,
    ConfessRecord,
    HeavenRxRecord,
    HeavenTxRecord,
    KeeperRecord,
    Record,
    current_peer,
)
from chancel.daemon.settings import TunnelSettings
from chancel.wire.types import Address

POST_QUANTUM = "hybrid X25519 + ML-KEM-1024"
"""Of every key there is: the exchange has no other mode."""

RATE_SPAN_S = 0.5
"""Rates are over at least this time,"""
RATE_SPAN_MAX_S = 5.0
"""and at most over this one."""

IDLE = EXCHANGE_STATES[0]

Answer = dict[str, Any]
Counters = tuple[int, int, int, int]
R = TypeVar("R", bound=Record)

_DATAGRAM = struct.Struct("=I4xQQQQI4xQQQQ4s2sH")


class View(NamedTuple):
    """One tunnel as all its boards show it at one time; defaults where nothing was written."""

    heaven_rx: HeavenRxRecord
    bless: BlessRecord
    confess: ConfessRecord
    heaven_tx: HeavenTxRecord
    chapel: KeeperRecord
    drops: dict[str, int]


class Sample(NamedTuple):
    """Counters of inner packets and bytes, for rates."""

    at: float
    counters: dict[int, Counters]


@dataclasses.dataclass(slots=True)
class _Tunnel:
    settings: TunnelSettings
    about: Answer


class StatusBook:
    """All that is known about the group's tunnels."""

    def __init__(self, boards: Mapping[str, BoardReader[Any]]) -> None:
        self._boards = boards
        self._tunnels: dict[int, _Tunnel] = {}
        self._samples: deque[Sample] = deque()
        self.group: Answer = {}

    def add(self, tunnel: int, settings: TunnelSettings, about: Answer) -> None:
        """Know a tunnel; ``about`` has what only the guardian knows of it."""
        self._tunnels[tunnel] = _Tunnel(settings, about)

    def remove(self, tunnel: int) -> None:
        """Forget a tunnel."""
        del self._tunnels[tunnel]

    def ready_at(self, now: float) -> float:
        """When rates can be told: now, or a little later if nobody has looked lately."""
        self._observe(now)
        if self._baseline(now) is not None:
            return now
        return self._samples[-1].at + RATE_SPAN_S

    def status(self, now: float) -> Answer:
        """The answer to a status request (``ctl`` describes it)."""
        self._observe(now)
        baseline = self._baseline(now)
        return {
            "ok": True,
            "group": self.group,
            "tunnels": [
                self._describe(number, tunnel, baseline, now)
                for number, tunnel in sorted(self._tunnels.items())
            ],
        }

    def datagram(self, tunnel: int) -> bytes:
        """The 88 bytes that the reference's tools expect, in the machine's own byte order."""
        settings = self._tunnels[tunnel].settings
        view = self._view(tunnel)
        peer = current_peer(settings.peer, view.confess, view.chapel)
        host, port = (IPv4Address(peer.host), peer.port) if peer else (IPv4Address(0), 0)
        return _DATAGRAM.pack(
            view.bless.spi,
            int(view.bless.installed_at),
            view.bless.packets,
            int(view.bless.last_at),
            view.bless.octets,
            view.confess.spi,
            int(view.confess.installed_at),
            view.confess.packets,
            int(view.confess.alive_at),
            view.confess.octets,
            host.packed,
            port.to_bytes(2, "big"),
            view.heaven_rx.mtu or settings.mtu,
        )

    def _describe(
        self, number: int, tunnel: _Tunnel, baseline: Sample | None, now: float
    ) -> Answer:
        view = self._view(number)
        settings = tunnel.settings
        peer = current_peer(settings.peer, view.confess, view.chapel)
        return {
            "instance": settings.instance,
            **tunnel.about,
            "tunnel": str(settings.tunnel) if settings.tunnel else None,
            "peer": str(peer) if peer else None,
            "path": _path(peer, settings.peer),
            "mtu": view.heaven_rx.mtu or settings.mtu,
            "mtu_discovery": settings.mtu_discovery,
            "tx": _direction(view.bless, view.bless.last_at, now),
            "rx": _direction(view.confess, view.confess.alive_at, now),
            "post_quantum": POST_QUANTUM if view.bless.spi or view.confess.spi else None,
            "exchange": _exchange(view.chapel),
            "clock_skew_s": None if math.isnan(view.chapel.skew_s) else view.chapel.skew_s,
            "last_heartbeat_s": _age(view.heaven_tx.heartbeat_at, now),
            "rates": _rates(_counters(view), number, baseline, now),
            "drops": view.drops,
        }

    def _view(self, tunnel: int) -> View:
        entries = {owner: board.read(tunnel) for owner, board in self._boards.items()}
        drops: Counter[str] = Counter()
        for entry in entries.values():
            drops.update({str(reason): n for reason, n in entry.drops.items()} if entry else {})
        return View(
            _record(entries.get("heaven-rx"), HeavenRxRecord),
            _record(entries.get("bless"), BlessRecord),
            _record(entries.get("confess"), ConfessRecord),
            _record(entries.get("heaven-tx"), HeavenTxRecord),
            _record(entries.get("keeper"), KeeperRecord),
            dict(drops),
        )

    def _observe(self, now: float) -> None:
        """Take a sample, unless there is a fresh one, and forget those that are too old."""
        while self._samples and self._samples[0].at < now - RATE_SPAN_MAX_S:
            self._samples.popleft()
        if not self._samples or self._samples[-1].at <= now - RATE_SPAN_S:
            counters = {number: _counters(self._view(number)) for number in self._tunnels}
            self._samples.append(Sample(now, counters))

    def _baseline(self, now: float) -> Sample | None:
        """The newest sample that is old enough to tell a rate."""
        old = [sample for sample in self._samples if sample.at <= now - RATE_SPAN_S]
        return old[-1] if old else None


def _record(entry: Entry[Any] | None, kind: type[R]) -> R:
    return entry.record if entry else kind()


def _counters(view: View) -> Counters:
    sent, received = view.heaven_rx, view.heaven_tx
    return sent.packets, sent.octets, received.packets, received.octets


def _rates(
    counters: Counters, number: int, baseline: Sample | None, now: float
) -> dict[str, float]:
    span, before = math.inf, counters
    if baseline is not None and number in baseline.counters:
        span, before = now - baseline.at, baseline.counters[number]
    names = ("tx_pps", "tx_bps", "rx_pps", "rx_bps")
    units = (1, 8, 1, 8)
    return {
        name: max(0, current - earlier) * unit / span
        for name, unit, current, earlier in zip(names, units, counters, before, strict=True)
    }


def _direction(record: BlessRecord | ConfessRecord, last_at: float, now: float) -> Answer:
    return {
        "spi": f"{record.spi:08x}" if record.spi else None,
        "age_s": _age(record.installed_at, now) if record.spi else None,
        "packets": record.packets,
        "bytes": record.octets,
        "last_s": _age(last_at, now),
    }


def _exchange(chapel: KeeperRecord) -> Answer:
    """The reason is that of the exchange at hand; the board keeps it when that is over."""
    state = EXCHANGE_STATES[chapel.state]
    return {
        "state": state,
        "reason": "" if state == IDLE else EXCHANGE_REASONS[chapel.reason],
    }


def _age(at: float, now: float) -> float | None:
    """Seconds since ``at``; ``None`` for never. A board may be newer than ``now``."""
    return max(0.0, now - at) if at else None


def _path(peer: Address | None, configured: Address | None) -> str:
    if peer is None:
        return "unknown"
    return "configured" if peer == configured else "learned"
