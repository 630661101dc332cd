"""Commands that know tunnels by name, and ``exec``: what is refused, and what ``list`` tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chancel.cli.main import main
from chancel.daemon import places
from chancel.daemon.job import Job


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configurations, one of them wrong, and nothing that runs."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    secret.chmod(0o600)
    for name, lines in (("office", "tunnel 10.77.0.1/30 auto"), ("wires", "tap yes")):
        text = f"instance {name}1\nsecret {secret}\n{lines}\n"
        (tmp_path / f"{name}.conf").write_text(text)
    (tmp_path / "broken.conf").write_text("nonsense\n")
    (tmp_path / "notes.txt").write_text("no configuration")
    monkeypatch.setenv("CHANCEL_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("CHANCEL_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(places, "is_machine_root", lambda: False)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status", "words_of_error"),
    [
        (["exec", "office"], 2, "expected a command behind --"),
        (["exec", "-c", "office.conf", "--"], 2, "Missing argument"),
        (["exec", "--dns", "resolver", "office", "--", "true"], 2, "expected an IP address"),
        (["exec", *(["--dns", "192.0.2.1"] * 4), "office", "true"], 2, "expected at most 3"),
        (["exec", "--log", "log", "office", "--", "true"], 2, "its own log"),
        (["exec", "office", "--", "true"], 1, "no tunnel called 'office' is running"),
        (["up", "wires"], 2, "tap: an Ethernet brings no address for a command"),
        (["up", "../office"], 2, "expected the name of a tunnel"),
        (["up", "missing"], 2, "missing.conf"),
        (["down", "office"], 1, "no tunnel called 'office1' is running"),
    ],
)
def test_one_line_says_what_was_expected(
    words: list[str], status: int, words_of_error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == status
    error = capsys.readouterr().err
    assert words_of_error in error
    assert error.count("\n") == 1


def test_exec_refuses_what_has_no_address(
    directories: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exec", "-c", str(directories / "wires.conf"), "--", "true"]) == 2
    assert "wires.conf:3: tap: an Ethernet" in capsys.readouterr().err


@pytest.mark.parametrize("is_root", [False, True])
def test_up_keeps_the_tunnel_to_itself_unless_root(
    directories: Path, monkeypatch: pytest.MonkeyPatch, is_root: bool
) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(Job, "start", lambda job, _program: jobs.append(job))
    if is_root:
        monkeypatch.setattr("chancel.daemon.config.check", lambda _configs: None)
        monkeypatch.setattr(places, "is_machine_root", lambda: True)
    assert main(["up", "office"]) == 0
    path = directories / "office.conf"
    run = directories / "run"
    assert jobs == [Job((path,), run, detached=True, syslog=True, own_network=not is_root)]


def test_list_tells_what_is_configured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["instance"], row["state"]) for row in rows] == [
        ("broken", None, "broken"),
        ("office", "office1", "down"),
        ("wires", "wires1", "down"),
    ]
    assert "broken.conf:1" in rows[0]["reason"]
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["office  down", "wires   down"]


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"CHANCEL_CONFIG_DIR": "/a", "XDG_CONFIG_HOME": "/b"}, "/a"),
        ({"XDG_CONFIG_HOME": "/b", "HOME": "/c"}, "/b/chancel"),
        ({"HOME": "/c"}, "/c/.config/chancel"),
    ],
)
def test_where_configurations_are(environ: dict[str, str], directory: str) -> None:
    assert places.config_dir(environ=environ) == Path(directory)
    assert places.config_dir(Path("/chosen"), environ) == Path("/chosen")


def test_list_says_where_it_could_not_look(
    directories: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--config-dir", str(directories / "none")]) == 0
    assert main(["list", "--config-dir", str(directories / "notes.txt")]) == 1
    assert capsys.readouterr().err == f"chancel: {directories}/notes.txt: Not a directory\n"
