"""Rolling the keys: renew, bundle, check and install, so that it happens as a whole or not at all.

Everything is made in memory first, and the bundle is opened again with the key of every device.
Only then files change, each by a rename: those of renewed devices, and last the bundle. Whatever
fails before leaves all as it was. A kill between the renames leaves renewed keys and the old
bundle: the next roll makes the one that fits, or names the key that has to be renewed once more.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from chancel.crypto.suite import Suite
from chancel.errors import VaultError
from chancel.tools.ambry.bundle import Ends, load_ends, make, new_header
from chancel.tools.ambry.check import Device, Findings, check, refused
from chancel.tools.ambry.files import staged
from chancel.tools.ambry.folder import Folder, held
from chancel.tools.ambry.keys import Progress, Renewal
from chancel.tools.ambry.reading import Bundle, decode_untrusted, read
from chancel.wire.ambry import DAY_S, NO_GENERATION, Header
from chancel.wire.types import Flocks


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to roll: keys below ``root``, installed as ``place``."""

    root: Path
    flocks: Flocks
    place: Path
    days: int
    renew: Sequence[int] = ()
    when_left: int | None = None
    """Only if the installed bundle has fewer days left, or a device was renewed since."""
    touch: Sequence[Path] = ()
    """Settings of cathedrals, which look again when these change."""
    dry_run: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Rolled:
    """What was done, or would be: ``header`` is that of the new bundle, ``None`` without need."""

    header: Header | None
    before: Header | None
    renewed: tuple[Device, ...]
    cut_off: tuple[Device, ...]
    """Devices that need their new key: who has the old one can open nothing of this bundle."""


def roll(plan: Plan, suite: Suite, now: float, progress: Progress) -> Rolled:
    """Carry a plan out; ``now`` is the wall clock.

    Raises ``VaultError``, and ``OSError`` of the machine; then nothing was installed.
    """
    for path in plan.touch:
        path.stat()
    installed = _installed(plan)
    with held(plan.root, plan.flocks, to_change=True):
        ends = load_ends(plan.root, plan.flocks, suite)
        late = () if installed is None else refused(installed, ends, suite)
        before = None if installed is None else installed.header
        if before is not None and not _due(plan, before, now, late):
            return Rolled(None, before, (), ())
        renewals = _renewals(plan, ends, suite)
        renewed = tuple(Device(plan.flocks.own, device) for device in renewals)
        known = NO_GENERATION if before is None else before.generation
        header = new_header(suite, now, plan.days, unlike=known)
        data = make(ends, header, suite, lambda *done: progress("wrapping secrets", *done))
        _require_sound(plan.place, data, ends, suite, progress)
        if not plan.dry_run:
            _install(plan, data, renewals)
    return Rolled(header, before, renewed, tuple(sorted({*late, *renewed})))


def require_sound(name: str, findings: Findings) -> None:
    """Raise ``VaultError`` if a device whose key is at hand lacks a secret."""
    if findings.cut_off and not findings.opens:
        raise VaultError(
            f"{name}: opens for nobody: it was made with other keys, or its header was changed"
        )
    if findings.damaged:
        flock, tunnel = findings.damaged[0]
        raise VaultError(
            f"{name}: {len(findings.damaged)} entries were changed, the first for flock"
            f" {flock:016x}, tunnel {tunnel:04x}: make a new bundle"
        )


def _installed(plan: Plan) -> Bundle | None:
    """What is to be replaced; another file than such a bundle is not."""
    try:
        bundle = read(plan.place)
    except FileNotFoundError:
        return None
    if set(bundle.flocks) != set(plan.flocks):
        raise VaultError(
            f"{plan.place}: is the bundle of flock {bundle.flocks.own:016x}, and would be replaced:"
            " name another file"
        )
    return bundle


def _due(plan: Plan, before: Header, now: float, late: Sequence[Device]) -> bool:
    if plan.when_left is None or plan.renew or late:
        return True
    return before.expires_at - now < plan.when_left * DAY_S


def _renewals(plan: Plan, ends: Ends, suite: Suite) -> dict[int, Renewal]:
    """New keys for the devices that the plan names, used in place of the old ones."""
    if plan.renew and plan.flocks.own != plan.flocks.peer:
        raise VaultError(
            "a bundle for two flocks renews no device: renew it, export again, then roll"
        )
    folder = Folder(plan.root, plan.flocks.own)
    renewals = {device: Renewal(folder, device, suite) for device in sorted(set(plan.renew))}
    for device, renewal in renewals.items():
        ends.keys[0][device] = renewal.derived
    return renewals


def _require_sound(
    place: Path, data: memoryview, ends: Ends, suite: Suite, progress: Progress
) -> None:
    name = f"{place} (new)"
    bundle = decode_untrusted(data, name)
    findings = check(bundle, ends, suite, lambda *done: progress("checking the bundle", *done))
    require_sound(name, findings)
    if not findings.sound:
        raise VaultError(f"{name}: doesn't open for every device: nothing was installed")


def _install(plan: Plan, data: memoryview, renewals: dict[int, Renewal]) -> None:
    with ExitStack() as stack:
        installs = [stack.enter_context(each.staged()) for each in renewals.values()]
        file = stack.enter_context(staged(plan.place, data, keep_mode=True))
        if file.read() != data:
            raise VaultError(f"{plan.place}: the disk gave back something else: replace it")
        for install in installs:
            install()
        file.replace()
    for path in plan.touch:
        os.utime(path)
