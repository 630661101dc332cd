"""What ``chancel status`` shows of a cathedral: its board and its news, with rates.

Times on boards are monotonic, so ages come out right whatever the wall clock does; ``..._s`` are
seconds ago, ``None`` for never. What the cathedral's process says is untrusted here: control passes
it on to people, as text and numbers.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from chancel.cathedrald.news import CathedralSettings, News
from chancel.cathedrald.records import CathedralRecord
from chancel.daemon.board import BoardReader, Entry
from chancel.daemon.describe import Answer, age
from chancel.daemon.offloads import ALL, Offload, with_broken
from chancel.daemon.status import RATE_SPAN_MAX_S, RATE_SPAN_S

_REFERENCE = struct.Struct("=I4xQQQQI4xQQQQ4s2sH")
"""What the reference's tools expect of a control socket: keys and counters that no cathedral has,
an address, and the MTU."""

_NOTHING = Entry(CathedralRecord(), {}, 0, {})


class _Sample(NamedTuple):
    """Counters at one time, for rates."""

    at: float
    packets: int
    octets: int


class CathedralBook:
    """All that is known about the one cathedral of a group; began at the monotonic ``started``."""

    def __init__(self, boards: Mapping[str, BoardReader[Any]], started: float) -> None:
        self._board: BoardReader[CathedralRecord] = boards["cathedral"]
        self._started = started
        self._settings: CathedralSettings | None = None
        self._number = 0
        self._about: Answer = {}
        self._samples: deque[_Sample] = deque()
        self.group: Answer = {}
        self.news: News = {}

    def add(self, number: int, settings: CathedralSettings, about: Answer) -> None:
        """Know the cathedral; ``about`` has what only the guardian knows of it."""
        self._number, self._settings, self._about = number, settings, about

    def remove(self, _number: int) -> None:
        """Forget it."""
        self._settings = None

    def ready_at(self, now: float) -> float:
        """When rates can be told: now, or a little later if nobody has looked lately."""
        self._observe(self._read().record, now)
        return now if self._baseline(now) else self._samples[-1].at + RATE_SPAN_S

    def status(self, now: float, own_wakeups: int = 0) -> Answer:
        """The answer to a status request. ``own_wakeups`` are those of control."""
        entry = self._read()
        self._observe(entry.record, now)
        hours = max(now - self._started, 1.0) / 3600
        wakeups = {"control": own_wakeups, "cathedral": entry.wakeups}
        counted = {
            name: {"count": count, "per_hour": round(count / hours)}
            for name, count in wakeups.items()
        }
        group = self.group | {"wakeups": counted}
        described = [] if self._settings is None else [self._describe(self._settings, entry, now)]
        return {"ok": True, "group": group, "tunnels": [], "cathedrals": described}

    def datagram(self, _number: int) -> bytes:
        """The 88 bytes that the reference's tools expect: no keys, and no peer."""
        mtu = self._settings.mtu if self._settings else 0
        return _REFERENCE.pack(*[0] * 10, bytes(4), bytes(2), mtu)

    def _read(self) -> Entry[CathedralRecord]:
        return self._board.read(self._number) or _NOTHING

    def _describe(
        self, settings: CathedralSettings, entry: Entry[CathedralRecord], now: float
    ) -> Answer:
        record = entry.record
        return {
            "instance": settings.instance,
            **self._about,
            "announced": str(settings.announced),
            "offloads": with_broken(self._about.get("offloads", {}), Offload(record.broken) & ALL),
            "mtu": settings.mtu,
            "shroud": settings.shroud,
            "tfc": settings.tfc,
            "p2p_sync": settings.p2p_sync,
            "tunnels": {"local": record.tunnels_local, "federated": record.tunnels_federated},
            "liturgies": {
                "local": record.liturgies_local,
                "federated": record.liturgies_federated,
            },
            "relayed": {
                "traffic": _relayed(record.traffic_in, record.traffic_out, record.traffic_octets),
                "offers": _relayed(record.offers_in, record.offers_out, record.offers_octets),
            },
            "rates": self._rates(record, now),
            "datagrams": {
                "rx": _moved(record.in_datagrams, record.in_octets, record.in_calls),
                "tx": _moved(record.out_datagrams, record.out_octets, record.out_calls),
            },
            "send_error": errno.errorcode.get(record.error),
            **self.news,
            "drops": {
                str(reason): {"count": count, "last_s": age(entry.dropped_at.get(reason, 0.0), now)}
                for reason, count in entry.drops.items()
            },
        }

    def _rates(self, record: CathedralRecord, now: float) -> dict[str, float]:
        """Of relayed traffic: packets and bits that went out in a second."""
        before = self._baseline(now)
        if before is None:
            return {"pps": 0.0, "bps": 0.0}
        span = now - before.at
        return {
            "pps": max(0, record.traffic_out - before.packets) / span,
            "bps": max(0, record.traffic_octets - before.octets) * 8 / span,
        }

    def _observe(self, record: CathedralRecord, now: float) -> None:
        """Take a sample, unless there is a fresh one, and forget those that are too old."""
        samples = self._samples
        while samples and samples[0].at < now - RATE_SPAN_MAX_S:
            samples.popleft()
        if not samples or samples[-1].at <= now - RATE_SPAN_S:
            samples.append(_Sample(now, record.traffic_out, record.traffic_octets))

    def _baseline(self, now: float) -> _Sample | None:
        """The newest sample that is old enough to tell a rate."""
        return next(
            (each for each in reversed(self._samples) if each.at <= now - RATE_SPAN_S), None
        )


def _relayed(came: int, went: int, octets: int) -> Answer:
    return {"packets_in": came, "packets_out": went, "bytes": octets}


def _moved(datagrams: int, octets: int, calls: int) -> Answer:
    return {"datagrams": datagrams, "bytes": octets, "calls": calls}
