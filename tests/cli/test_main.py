"""The command line as typed: exit statuses, one-line errors, and what stays unloaded."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chancel import __version__
from chancel.cli.main import COMMANDS, LATER, main
from chancel.daemon.job import Job
from chancel.daemon.sandbox_mode import Sandbox

PROGRAM = "chancel.cli.main"


@pytest.fixture
def tunnel_file(tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    secret.chmod(0o600)
    path = tmp_path / "office.conf"
    path.write_text(f"instance office\nsecret {secret}\ntunnel 10.77.0.1/30 auto\n")
    return path


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The daemons that would have been started."""
    started: list[Job] = []
    monkeypatch.setattr(Job, "start", lambda job, _program: started.append(job))
    monkeypatch.setattr("chancel.daemon.places.is_machine_root", lambda: False)
    return started


def test_help_lists_the_commands_and_loads_none_of_them() -> None:
    code = (
        "import sys; from chancel.cli.main import main; status = main(['--help']);"
        "print([name for name in ('numpy', 'cryptography', 'pyroute2', 'rich', 'chancel.daemon')"
        " if name in sys.modules]); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.summary)}$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: chancel {name}" in out
    assert f"chancel {name}" in out.partition("Example")[2]
    assert not re.search(r"\[\[|\]\]|\.\.\.[]}]|\\b", out), (
        "brackets twice, or marks for the formatter"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing command (see chancel --help)"),
        (["nave"], "No such command 'nave' (see chancel --help)"),
        (["--nave"], "No such option: --nave (see chancel --help)"),
        (["run"], "Missing option '-c' / '--config' (see chancel run --help)"),
        (["run", "--nave"], "No such option: --nave (see chancel run --help)"),
        (["status", "a", "b"], "Got unexpected extra argument(s) (b) (see chancel status --help)"),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.replace("argument ", "argument(s) ") == f"chancel: {message}\n"


@pytest.mark.parametrize("name", sorted(LATER))
def test_promised_commands_come_later(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "anything", "--at", "all"]) == 2
    assert capsys.readouterr().err == f"chancel: {name} comes with a later release\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"chancel {__version__}\n"


class TestRun:
    def test_the_daemon_gets_all_files(
        self, tmp_path: Path, tunnel_file: Path, jobs: list[Job]
    ) -> None:
        other = tmp_path / "lab.conf"
        other.write_text(tunnel_file.read_text().replace("office", "lab").replace("10.77", "10.78"))
        words = ["run", "-c", str(tunnel_file), "-c", str(other), "--sandbox", "log"]
        assert main([*words, "--runtime-dir", str(tmp_path / "run")]) == 0
        (job,) = jobs
        assert job == Job((tunnel_file, other), tmp_path / "run", sandbox=Sandbox.LOG)
        assert Job.from_json(job.to_json()) == job
        assert not job.runtime_dir.exists()  # the daemon makes it, and takes it away if it fails

    def test_a_wrong_file_is_2_and_creates_nothing(
        self,
        tmp_path: Path,
        tunnel_file: Path,
        jobs: list[Job],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        words = ["run", "-c", str(tunnel_file), "--runtime-dir", str(tmp_path / "run")]
        assert main([*words, "-c", str(tunnel_file)]) == 2
        assert capsys.readouterr().err.startswith(f"chancel: {tunnel_file}:3: tunnel: 10.77.0.0/30")
        assert jobs == []
        assert not (tmp_path / "run").exists()

    def test_root_has_to_name_users(
        self,
        tunnel_file: Path,
        jobs: list[Job],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("chancel.daemon.places.is_machine_root", lambda: True)
        assert main(["run", "-c", str(tunnel_file)]) == 2
        assert capsys.readouterr().err == (
            f"chancel: {tunnel_file}: run: no user for control"
            " (expected a line: run control as USER)\n"
        )


@pytest.mark.parametrize("name", ["run", "up", "exec"])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path / ("x" * 80) / ("y" * 80), "too long (expected at most 107 bytes)"),
        (lambda path: path / "secret", "not a directory (expected a directory of your own)"),
        (lambda path: path / "secret/run", "Not a directory (expected a directory of your own)"),
    ],
    ids=["long", "file", "below a file"],
)
def test_a_place_for_no_sockets_is_refused_before_anything_is_made(
    tmp_path: Path,
    tunnel_file: Path,
    jobs: list[Job],
    capsys: pytest.CaptureFixture[str],
    name: str,
    spoil: Callable[[Path], Path],
    problem: str,
) -> None:
    words = {
        "run": ["run", "-c", str(tunnel_file)],
        "up": ["up", "office", "--config-dir", str(tmp_path)],
        "exec": ["exec", "-c", str(tunnel_file)],
    }[name]
    before = sorted(tmp_path.rglob("*"))
    end = ["--", "true"] if name == "exec" else []
    assert main([*words, "--runtime-dir", str(spoil(tmp_path)), *end]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"chancel: {spoil(tmp_path)}")
    assert error.endswith(f": {problem}\n")
    assert jobs == []
    assert sorted(tmp_path.rglob("*")) == before


def redirected(redirection: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``chancel WORDS`` with its standard streams changed as a shell does it."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", PROGRAM, *words]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_matter(tmp_path: Path, redirection: str) -> None:
    words = ["--runtime-dir", str(tmp_path)]
    done = redirected(redirection, "status", *words)
    assert (done.returncode, done.stderr) == (0, "")
    done = redirected(redirection, "status", "nave", *words)
    assert (done.returncode, done.stdout) == (1, "")  # not the error in place of the output


def test_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    for words in (["status", "--runtime-dir", str(tmp_path)], ["--help"]):
        done = redirected(">/dev/full", *words)
        assert done.stderr == "chancel: standard output: No space left on device\n"
        assert done.returncode == 1


class TestKeygen:
    def test_a_new_secret(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        assert main(["keygen", str(one)]) == main(["keygen", str(other)]) == 0
        assert len(one.read_bytes()) == 32
        assert one.read_bytes() != other.read_bytes()
        assert stat.S_IMODE(one.stat().st_mode) == 0o400

    def test_an_old_one_is_kept(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "one"
        path.write_text("old")
        assert main(["keygen", str(path)]) == 1
        assert capsys.readouterr().err == f"chancel: {path}: File exists\n"
        assert path.read_text() == "old"

    def test_no_file_stays_behind_on_a_full_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        assert main(["keygen", str(tmp_path / "one")]) == 1
        assert list(tmp_path.iterdir()) == []
