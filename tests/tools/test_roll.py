"""Rolling the keys: what changes, what doesn't, and what is said about it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from chancel.errors import VaultError
from chancel.tools.ambry import keys
from chancel.tools.ambry.bundle import load_ends
from chancel.tools.ambry.check import Device, check
from chancel.tools.ambry.folder import Folder
from chancel.tools.ambry.reading import read
from chancel.tools.ambry.roll import Plan, Rolled, roll
from chancel.wire.ambry import DAY_S
from chancel.wire.types import Flocks
from tests.tools.playing import FLOCK, NOW, OTHER, SUITE, bundle_of, quiet

HOME = Flocks(FLOCK, FLOCK)


@pytest.fixture
def plan(root: Path, bundle: bytes) -> Plan:
    """To replace a bundle that was installed at ``NOW``."""
    place = root / "home.ambry"
    place.write_bytes(bundle)
    return Plan(root, HOME, place, days=30)


def done(plan: Plan, now: float = NOW, **changes: Any) -> Rolled:
    return roll(dataclasses.replace(plan, **changes), SUITE, now, quiet)


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def opens_for_all(plan: Plan) -> bool:
    ends = load_ends(plan.root, plan.flocks, SUITE)
    found = check(read(plan.place), ends, SUITE, quiet)
    return found.sound and len(found.opens) == 255


def test_a_new_bundle_takes_the_place_of_the_old(plan: Plan) -> None:
    before = read(plan.place).header
    rolled = done(plan, NOW + 3 * DAY_S)
    assert rolled.header == read(plan.place).header
    assert rolled.header is not None
    assert rolled.header.expires == before.expires + 3
    assert rolled.header.generation != before.generation
    assert rolled == Rolled(rolled.header, before, renewed=(), cut_off=())
    assert opens_for_all(plan)


def test_the_first_bundle_replaces_nothing(plan: Plan) -> None:
    plan.place.unlink()
    assert done(plan).before is None
    assert opens_for_all(plan)


def test_renewed_devices_have_the_new_key_or_none(plan: Plan) -> None:
    before = contents(plan.root)
    old = read(plan.place)
    rolled = done(plan, renew=[7, 0xFF, 7])
    assert rolled.renewed == rolled.cut_off == (Device(FLOCK, 7), Device(FLOCK, 0xFF))
    after = contents(plan.root)
    flock = Folder(plan.root, FLOCK)
    renewed = {flock.device(device) for device in (7, 0xFF)}
    renewed |= {flock.derived(FLOCK) / path.name for path in renewed}
    assert {path for path in after if after[path] != before.get(path)} == {*renewed, plan.place}
    assert opens_for_all(plan)
    old_one = check(old, load_ends(plan.root, HOME, SUITE), SUITE, quiet)
    assert old_one.cut_off == rolled.renewed  # by these keys: they are others


def test_who_was_renewed_before_is_named(plan: Plan) -> None:
    keys.renew(Folder(plan.root, FLOCK), 9, SUITE)
    assert done(plan, renew=[3]).cut_off == (Device(FLOCK, 3), Device(FLOCK, 9))
    assert done(plan).cut_off == ()


def test_a_dry_run_says_the_same_and_changes_nothing(plan: Plan) -> None:
    before = contents(plan.root)
    rolled = done(plan, renew=[7], dry_run=True, touch=[plan.place])
    assert rolled.renewed == rolled.cut_off == (Device(FLOCK, 7),)
    assert rolled.header is not None
    assert contents(plan.root) == before


@pytest.mark.parametrize(
    ("elapsed_days", "due"), [(0, False), (22, False), (23, True), (29, True), (40, True)]
)
def test_only_when_it_is_time(plan: Plan, elapsed_days: int, due: bool) -> None:
    left = (read(plan.place).header.expires_at - NOW) / DAY_S - elapsed_days
    assert (left < 7) == due
    rolled = done(plan, NOW + elapsed_days * DAY_S, when_left=7, dry_run=True)
    assert (rolled.header is not None) == due


def test_a_renewed_device_does_not_wait(plan: Plan) -> None:
    assert done(plan, when_left=7, renew=[1], dry_run=True).header is not None
    keys.renew(Folder(plan.root, FLOCK), 9, SUITE)
    assert done(plan, when_left=7).cut_off == (Device(FLOCK, 9),)
    assert done(plan, when_left=7).header is None


def test_settings_are_touched_last(plan: Plan, tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_bytes(b"flock ...\n")
    os.utime(settings, (1, 1))
    assert done(plan, touch=[settings], dry_run=True).header is not None
    assert settings.stat().st_mtime == 1
    done(plan, touch=[settings])
    assert settings.stat().st_mtime_ns >= plan.place.stat().st_mtime_ns > 1
    assert settings.read_bytes() == b"flock ...\n"


def test_across_two_flocks(plan: Plan) -> None:
    both = dataclasses.replace(plan, flocks=Flocks(FLOCK, OTHER), place=plan.root / "both.ambry")
    assert done(both).header == read(both.place).header
    with pytest.raises(VaultError, match="renew it, export again, then roll"):
        done(both, renew=[1])
    keys.renew(Folder(plan.root, FLOCK), 5, SUITE)
    with pytest.raises(VaultError, match=r"kek-0x05: .*chancel ambry export"):
        done(both)


class TestRefusals:
    """Each leaves every file as it was."""

    def refuse(self, plan: Plan, reason: str, **changes: Any) -> None:
        before = contents(plan.root)
        with pytest.raises((VaultError, OSError), match=reason):
            done(plan, renew=[7], **changes)
        assert contents(plan.root) == before

    def test_another_file_is_not_replaced(self, plan: Plan) -> None:
        plan.place.write_bytes(b"a letter")
        self.refuse(plan, "has 8 bytes, and a bundle 3756730")

    def test_nor_a_bundle_of_others(self, plan: Plan) -> None:
        plan.place.write_bytes(bundle_of(plan.root, OTHER, OTHER, NOW))
        self.refuse(plan, "is the bundle of flock 00000000deadbe00, and would be replaced")

    def test_settings_that_are_not_there(self, plan: Plan) -> None:
        self.refuse(plan, "settings", touch=[plan.root / "settings"])

    def test_a_folder_that_is_not_there(self, plan: Plan) -> None:
        self.refuse(plan, "nowhere/x", place=plan.root / "nowhere/x")

    def test_a_missing_key(self, plan: Plan) -> None:
        (Folder(plan.root, FLOCK).derived(FLOCK) / "kek-0x20").unlink()
        self.refuse(plan, "kek-0x20: doesn't exist")

    def test_a_bundle_that_does_not_open(self, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
        """As if memory had failed while it was made."""

        def failing(*arguments: object) -> memoryview:
            data = bytearray(bundle_of(plan.root, FLOCK, FLOCK, NOW))
            data[-1] ^= 1
            return memoryview(data)

        monkeypatch.setattr("chancel.tools.ambry.roll.make", failing)
        before = contents(plan.root)
        with pytest.raises(VaultError, match=r"1 entries were changed.*tunnel fffe"):
            done(plan)
        assert contents(plan.root) == before
