"""``chancel hymn`` as typed, the shortcuts for it, and what a shell completes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.cli.main import COMMANDS, main
from chancel.daemon import places
from chancel.tools.hymn.hymnal import Hymnal
from tests.tools.hymn.answering import answering, datagram, locked
from tests.tools.hymn.pages import LITURGY

NAMES = [
    name.rpartition(":")[2].strip("_").replace("_", "-") for name in COMMANDS["hymn"].functions
]
OFFICE = ["1-2", *["tunnel", "10.77.0.1/30", "peer", "192.0.2.1:5", "name", "office"]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One tunnel, ``office``, that is down."""
    monkeypatch.setenv("CHANCEL_CONFIG_DIR", str(tmp_path / "etc"))
    monkeypatch.setenv("CHANCEL_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HYMN_USER", "nobody")
    monkeypatch.setattr(places, "is_machine_root", lambda: False)
    (tmp_path / "run").mkdir(mode=0o700)
    assert main(["hymn", "keygen", str(tmp_path / "k")]) == 0
    assert main(["hymn", "add", *OFFICE, "secret", str(tmp_path / "k"), "user", "nobody"]) == 0
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["hymn", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_a_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = said(capsys, name, "--help")
    assert status == 0
    assert f"Usage: chancel hymn {name}" in out
    assert f"chancel hymn {name}" in out.partition("Example")[2]


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "help")
    assert status == 0
    assert [name for name in NAMES if f"\n  {name} " not in out] == []


def test_help_loads_no_numpy() -> None:
    code = (
        "import sys; from chancel.cli.main import main; status = main(['hymn', '--help']);"
        "print([name for name in ('numpy', 'cryptography', 'pyroute2', 'chancel.cathedrald')"
        " if name in sys.modules]); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list"], "normal tunnels:\n    hymn-01-02 - down (office)\n"),
        (["list", "hymn"], "    hymn-01-02 - down (office)\n"),
        (["list", "deadbeef"], ""),
        (["mtu", "office", "1300"], "hymn-01-02 mtu changed to 1300\n"),
        (["mtu", "1-2", "auto"], "hymn-01-02 mtu changed to auto\n"),
        (["name", "office", "home"], "hymn-01-02 name updated to 'home'\n"),
        (["shroud", "office", "on"], "hymn-01-02 shroud has been turned on\n"),
        (["down", "office"], "tunnel hymn-01-02 is down\n"),
        (["down"], "tunnel hymn-01-02 is down\n"),
        (["del", "office"], ""),
        (["route", "add", "10.88.0.7/24", "via", "office"], "tunnel modified, please restart it\n"),
        (["accept", "add", "10.88.0.0/24", "on", "1-2"], "tunnel modified, please restart it\n"),
    ],
    ids=" ".join,
)
def test_texts_of_the_reference(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, *words) == (0, told, "")


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        ("liturgy deadbeef-1 group cafe", 2, "something is missing (expected cathedral HOST:PORT)"),
        ("liturgy 1 group cafe", 2, "'1' (expected FLOCK-SRC)"),
        ("liturgy deadbeef-1 prefix 10.1.2.0", 2, "'10.1.2.0' is no prefix (expected x.y.0.0)"),
        ("liturgy deadbeef-1 natport 7", 2, "natport alone (expected cathedral before it)"),
        ("add 1-2 tunnel 10.0.0.1/8 secret /x peer 192.0.2.1:1 user a", 2, "exists, and is kept"),
        ("add 1-3 tunnel 10.0.0.1/8 secret /x peer 192.0.2.1:1 name office", 2, "is the name of"),
        ("add 1-3 tunnel 10.0.0.1/8", 2, "expected secret FILE"),
        ("add 1-3", 2, "Missing argument"),
        ("mtu office 10", 2, "expected 576 to 9200, or auto"),
        ("nat office 5", 2, "it has no cathedral"),
        ("route add 10.0.0.0/8 on office", 2, "expected add 10.0.0.0/8 via office"),
        ("accept add 10.0.0.0/8 via office", 2, "expected add 10.0.0.0/8 on office"),
        ("route put 10.0.0.0/8 via office", 2, "'put' is not one of"),
        ("bridge office up", 2, "expected on BRIDGE, or clear"),
        ("status nave", 2, "no such tunnel (expected a name that chancel hymn list tells)"),
        ("restart", 2, "Missing argument"),
        ("nave", 2, "No such command 'nave'"),
        ("keygen /nowhere/k", 1, "/nowhere/k: No such file or directory"),
    ],
)
def test_one_line_says_what_was_expected(
    here: Path, words: str, status: int, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [path.read_text() for path in (here / "etc").iterdir()]
    result, _, error = said(capsys, *words.split())
    assert result == status
    assert problem in error
    assert error.count("\n") == 1
    assert [path.read_text() for path in (here / "etc").iterdir()] == before


def test_who_moves_packets_has_to_be_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise OSError(6, "No such device or address")

    monkeypatch.setattr(os, "getlogin", nobody)
    words = ["add", "1-3", "tunnel", "10.0.0.1/8", "secret", "/x", "peer", "192.0.2.1:1"]
    monkeypatch.delenv("HYMN_USER")
    status, _, error = said(capsys, *words)
    assert (status, "expected user NAME, or HYMN_USER" in error) == (2, True)
    monkeypatch.setenv("HYMN_USER", "daemon")
    assert said(capsys, *words) == (0, "", "")


def test_a_name_that_somebody_took_meanwhile(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While we waited for the lock."""
    held = Hymnal._held

    @contextlib.contextmanager
    def late(hymnal: Hymnal) -> Iterator[None]:
        with held(hymnal):
            (here / "etc/hymn-07-07.conf").write_text("descr home\n")
            yield

    monkeypatch.setattr(Hymnal, "_held", late)
    words = ["add", "1-3", "tunnel", "10.0.0.1/8", "secret", "/x", "peer", "192.0.2.1:1"]
    status, _, error = said(capsys, *words, "user", "a", "name", "home")
    assert (status, "'home' is the name of hymn-07-07" in error) == (2, True)
    assert sorted(path.name for path in (here / "etc").iterdir()) == [
        "hymn-01-02.conf",
        "hymn-07-07.conf",
    ]


@pytest.mark.parametrize("words", ["hymn mtu office 1300", "hymn add NEW", "keygen KEY"])
def test_a_full_disk_is_told_with_the_file_and_changes_nothing(here: Path, words: str) -> None:
    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in here.rglob("*") if path.is_file()}

    new = "1-3 tunnel 10.0.0.1/8 secret /x peer 192.0.2.1:1 user a"
    typed = words.replace("NEW", new).replace("KEY", f"{here}/k2")
    program = f"{sys.executable} -m chancel.cli.main {typed}"
    before = everything()
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 0; exec {program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1
    file = {"mtu": "etc/hymn-01-02.conf", "add": "etc/hymn-01-03.conf"}.get(words.split()[1], "k2")
    assert done.stderr == f"chancel: {here}/{file}: File too large (see: ulimit -f)\n"
    assert everything() == before


def test_sockets_are_found_from_anywhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    words = ["1-3", "tunnel", "10.0.0.1/8", "secret", "k", "peer", "192.0.2.1:1", "user", "a"]
    assert main(["hymn", "add", *words, "--config-dir", "etc", "--runtime-dir", "run"]) == 0
    text = (here / "etc/hymn-01-03.conf").read_text()
    for line in (f"pidfile {here}/run/hymn-01-03.pid", f"control {here}/run/hymn-01-03.control "):
        assert f"\n{line}" in text


def test_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = json.loads(said(capsys, "list", "--json")[1])
    assert row == {
        "name": "hymn-01-02",
        "label": "office",
        "kind": "normal",
        "liturgy": None,
        "instance": "hymn-01-02",
        "state": "down",
        "problem": None,
    }
    (told,) = json.loads(said(capsys, "status", "--json")[1])
    assert (told["tunnel"], told["mtu"], told["peer"]) == ("10.77.0.1/30", "auto", "192.0.2.1:5")
    assert told["tx"] is None
    with locked(here / "run/hymn-01-02.pid"), answering(control(here), datagram(1, 2)):
        (told,) = json.loads(said(capsys, "status", "--json")[1])
    assert (told["state"], told["tx"]["spi"], told["peer_now"]) == (
        "online",
        "00000001",
        "192.168.201.2:2333",
    )


def control(here: Path) -> Path:
    return here / "run/hymn-01-02.control"


def test_a_broken_file_is_told_after_the_others(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "etc/hymn-09-09.conf").write_text("nonsense\n")
    for words in (["list"], ["status"], ["down"]):
        status, out, error = said(capsys, *words)
        assert status == 1
        assert "hymn-01-02" in out
        assert error.count("\n") == 1
        assert "hymn-09-09.conf:1: malformed" in error


def test_a_daemon_that_does_not_answer_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(here / "run/hymn-01-02.pid"):
        status, out, error = said(capsys, "list")
        assert (status, out) == (1, "normal tunnels:\n    hymn-01-02 - pending (office)\n")
        assert "hymn-01-02.control does not answer" in error


class TestUpAndDown:
    def test_one_that_is_up(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with locked(here / "run/hymn-01-02.pid"):
            assert said(capsys, "up", "office") == (0, "tunnel hymn-01-02 is up\n", "")
            status, _, error = said(capsys, "del", "office")
            assert (status, "tunnel hymn-01-02 still up" in error) == (1, True)
            told = "waiting for hymn-01-02 to go down ... done\n"
            assert said(capsys, "down", "office") == (0, told, "")

    def test_the_shortcut_ends_it_too(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with locked(here / "run/hymn-01-02.pid") as process:
            assert main(["down", "office"]) == 0
            assert process.wait(60) == 0
        assert main(["down", "office"]) == 1
        assert "no tunnel called 'hymn-01-02' is running" in capsys.readouterr().err

    def test_the_shortcut_lists_it_too(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with locked(here / "run/hymn-01-02.pid"), answering(control(here), datagram(1, 2)):
            assert main(["list"]) == 0
        assert capsys.readouterr().out == "hymn-01-02  up  (office)\n"

    def test_one_that_starts_is_not_stopped(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (here / "run/hymn-01-02.pid").touch()
        status, out, error = said(capsys, "down", "office")
        assert (status, out) == (1, "waiting for hymn-01-02 to go down ... failed\n")
        assert "hymn-01-02 is starting" in error

    def test_a_file_that_is_wrong_is_2(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        said(capsys, "mtu", "office", "9000")
        for words in (["hymn", "up", "office"], ["up", "office"]):
            assert main(words) == 2
            assert "hymn-01-02.conf:4: tunnel: MTU '9000'" in capsys.readouterr().err

    def test_what_a_liturgy_owns_is_left_to_it(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        liturgy = here / "etc/hymn-01-00.conf"
        liturgy.write_text(LITURGY.replace("/var/run/hymn", str(here / "run")))
        status, _, error = said(capsys, "up", "office")
        assert status == 1
        assert "refusing to start hymn-01-02, it is owned by choir" in error
        assert said(capsys, "down")[1] == "tunnel hymn-01-00 is down\n"

    @pytest.mark.parametrize("words", [["up", "office"], ["up"], ["restart", "1-2"]])
    def test_a_start_that_fails_says_so(
        self, here: Path, words: list[str], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The socket can't be made, as there is a folder."""
        control(here).mkdir()
        assert main(["hymn", *words]) == 1
        captured = capfd.readouterr()
        assert captured.out.endswith("waiting for hymn-01-02 to go up ... failed\n")
        assert "control" in captured.err
        assert not (here / "run/hymn-01-02.pid").exists()


SCRIPT = """
eval "$(chancel completion bash)"
COMP_WORDS=({words}) COMP_CWORD={at}
_chancel_completion chancel
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def program(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``chancel`` on the path."""
    path = here / "bin/chancel"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m chancel.cli.main "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("program")
class TestCompletion:
    @pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash: apt-get install bash")
    @pytest.mark.parametrize(
        ("line", "completed"),
        [
            ("chancel hy", ["hymn"]),
            ("chancel hymn sta", ["status"]),
            ("chancel hymn status ", ["hymn-01-02", "office"]),
            ("chancel hymn mtu of", ["office"]),
            ("chancel hymn route add 10.0.0.0/8 via h", ["hymn-01-02"]),
            ("chancel hymn list ", ["hymn"]),
            ("chancel up o", ["office"]),
            ("chancel down hymn", ["hymn-01-02"]),
            ("chancel hymn shroud nave", [""]),
            ("chancel hymn status $", [""]),
            ("chancel hymn status a", [""]),
            ("chancel status ", ["hymn-01-02", "office", "running"]),
            ("chancel trace run", ["running"]),
            ("chancel remove off", ["office"]),
            ("chancel add --to r", ["running"]),
            ("chancel exec of", ["office"]),
            ("chancel exec office -- of", [""]),
            ("chancel exec -c office.conf of", [""]),
        ],
    )
    def test_bash(self, here: Path, line: str, completed: list[str]) -> None:
        for stem in ("$(touch there)", "a b", "a\nb", "a*"):
            (here / f"etc/{stem}.conf").touch()
        with socket.socket(socket.AF_UNIX) as running:
            running.bind(str(here / "run/running.ctl"))
        words = line.split(" ")
        script = SCRIPT.format(words=" ".join(f"'{word}'" for word in words), at=len(words) - 1)
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
        assert done.stdout.split("\n")[:-1] == completed

    @pytest.mark.parametrize("shell", ["zsh", "fish"])
    def test_the_others_ask_with_the_words_of_their_script(self, shell: str) -> None:
        script = subprocess.run(
            ["chancel", "completion", shell],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        assert f"_CHANCEL_COMPLETE=complete_{shell}" in script
        asked = subprocess.run(
            ["chancel"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=os.environ
            | {
                "_CHANCEL_COMPLETE": f"complete_{shell}",
                "_TYPER_COMPLETE_ARGS": "chancel hymn status of",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            },
        )
        assert "office" in asked.stdout
        assert "hymn-01-02" not in asked.stdout
        assert asked.stderr == ""

    def test_a_shell_nobody_knows(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["completion", "sh"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
