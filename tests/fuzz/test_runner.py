"""The fuzzing program: what it says, what it leaves, and how a finding is tried again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import engine_random, findings, twinned
from fuzz.targets import NAMES, Target, load

ROOT = Path(__file__).parents[2]


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuzz", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_run_without_findings() -> None:
    result = fuzz("messages", "grace", "--seconds", "0.2", "--engine", "random")
    assert result.returncode == 0, result.stderr
    assert "messages" in result.stdout
    assert " inputs, " in result.stdout
    assert "found" not in result.stdout


def test_all_twins_run_or_are_left_out_with_a_word() -> None:
    result = fuzz("twins", "--seconds", "0.1", "--engine", "random")
    assert result.returncode == 0, result.stderr
    told = {line.split(":")[0].split()[0] for line in result.stdout.splitlines() if line}
    assert told == {name for name in NAMES if name.startswith(twinned.PREFIX)}
    assert (twinned.MISSING in result.stdout) is twinned.is_missing("twins_read")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-target"], "no target no-target (expected some of offer, "),
        (["--reproduce", "/nowhere.hex"], "expected a file that fuzzing wrote"),
        (["--engine", "magic"], "invalid choice: 'magic'"),
    ],
)
def test_what_it_does_not_understand(arguments: list[str], message: str) -> None:
    result = fuzz(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_finding_is_kept_with_the_command_that_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(data: bytes) -> None:
        assert len(data) < 3, "too long"

    target = Target("grace", "Short.", check, lambda: [b"ab", b"abc"], 10)
    with pytest.raises(engine_random.Broken) as broken:
        engine_random.run(target, 5.0, 0, lambda line: None)
    assert broken.value.data == b"abc"
    monkeypatch.setattr(findings, "FOLDER", tmp_path)
    assert broken.value.__cause__ is not None
    found = findings.of_error("grace", b"abc", broken.value.__cause__)
    assert findings.read(found.path) == found
    told = found.path.with_suffix(".txt").read_text()
    assert f'make fuzz ARGS="--reproduce {found.path}"' in told
    assert "too long" in told
    again = fuzz("--reproduce", str(found.path))
    assert again.returncode == 0
    assert "nothing is broken any more" in again.stdout


def test_an_input_that_takes_for_ever_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_random, "HANG_LIMIT_S", 0.05)

    def check(data: bytes) -> None:
        while data:
            pass

    with pytest.raises(engine_random.Broken) as broken:
        engine_random.judge(load("grace")._replace(check=check), b"x")
    assert isinstance(broken.value.__cause__, TimeoutError)
