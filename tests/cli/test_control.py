"""The client of a group's control socket, and the commands that use it, against a stand-in."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chancel.cli.main import main
from chancel.daemon import ctl
from chancel.errors import LinkClosed, LocalProtocolError

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
OTHER = RECORDED | {
    "group": RECORDED["group"] | {"pid": 999},
    "tunnels": [RECORDED["tunnels"][0] | {"instance": "other"}],
}
DONE = {"ok": True}


class StandIn:
    """A group that answers each connection with the next of its answers; keeps the requests."""

    def __init__(self, path: Path, answers: list[bytes]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.files: list[str] = []
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(20)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        answers = list(self._answers)
        while answers:
            connection, _ = self._listener.accept()
            with connection:
                data, descriptors, _, _ = socket.recv_fds(connection, 65536, 4)
                if not data:  # somebody only wanted to know who listens
                    continue
                self.requests.append(json.loads(data))
                for descriptor in descriptors:
                    with os.fdopen(descriptor) as file:
                        self.files.append(file.read())
                connection.sendall(answers.pop(0))

    def close(self) -> None:
        """Wait until every answer was asked for."""
        self._thread.join()
        self._listener.close()


@contextlib.contextmanager
def serving(path: Path, *answers: dict[str, Any] | bytes) -> Iterator[StandIn]:
    """Serve ``answers`` (objects, or raw bytes) on a socket at ``path``."""
    lines = [a if isinstance(a, bytes) else json.dumps(a).encode() + b"\n" for a in answers]
    group = StandIn(path, lines)
    try:
        yield group
    finally:
        group.close()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("CHANCEL_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def tunnel_file(tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    secret.chmod(0o600)
    path = tmp_path / "lab.conf"
    path.write_text(f"instance lab\nsecret {secret}\ntunnel 10.78.0.1/30 1300\n")
    return path


def test_a_refusal_is_the_groups_own_sentence(directory: Path) -> None:
    path = directory / "office.ctl"
    with (
        serving(path, {"ok": False, "error": "not so"}),
        pytest.raises(LocalProtocolError, match=r"^not so$"),
    ):
        ctl.remove(path, "x")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "office went away without an answer"),
        (b"{", "office went away without an answer"),
        (b"[]\n", "office speaks another language"),
        (b'{"yes": 1}\n', "office speaks another language"),
    ],
)
def test_what_is_no_answer(directory: Path, raw: bytes, message: str) -> None:
    path = directory / "office.ctl"
    with serving(path, raw), pytest.raises(LinkClosed, match=message):
        ctl.ask(path, {"do": "status"})


def test_a_stopped_group_is_not_waited_for_ever(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctl, "TIMEOUT_S", 0.05)
    path = directory / "office.ctl"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(LinkClosed, match="office does not answer"):
            ctl.ask(path, {"do": "status"})


def test_a_dead_socket_hides_no_other_group(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "dead.ctl"))
    with serving(directory / "office.ctl", RECORDED):
        found = ctl.survey(directory)
    assert [group.name for group in found.groups] == ["office"]
    assert found.silent == ("dead is not running: Connection refused",)


def test_a_group_is_asked_once_whatever_sockets_it_has(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as never_asked, serving(directory / "lab.ctl", RECORDED):
        never_asked.bind(str(directory / "office.ctl"))
        found = ctl.survey(directory)
    assert [group.name for group in found.groups] == ["lab"]
    assert found.silent == ()


def test_a_group_that_a_tunnel_joins_right_now_is_one_group(directory: Path) -> None:
    """Its socket is there before the others know of it."""
    with serving(directory / "lab.ctl", RECORDED), serving(directory / "new.ctl", RECORDED):
        assert [group.name for group in ctl.survey(directory).groups] == ["lab"]


def test_a_group_is_found_by_any_of_its_tunnels(directory: Path) -> None:
    with serving(directory / "office.ctl", RECORDED), serving(directory / "other.ctl", OTHER):
        found = ctl.survey(directory)
    assert found.find("lab").name == "office"
    assert found.find("other").name == "other"
    with pytest.raises(LocalProtocolError, match="expected one of office, other"):
        found.find(None)
    with pytest.raises(LinkClosed, match="no tunnel called 'nave' is running"):
        found.find("nave")


class TestCommands:
    def test_add_hands_over_the_open_file(
        self, directory: Path, tunnel_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(directory / "office.ctl", RECORDED, DONE) as group:
            assert main(["add", "-c", str(tunnel_file), "--to", "office"]) == 0
        assert group.requests == [{"do": "status"}, {"do": "add", "name": str(tunnel_file)}]
        assert group.files == [tunnel_file.read_text()]
        assert capsys.readouterr().out == "lab joined the group of office\n"

    def test_add_checks_the_file_first(
        self, directory: Path, tunnel_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tunnel_file.write_text("mode nave\n")
        assert main(["add", "-c", str(tunnel_file)]) == 2
        assert capsys.readouterr().err == (
            f"chancel: {tunnel_file}:1: mode: 'nave' is unknown"
            " (expected tunnel, pilgrim or shrine)\n"
        )

    def test_remove(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(directory / "office.ctl", RECORDED, DONE) as group:
            assert main(["remove", "lab"]) == 0
        assert group.requests[-1] == {"do": "remove", "instance": "lab"}
        assert capsys.readouterr().out == "lab left its group\n"

    @pytest.mark.parametrize(
        "words",
        [
            ["status", "the-office", "--json"],
            ["status", "house", "--json"],
            ["remove", "the-office"],
            ["remove", "house"],
            ["add", "-c", "{file}", "--to", "the-office"],
            ["down", "the-office"],
        ],
    )
    def test_names_are_those_of_people_and_of_files_too(
        self,
        directory: Path,
        tunnel_file: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        words: list[str],
    ) -> None:
        monkeypatch.setenv("CHANCEL_CONFIG_DIR", str(directory.parent / "etc"))
        (directory.parent / "etc").mkdir()
        (directory.parent / "etc/house.conf").write_text("instance office\n")
        answers = [RECORDED] if words[0] == "status" else [RECORDED, DONE]
        with serving(directory / "lab.ctl", *answers) as group:
            assert main([word.format(file=tunnel_file) for word in words]) == 0
        out = capsys.readouterr().out
        if words[0] == "status":
            assert [each["instance"] for each in json.loads(out)["tunnels"]] == ["office"]
        elif words[0] != "add":
            assert group.requests[-1] == {"do": "remove", "instance": "office"}

    def test_a_name_that_two_have_is_nobodys(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        twins = RECORDED | {"tunnels": [each | {"descr": "twin"} for each in RECORDED["tunnels"]]}
        with serving(directory / "office.ctl", twins):
            assert main(["status", "twin"]) == 1
        assert "no tunnel called 'twin' is running" in capsys.readouterr().err

    def test_remove_what_does_not_run(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["remove", "nave"]) == 1
        assert capsys.readouterr().err == (
            f"chancel: no tunnel called 'nave' is running (looked in {directory})\n"
        )

    def test_status_shows_every_group(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(directory / "office.ctl", RECORDED), serving(directory / "other.ctl", OTHER):
            assert main(["status"]) == 0
        out = capsys.readouterr().out
        assert all(name in out for name in ("office", "lab", "other"))

    def test_status_of_one_tunnel_as_json(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(directory / "office.ctl", RECORDED):
            assert main(["status", "lab", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        (tunnel,) = told["tunnels"]
        assert (tunnel["instance"], tunnel["state"], tunnel["group_pid"]) == (
            "lab",
            "pending",
            4321,
        )
        assert tunnel["notes"][0] == "your clock is 43 s behind: the peer refuses your offers"
        assert told["groups"] == [RECORDED["group"]]

    def test_why(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(directory / "office.ctl", RECORDED, RECORDED):
            assert main(["status", "--why"]) == 0
            assert main(["status", "--why", "--json"]) == 0
        *picture, line = capsys.readouterr().out.splitlines()
        text = "\n".join(picture)
        assert "nothing is wrong" in text
        assert "the peer's address is unknown and has to be learnt" in text
        office, lab = json.loads(line)["tunnels"]
        assert (office["instance"], office["state"], office["failed"]) == ("office", "up", [])
        (failed,) = lab["failed"]
        assert failed["code"] == "peer-unknown"
        assert set(failed) == {"code", "says", "do"}

    def test_metrics_of_a_group_that_has_gone(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gone = RECORDED["group"] | {"metrics": str(directory / "gone.metrics")}
        with serving(directory / "office.ctl", RECORDED | {"group": gone}):
            assert main(["status", "office", "--metrics"]) == 1
        assert "gone.metrics: no metrics" in capsys.readouterr().err

    def test_metrics_go_with_no_other_option(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["status", "--metrics", "--json"]) == 2
        assert "expected no other option with it" in capsys.readouterr().err

    def test_status_without_any_group(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["status"]) == 0
        assert capsys.readouterr().out == "no tunnel is running\n"
        assert main(["status", "nave"]) == 1

    @pytest.mark.parametrize("options", [["--watch"], ["--watch", "--json"]])
    def test_status_watched_until_interrupted(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
    ) -> None:
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr("chancel.cli.status_command.time.sleep", wait)
        with serving(directory / "office.ctl", RECORDED, RECORDED) as group:
            assert main(["status", *options]) == 0
        assert len(group.requests) == 2
        assert waits == [1.0, 1.0]
