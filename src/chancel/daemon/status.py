"""What ``chancel status`` shows: the boards of a group, read together, with rates.

Nothing is sampled but when somebody looks: an idle group that nobody watches sleeps.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections import deque
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any, NamedTuple

from chancel.daemon import describe
from chancel.daemon.board import BoardReader
from chancel.daemon.describe import Answer
from chancel.daemon.records import current_peer
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.view import Counters, View, look
from chancel.wire.types import Address

RATE_SPAN_S = 0.5
"""Rates are over at least this time,"""
RATE_SPAN_MAX_S = 5.0
"""and at most over this one."""

WAKEUP_SPAN_S = 60.0
"""Wake-ups per hour are counted over at least this time where somebody looked that long ago,"""
WAKEUP_SPAN_MAX_S = 3600.0
"""at most over this one, and over the group's life where nobody looked in between."""

_DATAGRAM = struct.Struct("=I4xQQQQI4xQQQQ4s2sH")


class Sample(NamedTuple):
    """Counters of inner packets and bytes, for rates."""

    at: float
    counters: dict[int, Counters]


class WakeupSample(NamedTuple):
    """Wake-ups of each process since the start."""

    at: float
    counts: dict[str, int]


@dataclasses.dataclass(slots=True)
class _Tunnel:
    settings: TunnelSettings
    about: Answer


class StatusBook:
    """All that is known about the group's tunnels. It began at the monotonic second ``started``."""

    def __init__(self, boards: Mapping[str, BoardReader[Any]], started: float = 0.0) -> None:
        self._boards = boards
        self._tunnels: dict[int, _Tunnel] = {}
        self._samples: deque[Sample] = deque()
        self._wakeups = deque([WakeupSample(started, {})])
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

    def status(self, now: float, own_wakeups: int = 0) -> Answer:
        """The answer to a status request (``ctl`` describes it).

        ``own_wakeups`` are those of control, which has no board.
        """
        self._observe(now)
        baseline = self._baseline(now)
        views = {number: look(self._boards, number) for number in sorted(self._tunnels)}
        return {
            "ok": True,
            "group": self.group | {"wakeups": self._count_wakeups(views, own_wakeups, now)},
            "tunnels": [
                describe.describe(tunnel.settings, tunnel.about, view, now)
                | {"rates": _rates(view.counters(), number, baseline, now)}
                for number, view in views.items()
                for tunnel in [self._tunnels[number]]
            ],
        }

    def datagram(self, tunnel: int) -> bytes:
        """The 88 bytes that the reference's tools expect, in the machine's own byte order."""
        settings = self._tunnels[tunnel].settings
        view = look(self._boards, tunnel)
        host, port = _reference_address(current_peer(settings.peer, view.confess, view.keeper))
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
            host,
            port,
            view.heaven_rx.mtu or settings.mtu,
        )

    def _count_wakeups(self, views: Mapping[int, View], own: int, now: float) -> Answer:
        """Of each process: how often it woke up since the start, and how often in an hour."""
        counts = self._wakeup_counts(views) | {"control": own}
        samples = self._wakeups
        while len(samples) > 1 and samples[1].at <= now - WAKEUP_SPAN_MAX_S:
            samples.popleft()
        if samples[-1].at <= now - WAKEUP_SPAN_S:
            samples.append(WakeupSample(now, counts))
        before = next((each for each in samples if each.at <= now - WAKEUP_SPAN_S), samples[0])
        hours = max(now - before.at, 1.0) / 3600
        return {
            process: {
                "count": count,
                "per_hour": round((count - before.counts.get(process, 0)) / hours),
            }
            for process, count in counts.items()
        }

    def _wakeup_counts(self, views: Mapping[int, View]) -> dict[str, int]:
        """Of each process that has a board."""
        counts: dict[str, int] = {}
        for number, view in views.items():
            for board, entry in view.entries.items():
                process = describe.owner(board, self._tunnels[number].settings.mode)
                counts[process] = max(entry.wakeups, counts.get(process, 0))
        return counts

    def _observe(self, now: float) -> None:
        """Take a sample, unless there is a fresh one, and forget those that are too old."""
        while self._samples and self._samples[0].at < now - RATE_SPAN_MAX_S:
            self._samples.popleft()
        if not self._samples or self._samples[-1].at <= now - RATE_SPAN_S:
            views = {number: look(self._boards, number) for number in self._tunnels}
            counters = {number: view.counters() for number, view in views.items()}
            self._samples.append(Sample(now, counters))

    def _baseline(self, now: float) -> Sample | None:
        """The newest sample that is old enough to tell a rate."""
        old = [sample for sample in self._samples if sample.at <= now - RATE_SPAN_S]
        return old[-1] if old else None


def _reference_address(peer: Address | None) -> tuple[bytes, bytes]:
    """IPv4 address and port in network order; zeros where the reference's layout has no place."""
    ip = ip_address(peer.host) if peer else None
    if peer is None or not isinstance(ip, IPv4Address):
        return bytes(4), bytes(2)
    return ip.packed, peer.port.to_bytes(2, "big")


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
