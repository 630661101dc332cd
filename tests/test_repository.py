"""The repository as a whole: complete in itself, and what it promises is there."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chancel.wire.drop import Drop

ROOT = Path(__file__).parents[1]
THIS = Path(__file__)

TARGETS = [
    "setup",
    "accel",
    "demo",
    "test",
    "test-root",
    "lint",
    "bench",
    "bench-full",
    "bulk",
    "interop",
    "fuzz",
    "fuzz-setup",
    "sim",
    "docs",
    "lock",
]

OUTSIDE = ("../" + "shared", "/work" + "/", "/root" + "/", "/tmp/" + "brief")
"""Paths of one developer's machine; spelt so that this file doesn't have them."""


def _files() -> list[Path]:
    """Everything that is, or would be, committed."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def test_nothing_mentions_a_path_outside_of_the_repository() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {outside}"
        for path in _files()
        for text in [path.read_text(errors="replace")]
        for outside in OUTSIDE
        if outside in text
    ]
    assert found == []


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_target(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_ci_can_be_run() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_every_drop_reason_is_reached_by_a_test() -> None:
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/**/*.py") if path != THIS)
    named = set(re.findall(r"\bDrop\.([A-Z_]+)\b", tests))
    assert {reason.name for reason in Drop} - named == set()


def _locked(file: str = "requirements.lock") -> dict[str, str]:
    """Name → version of every package in a lock file."""
    text = (ROOT / file).read_text()
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE))


def test_the_lock_fits_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = [*project["project"]["dependencies"], *groups["dev"], *groups["fuzz"]]
    packages = _locked() | _locked("requirements-fuzz.lock")
    locked = {canonicalize_name(name): version for name, version in packages.items()}
    for requirement in map(Requirement, wanted):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not locked: make lock"
        assert requirement.specifier.contains(version), f"{requirement}, but {version} is locked"


def test_every_locked_package_has_hashes() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", (ROOT / "requirements.lock").read_text(), flags=re.M)
    bare = [entry.splitlines()[0] for entry in entries if entry and "--hash=sha256:" not in entry]
    assert bare == []


def test_every_locked_package_has_its_licence_on_the_page() -> None:
    page = (ROOT / "docs/licences.md").read_text()
    packages = _locked() | _locked("requirements-fuzz.lock")
    missing = [name for name in packages if not re.search(rf"(?<![\w-]){name}(?![\w-])", page)]
    assert missing == []
