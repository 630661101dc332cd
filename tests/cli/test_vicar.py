"""``chancel vicar`` as typed: the reference's words and texts, one line for each mistake."""

from __future__ import annotations

import base64
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chancel.cli.main import main
from chancel.crypto import agelas, vicar

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "vicar.json").read_text()
)
FILE: dict[str, Any] = VECTORS["vicar_files"][0]
WORDS = [
    "0200",
    "2e976eddb2203a0c",
    "0x1af4279e",
    "kek",
    "cs",
    "cosk",
    "192.0.2.77",
    "4500",
    "phone.vicar",
]
WRITTEN = """\
configuration written:
   flock       2e976eddb2203a0c
   tunnel      0x0200
   identity    1af4279e
   kek-path    kek
   cs-path     cs
   cosk-path   cosk
   cathedral   192.0.2.77:4500
"""
needs_accelerator = pytest.mark.skipif(
    agelas.compiled() is None, reason="needs cargo: `make setup` builds chancel_accel"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the keys of the vector, and its file; the passphrase is given."""
    fields = FILE["fields"]
    for name, key in (("kek", "kek"), ("cs", "cathedral_secret"), ("cosk", "cosk")):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(bytes.fromhex(fields[key]))
    (tmp_path / "theirs.vicar").write_bytes(base64.b64decode(FILE["file_base64"]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VICAR_PASSPHRASE", FILE["passphrase"])
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["vicar", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@needs_accelerator
def test_it_writes_what_it_reads(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, *WORDS) == (0, WRITTEN, "using VICAR_PASSPHRASE\n")
    assert stat.S_IMODE((here / "phone.vicar").stat().st_mode) == 0o400
    assert "VICAR_PASSPHRASE" not in os.environ
    os.environ["VICAR_PASSPHRASE"] = FILE["passphrase"]
    status, out, _ = said(capsys, "show", "phone.vicar", "--json")
    assert status == 0
    assert json.loads(out) == {
        "flock": "2e976eddb2203a0c",
        "tunnel": "0x0200",
        "identity": "1af4279e",
        "cathedral": "192.0.2.77:4500",
    }


@needs_accelerator
def test_the_references_file_is_unpacked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "unpack", "theirs.vicar", "keys")
    assert status == 0
    assert "hymn add 2e976eddb2203a0c-02-PEER" in out
    assert f"identity 1af4279e:{here}/keys/cs cosk {here}/keys/cosk" in out
    for name in ("kek", "cs", "cosk"):
        assert (here / "keys" / name).read_bytes() == (here / name).read_bytes()
        assert stat.S_IMODE((here / "keys" / name).stat().st_mode) == 0o400


@needs_accelerator
def test_a_wrong_passphrase_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del here
    monkeypatch.setenv("VICAR_PASSPHRASE", VECTORS["wrong_passphrase"]["passphrase"])
    status, out, err = said(capsys, "show", "theirs.vicar")
    assert (status, out) == (1, "")
    assert "theirs.vicar: wrong passphrase, or the file is damaged" in err


@pytest.mark.parametrize(
    ("at", "word", "complaint"),
    [
        (0, "10000", "TUNNEL '10000' is not a hexadecimal number of 16 bits"),
        (1, "flock", "FLOCK 'flock' is not a hexadecimal number of 64 bits"),
        (2, "-1", "No such option"),
        (6, "cathedral.example", "IP 'cathedral.example' is not an IPv4 address"),
        (7, "0", "PORT '0' is not a number from 1 to 65535"),
    ],
)
def test_words_that_are_wrong(
    here: Path, capsys: pytest.CaptureFixture[str], at: int, word: str, complaint: str
) -> None:
    words = [*WORDS]
    words[at] = word
    status, out, err = said(capsys, *words)
    assert (status, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1
    assert not (here / "phone.vicar").exists()


def test_files_that_are_wrong(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "short.vicar").write_bytes(bytes(215))
    status, _, err = said(capsys, "show", "short.vicar")
    assert status == 1
    assert "short.vicar: has 215 bytes, a vicar file has 216" in err
    status, _, err = said(capsys, "show", "none.vicar")
    assert status == 1
    assert "none.vicar" in err
    (here / "kek").chmod(0o644)
    status, _, err = said(capsys, *WORDS)
    assert status == 1
    assert "chmod 600" in err


def test_without_the_accelerator_one_is_told_what_to_install(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vicar, "compiled", lambda: None)
    for words in (("show", "theirs.vicar"), ("unpack", "theirs.vicar", "keys"), WORDS):
        monkeypatch.setenv("VICAR_PASSPHRASE", FILE["passphrase"])  # it is taken away when read
        status, out, err = said(capsys, *words)
        assert (status, out) == (1, ""), err
        assert "vicar files need the accelerator" in err
        assert "pip install 'chancel[accel]', or make setup" in err
    assert {path.name for path in here.iterdir()} == {"kek", "cs", "cosk", "theirs.vicar"}


def test_without_a_terminal_the_passphrase_is_missed(here: Path) -> None:
    del os.environ["VICAR_PASSPHRASE"]
    command = [sys.executable, "-m", "chancel.cli.main", "vicar", "show", "theirs.vicar"]
    ended = subprocess.run(
        command,
        cwd=here,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        check=False,
    )
    assert ended.returncode == 2
    assert b"give it in VICAR_PASSPHRASE" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


def test_an_existing_file_is_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "phone.vicar").write_bytes(b"old")
    status, _, err = said(capsys, *WORDS)
    assert status == 1
    assert "phone.vicar: exists, and is kept" in err
    assert (here / "phone.vicar").read_bytes() == b"old"


@needs_accelerator
def test_the_terminal_is_asked_twice_without_echo(here: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        del os.environ["VICAR_PASSPHRASE"]
        os.execv(sys.executable, [sys.executable, "-m", "chancel.cli.main", "vicar", *WORDS])
    seen = b""
    for _ in range(2):
        while not seen.endswith((b"passphrase: ", b"once more: ")):
            seen += os.read(terminal, 1024)
        os.write(terminal, b"secret words\n")
        seen += os.read(terminal, 1)
    try:
        while data := os.read(terminal, 4096):
            seen += data
    except OSError:
        pass  # the other end is closed: EIO
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"configuration written:" in seen
    assert b"secret" not in seen
    assert (here / "phone.vicar").stat().st_size == 216
