"""Settings while a cathedral runs: errors keep what was, bundles are judged one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chancel.cathedrald.settings import (
    SettingsFile,
    SettingsRefused,
    bundle_directories,
    check_start,
    read_regular,
)
from chancel.errors import VaultError
from chancel.wire.types import Address
from tests.cathedrald.parish import FLOCK, IDENTITY, LOCAL, OTHER, SETTINGS, Parish, bundle

WALL = time.time()


class Watched(SettingsFile):
    """The settings of a parish."""

    def __init__(self, parish: Parish) -> None:
        super().__init__(parish.settings, LOCAL)
        self.parish = parish
        self._writes = 0

    def write(self, text: str) -> None:
        """Replace the file, in a way that can't be missed."""
        self._writes += 1
        self.parish.settings.write_text(text)
        os.utime(self.parish.settings, ns=(0, self._writes))

    def allowed(self) -> list[int]:
        return [allow.device for allow in self.settings.flocks[FLOCK].allows]


@pytest.fixture
def watched(parish: Parish) -> Watched:
    found = Watched(parish)
    look = found.look(WALL)
    assert (look.changed, look.problems) == (True, [])
    return found


def served(watched: Watched) -> int | None:
    """The generation of the bundle in force for the first flock."""
    in_force = watched.settings.flocks[FLOCK].bundle
    return in_force.header.generation if in_force else None


def with_bundle(path: Path | str) -> str:
    return SETTINGS.replace("    allow", f"    ambry {path}\n    allow", 1)


def replace(path: Path, data: bytes, number: int) -> None:
    path.write_bytes(data)
    os.utime(path, ns=(0, number))


class TestReload:
    def test_nothing_is_read_twice(self, watched: Watched) -> None:
        before = watched.settings
        look = watched.look(WALL)
        assert (look.changed, look.problems) == (False, [])
        assert watched.settings is before

    def test_a_change_counts(self, watched: Watched) -> None:
        assert watched.allowed() == [1, 2]
        watched.write(SETTINGS.replace("spi 02", "spi 03"))
        assert watched.look(WALL).changed
        assert watched.allowed() == [1, 3]

    def test_any_error_keeps_all_that_was(self, watched: Watched) -> None:
        watched.write(SETTINGS.replace("spi 02", "spi 03") + "flok 1 {\n")
        look = watched.look(WALL)
        assert not look.changed
        (problem,) = look.problems
        assert problem.startswith(f"{watched.parish.settings}:8: ")
        assert "'flok'" in problem
        assert watched.allowed() == [1, 2]
        assert watched.problems == (problem,)

    def test_errors_are_told_once_for_each_change(self, watched: Watched) -> None:
        watched.write("flok\n")
        assert len(watched.look(WALL).problems) == 1
        assert watched.look(WALL).problems == []
        watched.write("flok\nallow\n")
        assert len(watched.look(WALL).problems) == 1  # the new one
        watched.write(SETTINGS)
        assert watched.look(WALL).changed
        assert watched.problems == ()

    def test_a_file_that_is_gone_keeps_what_was(self, watched: Watched) -> None:
        watched.parish.settings.unlink()
        look = watched.look(WALL)
        assert not look.changed
        assert look.problems == [
            f"{watched.parish.settings}: doesn't exist: create it, or correct the path"
        ]
        assert watched.look(WALL).problems == []
        assert watched.allowed() == [1, 2]

    def test_our_own_address_is_left_out_of_the_federation(self, watched: Watched) -> None:
        watched.write(SETTINGS + "federate 192.0.2.7 4500\nfederate 127.0.0.1 4500\n")
        watched.look(WALL)
        assert watched.settings.federation == (Address("192.0.2.7", 4500),)


class TestStart:
    def test_every_line_is_named(self, parish: Parish) -> None:
        parish.settings.write_text("flok\n" + SETTINGS + "federate 192.0.2.1\n")
        with pytest.raises(SettingsRefused) as caught:
            check_start(parish.settings, LOCAL)
        assert f"{parish.settings}:1: " in str(caught.value)
        assert f"{parish.settings}:9: federate: " in str(caught.value)

    def test_where_bundles_are(self, parish: Parish) -> None:
        text = with_bundle("/somewhere/a") + f"xflock {FLOCK:x} {OTHER:x} /elsewhere/b\n"
        parish.settings.write_text(text)
        draft = check_start(parish.settings, LOCAL)
        assert bundle_directories(draft) == {"/somewhere", "/elsewhere"}


class TestBundles:
    @pytest.fixture
    def path(self, watched: Watched) -> Path:
        """A bundle that is in force."""
        path = watched.parish.bundle("home.ambry", FLOCK, generation=1)
        os.utime(path, ns=(0, 0))
        watched.write(with_bundle(path))
        assert watched.look(WALL).problems == []
        assert served(watched) == 1
        return path

    def test_a_new_one_counts_without_a_change_of_the_settings(
        self, watched: Watched, path: Path
    ) -> None:
        replace(path, bundle(FLOCK, generation=2), 1)
        assert watched.look(WALL).changed
        assert served(watched) == 2

    @pytest.mark.parametrize(
        ("spoil", "problem"),
        [
            (lambda: bundle(FLOCK, generation=2)[:1_000_000], "has 1000000 bytes"),
            (lambda: bundle(FLOCK, generation=2) + b"x", "bytes"),
            (lambda: b"", "has 0 bytes"),
            (lambda: bundle(OTHER, generation=2), "foreign"),
            (lambda: bundle(FLOCK, OTHER, generation=2), "bytes"),
            (lambda: bundle(FLOCK, generation=2, days=-2), "expired"),
            (lambda: bundle(FLOCK, generation=0), "generation 0"),
        ],
    )
    def test_one_that_is_wrong_is_named_and_the_old_one_stays(
        self, watched: Watched, path: Path, spoil: Callable[[], bytes], problem: str
    ) -> None:
        replace(path, spoil(), 1)
        look = watched.look(WALL)
        (told,) = look.problems
        assert told.startswith(f"{watched.parish.settings}:2: ambry: {path}: ")
        assert problem in told
        assert served(watched) == 1
        (state,) = watched.bundles
        assert state.problem == told
        assert watched.look(WALL).problems == []
        replace(path, bundle(FLOCK, generation=3), 2)
        assert watched.look(WALL).problems == []
        assert served(watched) == 3

    def test_one_that_is_gone_stays_in_force(self, watched: Watched, path: Path) -> None:
        path.unlink()
        assert "doesn't exist" in watched.look(WALL).problems[0]
        assert watched.look(WALL).problems == []
        assert served(watched) == 1

    def test_one_that_is_missing_at_the_start_may_come_later(self, watched: Watched) -> None:
        path = watched.parish.folder / "late.ambry"
        watched.write(with_bundle(path))
        look = watched.look(WALL)
        assert look.changed  # the rest of the settings is in force
        assert "late.ambry: doesn't exist" in look.problems[0]
        assert served(watched) is None
        watched.parish.bundle("late.ambry", FLOCK, generation=5)
        assert watched.look(WALL).changed
        assert served(watched) == 5

    def test_a_line_that_is_gone_ends_it(self, watched: Watched, path: Path) -> None:
        watched.write(SETTINGS)
        assert watched.look(WALL).changed
        assert served(watched) is None
        assert watched.bundles == []

    def test_between_two_flocks(self, watched: Watched) -> None:
        path = watched.parish.bundle("both.ambry", FLOCK, OTHER, generation=9)
        watched.write(SETTINGS + f"xflock {OTHER:x} {FLOCK:x} {path}\n")
        assert watched.look(WALL).problems == []
        ((key, in_force),) = watched.settings.xflocks.items()
        assert key == (FLOCK, OTHER)
        assert in_force is not None
        assert in_force.header.generation == 9


def test_only_regular_files_are_read(parish: Parish) -> None:
    os.mkfifo(parish.folder / "pipe")
    with pytest.raises(VaultError, match="is not a regular file"):
        read_regular(parish.folder / "pipe", 10)
    with pytest.raises(VaultError, match="at most 10 make sense"):
        read_regular(parish.settings, 10)
    assert read_regular(parish.settings, 10_000).decode() == SETTINGS
    assert f"{IDENTITY:x}" in SETTINGS
