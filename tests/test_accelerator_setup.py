"""``make setup`` and the accelerator: built where it can be, else a notice, and never a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from chancel import __version__
from tests.docs import crates

ROOT = Path(__file__).parents[1]
COPIED = ("Makefile", "pyproject.toml", "requirements.lock", "accel", "packaging", "src/chancel")
TOOLS = ("sh", "make", "touch", "rm", "cp", "mv", "mkdir", "dirname", "grep", "head", "ls", "env")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what ``make setup`` needs, up to the point at which the accelerator's turn comes.

    Its ``.venv`` has no packages but imports the copy, and is stamped as set up.
    """
    found = tmp_path / "clone"
    for name in COPIED:
        source, target = ROOT / name, found / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignored = shutil.ignore_patterns("target", "__pycache__")
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy(source, target)
    venv.create(found / ".venv", with_pip=False)
    (site(found) / "clone.pth").write_text(str(found / "src"))
    for stamp in (".locked", ".ready"):
        (found / ".venv" / stamp).touch()
    return found


def site(clone: Path) -> Path:
    return clone / f".venv/lib/python3.{sys.version_info.minor}/site-packages"


def make(clone: Path, target: str, *directories: Path, **environment: str) -> tuple[int, str]:
    """Run ``make`` with nothing on its path but the tools it needs, and these directories."""
    tools = clone.parent / "tools"
    if not tools.exists():
        tools.mkdir()
        for name in TOOLS:
            (tools / name).symlink_to(shutil.which(name) or name)
        (tools / "python3").symlink_to(sys.executable)
    path = os.pathsep.join(map(str, (*directories, tools)))
    done = subprocess.run(
        [tools / "make", target],
        cwd=clone,
        env={"PATH": path, "HOME": str(clone.parent), "MAKEFLAGS": ""} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def cargo() -> str:
    found = shutil.which("cargo") or shutil.which(Path.home() / ".cargo/bin/cargo")
    if found is None:
        pytest.skip("needs cargo: https://rustup.rs")
    return found


def test_without_cargo_setup_says_so_once_and_succeeds(clone: Path) -> None:
    stale = site(clone) / "chancel_accel.abi3.so"
    stale.write_bytes(b"of an earlier release")
    status, said = make(clone, "setup")
    assert status == 0, said
    assert "there is no cargo: get it from https://rustup.rs, then: make accel" in said
    assert "Python carries the packets instead" in said
    assert not stale.exists()
    status, said = make(clone, "setup")
    assert (status, "cargo" in said) == (0, False), said


def test_without_cargo_make_accel_fails(clone: Path) -> None:
    status, said = make(clone, "accel")
    assert status != 0
    assert "there is no cargo" in said


def test_a_cargo_that_comes_later_is_noticed(clone: Path) -> None:
    assert make(clone, "setup")[0] == 0
    late = clone.parent / "late"
    late.mkdir()
    (late / "cargo").write_text("#!/bin/sh\necho 'error: rustc 1.63 is too old' >&2; exit 101\n")
    (late / "cargo").chmod(0o755)
    status, said = make(clone, "setup", late)
    assert status == 0, said
    assert "error: rustc 1.63 is too old" in said
    assert "could not be built" in said
    status, said = make(clone, "setup", late)
    assert (status, "accelerator" in said) == (0, False), "tried again without a reason"
    (clone / "accel/src/lib.rs").touch()
    assert "could not be built" in make(clone, "setup", late)[1], "sources changed"
    assert "there is no cargo" in make(clone, "setup")[1], "gone again"
    assert "could not be built" in make(clone, "setup", late)[1], "and back"


def test_crates_that_cannot_be_fetched_are_no_failure(clone: Path) -> None:
    """The real cargo, of a machine that has no network and no crates."""
    found = cargo()
    environment = {name: os.environ[name] for name in ("RUSTUP_HOME",) if name in os.environ}
    environment.setdefault("RUSTUP_HOME", str(Path.home() / ".rustup"))
    status, said = make(
        clone,
        "setup",
        Path(found).parent,
        CARGO_HOME=str(clone / "nothing"),
        CARGO_NET_OFFLINE="true",
        **environment,
    )
    assert status == 0, said
    assert "could not be built" in said
    assert "error: " in said


def test_what_was_built_can_be_imported_and_is_of_our_release() -> None:
    cargo()
    done = subprocess.run(
        [sys.executable, "-c", "import chancel_accel as a; print(a.__version__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("needs cargo to build the accelerator: make accel says why it can't")
    assert done.stdout.strip() == __version__


def test_all_say_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wheel = tomllib.loads((ROOT / "accel/pyproject.toml").read_text())["project"]
    crate = tomllib.loads((ROOT / "accel/Cargo.toml").read_text())["package"]
    locked = tomllib.loads((ROOT / "accel/Cargo.lock").read_text())["package"]
    (ours,) = (each for each in locked if each["name"] == "chancel-accel")
    found = {each["version"] for each in (project, wheel, crate, ours)}
    assert found == {__version__}
    assert project["optional-dependencies"]["accel"] == [f"chancel-accel=={__version__}"]


def test_every_locked_crate_has_its_licence_on_the_page() -> None:
    locked = tomllib.loads((ROOT / "accel/Cargo.lock").read_text())["package"]
    wanted = {each["name"] for each in locked} - {crates.OURS}
    assert crates.names(crates.PAGE.read_text()) == wanted, "python -m tests.docs.crates"


def test_the_licences_are_those_of_the_crates() -> None:
    known = crates.metadata(cargo())
    if known is None:
        pytest.skip("needs cargo to have fetched the crates: make accel")
    assert crates.told(crates.PAGE.read_text()) == crates.table(known), (
        "python -m tests.docs.crates"
    )
