"""What ``chancel ambry`` says about bundles: lines for people, objects for scripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from chancel.tools.ambry.check import Device, Findings
from chancel.tools.ambry.folder import flock_name
from chancel.tools.ambry.reading import Bundle
from chancel.tools.ambry.roll import Plan, Rolled
from chancel.wire.ambry import DAY_S, Header, expiry

_WIDTH = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Inspection:
    """A bundle looked at, at the time ``now``; ``findings`` is ``None`` without keys."""

    path: Path
    bundle: Bundle
    now: float
    findings: Findings | None
    renewed: Sequence[Device] | None
    """Devices whose key was renewed since another bundle, ``None`` if there is none to compare."""
    since: Header | None = None
    """Of that other bundle."""

    @property
    def expired(self) -> bool:
        """Whether devices refuse it for its age."""
        return self.bundle.header.expires_at < self.now

    def lines(self) -> Iterator[str]:
        """For people."""
        header = self.bundle.header
        flocks = " and ".join(map(flock_name, sorted(set(self.bundle.flocks))))
        yield f"{self.path}: {self.bundle.shape.pairs} tunnels of flock {flocks}"
        yield _row("generation", f"0x{header.generation:x}")
        yield _row("expires", f"{date(header)}, {_left(header, self.now)}")
        yield from beware(header, self.since, self.now)
        if self.findings is None:
            yield _row("opens for", "unknown: no keys of its flocks here (expected with --keys)")
            return
        yield _row("opens for", f"{len(self.findings.opens)} devices")
        yield _row("cut off", names(self.findings.cut_off))
        if self.renewed is not None:
            yield _row("renewed", f"{names(self.renewed)} (cut off until they have their new key)")
        if self.findings.damaged:
            yield _row("damaged", f"{len(self.findings.damaged)} entries")

    def as_object(self) -> dict[str, Any]:
        """For scripts."""
        header = self.bundle.header
        found: dict[str, Any] = {"opens_for": None, "cut_off": None, "damaged": None}
        if self.findings is not None:
            found = {
                "opens_for": len(self.findings.opens),
                "cut_off": _objects(self.findings.cut_off),
                "damaged": [
                    {"flock": flock_name(flock), "tunnel": f"{tunnel:04x}"}
                    for flock, tunnel in self.findings.damaged
                ],
            }
        return {
            "file": str(self.path),
            "flocks": [flock_name(flock) for flock in self.bundle.flocks],
            "tunnels": self.bundle.shape.pairs,
            **_described(header, self.now),
            **found,
            "renewed": None if self.renewed is None else _objects(self.renewed),
        }


def rolled_lines(plan: Plan, rolled: Rolled, now: float) -> Iterator[str]:
    """What a roll did, or would do, for people."""
    if rolled.header is None:
        if rolled.before is not None:
            yield f"{plan.place}: {_left(rolled.before, now)}, nothing to do"
        return
    done = "would be installed" if plan.dry_run else "installed"
    yield (
        f"{plan.place}: {done}, generation 0x{rolled.header.generation:x},"
        f" expires {date(rolled.header)}"
    )
    if rolled.before is not None:
        yield _row("replaces", f"generation 0x{rolled.before.generation:x}")
    yield from beware(rolled.header, rolled.before, now)
    if rolled.renewed:
        yield _row("renewed", names(rolled.renewed))
    if rolled.cut_off:
        yield _row(
            "cut off", f"{names(rolled.cut_off)} until they have their new key from kek-data"
        )


def rolled_object(plan: Plan, rolled: Rolled, now: float) -> dict[str, Any]:
    """The same for scripts; the generation is ``null`` if there was nothing to do."""
    described = None if rolled.header is None else _described(rolled.header, now)
    before = None if rolled.before is None else _described(rolled.before, now)
    return {
        "file": str(plan.place),
        "installed": rolled.header is not None and not plan.dry_run,
        "bundle": described,
        "replaces": before,
        "renewed": _objects(rolled.renewed),
        "cut_off": _objects(rolled.cut_off),
        "expires_sooner": bool(rolled.header and any(beware(rolled.header, rolled.before, now))),
    }


def date(header: Header) -> str:
    """When a bundle expires."""
    return f"{datetime.fromtimestamp(header.expires_at, UTC):%Y-%m-%d %H:%M} UTC"


def beware(header: Header, before: Header | None, now: float) -> Iterator[str]:
    """A line, if the bundle expires before the one it replaces: devices would take that one back
    from a cathedral that serves it again, as if it were the newer one.
    """
    if before is not None and header.expires < before.expires and now <= before.expires_at:
        yield _row(
            "beware",
            "it expires before the one it replaces, which a bad cathedral could bring back until"
            f" {date(before)}: give it {before.expires - expiry(now, 0)} days",
        )


def names(devices: Sequence[Device]) -> str:
    """Devices by flock, ids that follow each other as a range."""
    if not devices:
        return "nobody"
    by_flock = groupby(sorted(devices), key=lambda device: device.flock)
    return "; ".join(
        f"{flock_name(flock)} {', '.join(_ranges([each.id for each in group]))}"
        for flock, group in by_flock
    )


def _ranges(ids: Sequence[int]) -> Iterator[str]:
    start = previous = ids[0]
    for each in (*ids[1:], None):
        if each is not None and each == previous + 1:
            previous = each
            continue
        yield f"0x{start:02x}" if start == previous else f"0x{start:02x}-0x{previous:02x}"
        start = previous = each or 0


def _row(name: str, text: str) -> str:
    return f"  {name:<{_WIDTH}}{text}"


def _left(header: Header, now: float) -> str:
    days = int((header.expires_at - now) // DAY_S)
    return f"{days} days left" if days >= 0 else "expired"


def _described(header: Header, now: float) -> dict[str, Any]:
    return {
        "generation": f"{header.generation:08x}",
        "expires": f"{datetime.fromtimestamp(header.expires_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "days_left": round((header.expires_at - now) / DAY_S, 2),
        "expired": header.expires_at < now,
    }


def _objects(devices: Sequence[Device]) -> list[dict[str, Any]]:
    return [{"flock": flock_name(each.flock), "device": f"{each.id:02x}"} for each in devices]
