"""Whole or not at all: full disks, kills at each step, and what stays behind."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chancel.errors import VaultError
from chancel.tools.ambry import keys
from chancel.tools.ambry.bundle import load_ends
from chancel.tools.ambry.files import new_folder, staged
from chancel.tools.ambry.folder import Folder
from chancel.wire.ambry import OWN
from chancel.wire.types import Flocks
from tests.tools.playing import FLOCK, SUITE

OLD = b"what was there"
TIMEOUT_S = 60

DYING = """
import os, sys
name, number, signal = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
real, calls = getattr(os, name), []
def dying(*arguments, **options):
    calls.append(1)
    if len(calls) == number:
        os.kill(os.getpid(), signal)
    return real(*arguments, **options)
setattr(os, name, dying)
from chancel.cli.main import main
sys.exit(main(sys.argv[4:]))
"""
"""``chancel`` that gets a signal at the n-th call of a function of ``os``."""

BUNDLE = ("ambry", "bundle", "cafeba00", "cafeba00", "out")


def chancel(
    root: Path, *words: str, limit: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chancel.cli.main", *words],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        preexec_fn=limit,
    )


def dying(root: Path, call: str, number: int, signal_: int, *words: str) -> int:
    command = [sys.executable, "-c", DYING, call, str(number), str(int(signal_)), *words]
    done = subprocess.run(command, cwd=root, capture_output=True, timeout=TIMEOUT_S, check=False)
    return done.returncode


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [0, 1_000_000, OWN.size - 1])
def test_no_half_bundle_where_files_may_not_grow(root: Path, size: int) -> None:
    (root / "out").write_bytes(OLD)
    done = chancel(root, *BUNDLE, limit=limited(size))
    assert (done.returncode, done.stderr) == (
        1,
        "chancel: out: File too large (see: ulimit -f)\n",
    )
    assert (root / "out").read_bytes() == OLD
    assert hidden(root) == []


@pytest.mark.parametrize("words", [["generate", "feed00"], ["cosk-pair", "new", "new.pub"]])
def test_no_half_keys_where_files_may_not_grow(root: Path, words: list[str]) -> None:
    before = visible(root)
    done = chancel(root, "ambry", *words, limit=limited(20))
    assert (done.returncode, "File too large" in done.stderr) == (1, True)
    assert (visible(root), hidden(root)) == (before, [])


def test_no_half_renewal_where_files_may_not_grow(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("kek-0x*")}
    done = chancel(root, "ambry", "renew", "cafeba00", "5", limit=limited(20))
    assert done.returncode == 1
    assert "00000000cafeba00/kek-data/kek-0x05: File too large" in done.stderr
    assert {path: path.read_bytes() for path in root.rglob("kek-0x*")} == before
    assert hidden(root) == []


@pytest.mark.skipif(
    shutil.which("unshare") is None, reason="needs unshare: apt-get install util-linux"
)
@pytest.mark.parametrize("words", [["bundle"], ["roll", "--renew", "5"]], ids=["bundle", "roll"])
def test_a_full_disk(root: Path, words: list[str]) -> None:
    """A file system of 1 MB, which has the place of the bundle and nothing else."""
    before = {path: path.read_bytes() for path in root.rglob("kek-0x*")}
    (root / "disk").mkdir()
    script = (
        "mount -t tmpfs -o size=1m none disk || exit 9;"
        ' "$@"; status=$?; ls -A disk >left; exit $status'
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    name, *options = words
    words = ["ambry", name, "cafeba00", "cafeba00", "disk/out", *options]
    done = subprocess.run(
        [*command, sys.executable, "-m", "chancel.cli.main", *words],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stderr == "chancel: disk/out: No space left on device\n"
    assert done.returncode == 1
    assert (root / "left").read_text() == ""
    assert {path: path.read_bytes() for path in root.rglob("kek-0x*")} == before


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_a_kill_leaves_the_old_bundle(root: Path, call: str) -> None:
    (root / "out").write_bytes(OLD)
    assert dying(root, call, 1, signal.SIGKILL, *BUNDLE) == -signal.SIGKILL
    assert (root / "out").read_bytes() == OLD
    assert visible(root) == ["00000000cafeba00", "00000000deadbe00", "out"]


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_is_asked_to_end_leaves_nothing(root: Path, signal_: int) -> None:
    (root / "out").write_bytes(OLD)
    assert dying(root, "fsync", 1, signal_, *BUNDLE) == 1
    assert (root / "out").read_bytes() == OLD
    assert hidden(root) == []


@pytest.mark.parametrize(("call", "number"), [("open", 600), ("fsync", 100)])
def test_a_kill_leaves_no_half_flock(tmp_path: Path, call: str, number: int) -> None:
    words = ("ambry", "generate", "cafeba00")
    assert dying(tmp_path, call, number, signal.SIGKILL, *words) == -signal.SIGKILL
    assert visible(tmp_path) == []
    assert chancel(tmp_path, *words).returncode == 0  # what stayed behind is in nobody's way
    assert visible(tmp_path) == ["00000000cafeba00"]


def test_a_kill_between_two_keys_is_named_and_healed(root: Path) -> None:
    words = ("ambry", "renew", "cafeba00", "5")
    assert dying(root, "replace", 2, signal.SIGKILL, *words) == -signal.SIGKILL
    folder, flocks = Folder(root, FLOCK), Flocks(FLOCK, FLOCK)
    with pytest.raises(VaultError, match=r"internal/kek-0x05: .*chancel ambry renew cafeba00 5"):
        load_ends(root, flocks, SUITE)
    keys.renew(folder, 5, SUITE)
    load_ends(root, flocks, SUITE)


def test_a_new_file_has_the_rights_of_a_key(tmp_path: Path) -> None:
    with staged(tmp_path / "new", b"data") as file:
        file.put_new()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o400


@pytest.mark.parametrize(("keep_mode", "mode"), [(True, 0o644), (False, 0o400)])
def test_who_may_read_a_bundle_may_read_the_next(
    tmp_path: Path, keep_mode: bool, mode: int
) -> None:
    place = tmp_path / "old"
    place.write_bytes(OLD)
    place.chmod(0o644)
    owner = (12345, 54321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(place, *owner)
    with staged(place, b"new", keep_mode=keep_mode) as file:
        file.replace()
    status = place.stat()
    assert (place.read_bytes(), stat.S_IMODE(status.st_mode)) == (b"new", mode)
    assert (status.st_uid, status.st_gid) == owner


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_only_a_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """``bundle ... /dev/stdout`` by root would otherwise take it away from everybody."""
    place = tmp_path / "place"
    match kind:
        case "folder":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
        case "link":
            place.symlink_to("elsewhere")
    before = place.lstat()
    with pytest.raises(VaultError, match="place: is not a regular file"), staged(place, OLD):
        pass
    assert (place.lstat(), list(tmp_path.iterdir())) == (before, [place])


def test_a_folder_with_an_error_never_was(tmp_path: Path) -> None:
    def failing() -> None:
        with new_folder(tmp_path / "new") as path:
            (path / "file").write_bytes(OLD)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    assert list(tmp_path.iterdir()) == []


def test_somebody_who_was_faster_keeps_the_name(tmp_path: Path) -> None:
    place = tmp_path / "new"
    with pytest.raises(VaultError, match="exists, and is kept"), new_folder(place):
        place.write_bytes(OLD)
    assert place.read_bytes() == OLD
    with pytest.raises(VaultError, match="exists, and is kept"), staged(place, b"x") as file:
        file.put_new()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
