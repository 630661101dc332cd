"""Groups that are stopped cost one wait, hide nobody, and are told apart from those that ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.cli.main import main
from chancel.daemon import ctl
from chancel.errors import LinkClosed
from chancel.tools.hymn import census, hymnal, service
from tests.cli.test_control import RECORDED, serving

_STOPPED = """
import socket, sys
kept = []
for path in sys.argv[1:]:
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(path)
    kept[-1].listen(16)
print("ready", flush=True)
sys.stdin.read()
"""
SENTENCE = "does not answer; its processes may be stopped"


@contextlib.contextmanager
def stopped(*paths: Path) -> Iterator[None]:
    """A group that listens on these sockets and takes no notice."""
    with subprocess.Popen(
        [sys.executable, "-c", _STOPPED, *map(str, paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        process.kill()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where groups are; ``many.conf`` is configured. A wait is short."""
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    (tmp_path / "etc").mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    secret.chmod(0o600)
    text = f"instance t7\ndescr many\nsecret {secret}\ntunnel 10.77.0.1/30 auto\n"
    (tmp_path / "etc/many.conf").write_text(text)
    monkeypatch.setenv("CHANCEL_RUNTIME_DIR", str(path))
    monkeypatch.setenv("CHANCEL_CONFIG_DIR", str(tmp_path / "etc"))
    monkeypatch.setattr(ctl, "TIMEOUT_S", 0.2)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each socket that was asked."""
    names: list[str] = []
    ask = ctl.ask

    def counted(path: Path, request: dict[str, str]) -> ctl.Answer:
        names.append(path.stem)
        return ask(path, request)

    monkeypatch.setattr(ctl, "ask", counted)
    return names


def test_a_stopped_group_is_waited_for_once(directory: Path, asked: list[str]) -> None:
    many = [directory / f"t{number}.ctl" for number in range(300)]
    with stopped(*many):
        taken = census.take(directory)
    assert asked == ["t0"]
    assert taken.survey.groups == ()
    assert taken.stopped == {path.stem: f"{path.stem} {SENTENCE}" for path in many}
    assert sorted(taken.survey.silent) == sorted(taken.stopped.values())


def test_it_hides_no_other_group(
    directory: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctl, "TIMEOUT_S", 5.0)  # the other one has to answer in time
    with (
        stopped(*(directory / f"a{number}.ctl" for number in range(3))),
        serving(directory / "office.ctl", RECORDED),
    ):
        taken = census.take(directory)
    assert [group.name for group in taken.survey.groups] == ["office"]
    assert asked == ["a0", "office"]


def test_one_that_ended_is_not_stopped(directory: Path, asked: list[str]) -> None:
    with stopped(directory / "dead.ctl"):
        pass
    taken = census.take(directory)
    assert taken.stopped == {}
    assert taken.survey.silent == ("dead is not running: Connection refused",)


def test_where_nobody_can_wait_any_more(directory: Path) -> None:
    """Sixteen commands were interrupted, and their connections are never taken."""
    with stopped(directory / "t7.ctl"):
        for _ in range(20):
            with contextlib.suppress(LinkClosed):
                ctl.ask(directory / "t7.ctl", {"do": "status"})
        assert census.take(directory).stopped == {"t7": f"t7 {SENTENCE}"}


def test_lists_tell_it(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stopped(directory / "t7.ctl", directory / "t8.ctl"):
        assert main(["list"]) == 0
        assert main(["list", "--json"]) == 0
        assert main(["hymn", "list"]) == 1
    lists = capsys.readouterr()
    first, second, *rest = lists.out.splitlines()
    assert first == f"many  pending  (many)  t7 {SENTENCE}"
    assert second == f"t8    pending  t8 {SENTENCE}"
    assert [each["state"] for each in json.loads("\n".join(rest[:-2]))] == ["pending"] * 2
    assert rest[-1] == "    many - pending (many)"
    assert lists.err == f"chancel: t7 {SENTENCE}\n"


@pytest.mark.parametrize("command", [["hymn", "up"], ["hymn", "down"], ["hymn", "del"], ["down"]])
def test_nothing_else_is_believed_of_it(
    directory: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with stopped(directory / "t7.ctl"):
        assert main([*command, "many"]) == 1
    assert capsys.readouterr().err == f"chancel: t7 {SENTENCE}\n"
    assert (directory.parent / "etc/many.conf").exists()


def test_who_is_meant_is_the_only_one_asked(
    directory: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = hymnal.load(directory.parent / "etc/many.conf")
    theirs = RECORDED | {"tunnels": [RECORDED["tunnels"][0] | {"instance": "t7"}]}
    monkeypatch.setattr(ctl, "TIMEOUT_S", 60.0)
    with stopped(directory / "a.ctl"), serving(directory / "t7.ctl", theirs):
        found = service.locate(tunnel, directory)
    assert isinstance(found, ctl.Group)
    assert asked == ["t7"]
    assert service.locate(tunnel, directory) is None


def test_a_directory_that_others_can_write_to_is_not_believed(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory.chmod(0o777)
    with serving(directory / "t7.ctl"):
        assert main(["down", "many"]) == 2
    assert "writable by others" in capsys.readouterr().err
