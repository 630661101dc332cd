"""Key files and bundles by either tool, used by the other: ``AMBRY=/path/to/ambry``.

Without it, the tool beside ``SANCTUM=/path/to/sanctum`` is taken. Neither needs root.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from chancel.crypto.ed25519 import sign, verify_untrusted
from chancel.tools.ambry.bundle import load_ends
from chancel.tools.ambry.check import Device, Findings, check
from chancel.tools.ambry.reading import read
from chancel.wire.ambry import DAY_S, DEVICES
from chancel.wire.types import FlockId, Flocks
from tests.tools.playing import SUITE, quiet

HOME, OTHER = FlockId(0xCAFEBA00), FlockId(0xDEADBE00)
TIMEOUT_S = 60

Tool = Callable[..., subprocess.CompletedProcess[str]]


class Tools(NamedTuple):
    """Both tools, to be called with words, in the folder of the test."""

    ours: Tool
    theirs: Tool


def reference() -> str:
    """The reference's tool, or the test is skipped."""
    path = os.environ.get("AMBRY")
    if path is None and (sanctum := os.environ.get("SANCTUM")):
        path = str(Path(sanctum).parent / "tools/ambry/ambry")
    if path is None:
        pytest.skip("no reference build: make interop AMBRY=/path/to/ambry")
    if shutil.which(path) is None:
        pytest.skip(f"AMBRY={path} is no program that can be run")
    return str(Path(path).resolve())


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    def tool(*command: str) -> Tool:
        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*command, *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )

        return run

    return Tools(tool(sys.executable, "-m", "chancel.cli.main", "ambry"), tool(reference()))


either = pytest.mark.parametrize("maker", ["ours", "theirs"])
both_ways = pytest.mark.parametrize(
    ("maker", "user"), [("ours", "theirs"), ("theirs", "ours")], ids=["ours", "theirs"]
)


def found(root: Path, name: str, own: FlockId, peer: FlockId) -> Findings:
    """Every entry opened with the keys that are here."""
    bundle = read(root / name)
    assert bundle.flocks == (own, peer)
    return check(bundle, load_ends(root, Flocks(own, peer), SUITE), SUITE, quiet)


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and the rights that matter."""
    return {
        str(path.relative_to(root)): (
            stat.S_IMODE(path.stat().st_mode) & ~0o100 if path.is_file() else 0o700,
            path.stat().st_size if path.is_file() else 0,
        )
        for path in root.rglob("*")
    }


def make_keys(tool: Tool) -> None:
    for words in (
        ("generate", "cafeba00"),
        ("generate", "deadbe00"),
        ("export", "cafeba00", "deadbe00"),
        ("export", "deadbe00", "cafeba00"),
    ):
        done = tool(*words)
        assert done.returncode == 0, done.stderr


def test_the_same_files_and_texts(tools: Tools, tmp_path: Path) -> None:
    """Modes but for the bit that says a key could be executed."""
    made = []
    for tool in tools:
        texts = []
        for words in (
            ("generate", "cafeba01"),
            ("export", "0xcafeba00", "deadbe05"),
            ("renew", "cafeba00", "0x1f"),
            ("bundle", "cafeba00", "cafeba00", "30", "out"),
            ("cosk-pair", "cosk", "cosk.pub"),
        ):
            done = tool(*words)
            assert done.returncode == 0, done.stderr
            errors = re.sub(r"0x[0-9a-f]+$", "0x", done.stderr.strip())
            if words[0] == "renew":
                errors = ""  # ours names the exported key that is stale now
            texts.append((done.stdout, errors))
        made.append((texts, tree(tmp_path)))
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert made[0] == made[1]


@both_ways
def test_a_bundle_made_with_the_others_keys(
    tools: Tools, tmp_path: Path, maker: str, user: str
) -> None:
    make_keys(getattr(tools, maker))
    for own, peer, name in ((HOME, HOME, "home"), (HOME, OTHER, "both")):
        done = getattr(tools, user)("bundle", f"{own:x}", f"{peer:x}", "30", name)
        assert done.returncode == 0, done.stderr
        result = found(tmp_path, name, own, peer)
        assert result.sound
        assert len(result.opens) == len(DEVICES) * (1 + (own != peer))
        assert tools.ours("inspect", name).returncode == 0


@both_ways
def test_a_device_renewed_by_the_other(tools: Tools, tmp_path: Path, maker: str, user: str) -> None:
    make_keys(getattr(tools, maker))
    done = getattr(tools, maker)("bundle", "cafeba00", "cafeba00", "30", "old")
    assert done.returncode == 0, done.stderr
    done = getattr(tools, user)("renew", "cafeba00", "7")
    assert done.returncode == 0, done.stderr
    assert found(tmp_path, "old", HOME, HOME).cut_off == (Device(HOME, 7),)
    done = getattr(tools, maker)("bundle", "cafeba00", "cafeba00", "30", "new")
    assert done.returncode == 0, done.stderr
    assert found(tmp_path, "new", HOME, HOME).sound


def test_both_date_a_bundle_alike(tools: Tools, tmp_path: Path) -> None:
    make_keys(tools.theirs)
    for days in (1, 30, 24855):
        expires = []
        for tool in tools:
            assert tool("bundle", "cafeba00", "cafeba00", str(days), "out").returncode == 0
            expires.append(read(tmp_path / "out").header.expires_at)
        assert expires[1] - expires[0] in (0, DAY_S)  # a day may have begun between them


def test_our_roll_replaces_their_bundle(tools: Tools, tmp_path: Path) -> None:
    make_keys(tools.theirs)
    assert tools.theirs("bundle", "cafeba00", "cafeba00", "30", "out").returncode == 0
    before = read(tmp_path / "out").header
    done = tools.ours("roll", "cafeba00", "cafeba00", "out", "--renew", "7")
    assert (done.returncode, f"0x{before.generation:x}" in done.stdout) == (0, True)
    assert found(tmp_path, "out", HOME, HOME).sound
    assert tools.theirs("bundle", "cafeba00", "cafeba00", "30", "out").returncode == 0
    assert found(tmp_path, "out", HOME, HOME).sound


@either
def test_a_cosk_pair_is_a_pair(tools: Tools, tmp_path: Path, maker: str) -> None:
    assert getattr(tools, maker)("cosk-pair", "cosk", "cosk.pub").returncode == 0
    secret, public = ((tmp_path / name).read_bytes() for name in ("cosk", "cosk.pub"))
    assert secret[32:] == public
    assert verify_untrusted(public, b"offer", sign(secret[:32], b"offer"))


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "cafeba00"),
        ("export", "cafeba00", "deadbe00"),
        ("bundle", "cafeba00", "feed00", "30", "out"),
        ("bundle", "feed00", "feed00", "30", "out"),
        ("bundle", "cafeba00", "cafeba00", "30", "nowhere/out"),
        ("bundle", "cafeba00", "cafeba00", "abc", "out"),
        ("renew", "cafeba00", "100"),
        ("cosk-pair", "cosk", "cosk"),
        ("generate",),
        ("nave",),
    ],
    ids=" ".join,
)
def test_both_refuse_the_same(tools: Tools, tmp_path: Path, words: tuple[str, ...]) -> None:
    make_keys(tools.theirs)
    (tmp_path / "cosk").touch()
    for tool in tools:
        assert tool(*words).returncode in (1, 2)
    assert not (tmp_path / "out").exists()
