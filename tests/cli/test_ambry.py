"""``chancel ambry`` as typed: the reference's words and texts, one line for each mistake."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chancel.cli.ambry_view import beware
from chancel.cli.main import COMMANDS, main
from chancel.wire.ambry import CROSSING, DAY_S, OWN, Header, expiry

HOME = "00000000cafeba00"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flock, and a bundle of it that needs 30 days."""
    folder = tmp_path_factory.mktemp("made")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["ambry", "generate", "cafeba01"]) == 0
        assert main(["ambry", "bundle", "cafeba00", "0xCAFEBA02", "home.ambry"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in the folder that we are in, free to be changed."""
    command = ["cp", "-a", f"{made}/.", str(tmp_path)]
    subprocess.run(command, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["ambry", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_each_command_has_a_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for function in COMMANDS["ambry"].functions:
        name = function.replace("_", "-")
        assert main(["ambry", name, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"Usage: chancel ambry {name}" in out
        assert f"chancel ambry {name} " in out.partition("Example:")[2]


class TestWordsOfTheReference:
    def test_generate(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert said(capsys, "generate", "0xcafeba07") == (
            0,
            f"generating device KEKs under {HOME} ... done\n"
            "deriving internal flock KEKs ... done\n",
            "",
        )
        assert len(list(tmp_path.glob(f"{HOME}/*/kek-0x*"))) == 510

    @pytest.mark.parametrize("days", [[], ["30"], ["24855"]])
    def test_bundle(self, here: Path, capsys: pytest.CaptureFixture[str], days: list[str]) -> None:
        status, out, err = said(capsys, "bundle", "cafeba00", "cafeba00", *days, "new")
        assert (status, out) == (0, "")
        text = re.fullmatch(r"new: generated 32385 tunnels, generation 0x([0-9a-f]+)\n", err)
        assert text is not None
        assert (here / "new").stat().st_size == OWN.size
        assert stat.S_IMODE((here / "new").stat().st_mode) == 0o400
        _, out, _ = said(capsys, "inspect", "new", "--json")
        shown = json.loads(out)
        wanted = float(days[0]) if days else 30.0
        assert int(shown["generation"], 16) == int(text[1], 16)
        assert wanted - 1 <= shown["days_left"] <= wanted

    def test_export_and_a_bundle_of_two_flocks(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert said(capsys, "export", "cafeba00", "deadbe00") == (
            0,
            f"exporting KEKs for use in {HOME}:00000000deadbe00 ... done\n",
            "",
        )
        assert said(capsys, "generate", "deadbe00")[0] == 0
        assert said(capsys, "export", "deadbe00", "cafeba00")[0] == 0
        status, _, err = said(capsys, "bundle", "cafeba00", "deadbe00", "3", "both")
        assert (status, err[:30]) == (0, "both: generated 65025 tunnels,")
        assert (here / "both").stat().st_size == CROSSING.size
        status, out, _ = said(capsys, "inspect", "both")
        assert (status, "opens for   510 devices" in out) == (0, True)

    def test_renew_says_nothing(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = (here / HOME / "kek-data/kek-0x1f").read_bytes()
        assert said(capsys, "renew", "cafeba00", "0x1f") == (0, "", "")
        assert (here / HOME / "kek-data/kek-0x1f").read_bytes() != before

    def test_renew_names_what_was_exported(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        said(capsys, "export", "cafeba00", "deadbe00")
        place = f"{HOME}/external/00000000deadbe00"
        assert said(capsys, "renew", "cafeba00", "5") == (
            0,
            "",
            f"{place}/kek-0x05 is still of the old key: move {place} away, then"
            " chancel ambry export cafeba00 00000000deadbe00\n",
        )

    def test_cosk_pair(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert said(capsys, "cosk-pair", "a", "b") == (0, "", "")
        assert ((here / "a").stat().st_size, (here / "b").stat().st_size) == (64, 32)
        assert said(capsys, "cosk-pair", "c", "b") == (
            1,
            "",
            "chancel: b: exists, and is kept: name another file\n",
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing command (see chancel ambry --help)"),
        (["nave"], "No such command 'nave' (see chancel ambry --help)"),
        (["generate"], "Missing argument 'FLOCK' (see chancel ambry --help)"),
        (["generate", "zz"], "Invalid value for FLOCK: 'zz', and a flock has up to 16 hex digits"),
        (["generate", "1" * 17], f"Invalid value for FLOCK: '{'1' * 17}', and a flock has up"),
        (["export", "1", "-"], "Invalid value for DST: '-', and a flock has up to 16 hex digits"),
        (["renew", "1", "0"], "Invalid value for ID: '0', and a device is 1 to ff, in hex"),
        (["renew", "1", "100"], "Invalid value for ID: '100', and a device is 1 to ff, in hex"),
        (["roll", "1", "1", "x", "--renew", "0x"], "Invalid value for --renew: '0x', and a device"),
        (
            ["roll", "1", "1", "x", "--days", "0"],
            "Invalid value for '--days': Input should be greater",
        ),
        (["bundle", "1", "1"], "Missing argument '[DAYS] OUTFILE'"),
        (
            ["bundle", "1", "1", "0", "x"],
            "Invalid value: DAYS is a number from 1 to 24855, not '0'",
        ),
        (["bundle", "1", "1", "24856", "x"], "Invalid value: DAYS is a number from 1 to 24855"),
        (
            ["bundle", "1", "1", "²", "x"],
            "Invalid value: DAYS is a number from 1 to 24855, not '²'",
        ),
        (
            ["bundle", "1", "1", "1", "x", "y"],
            "Invalid value: expected [DAYS] OUTFILE, not '1 x y'",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = said(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"chancel: {message}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


class TestInspect:
    def test_a_good_bundle(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = said(capsys, "inspect", "home.ambry")
        assert (status, err) == (0, "")
        first, generation, expires, opens, cut_off = out.splitlines()
        assert first == f"home.ambry: 32385 tunnels of flock {HOME}"
        assert re.fullmatch(r"  generation  0x[0-9a-f]+", generation)
        assert re.fullmatch(r"  expires     \d{4}-\d\d-\d\d 02:33 UTC, (29|28) days left", expires)
        assert opens == "  opens for   255 devices"
        assert cut_off == "  cut off     nobody"

    def test_who_would_be_cut_off(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for device in ("5", "6", "7", "ff"):
            said(capsys, "renew", "cafeba00", device)
        status, out, err = said(capsys, "inspect", "home.ambry")
        assert (status, err) == (0, "")
        assert "  opens for   251 devices\n" in out
        assert f"  cut off     {HOME} 0x05-0x07, 0xff\n" in out
        said(capsys, "bundle", "cafeba00", "cafeba00", "new")
        _, out, _ = said(capsys, "inspect", "new", "--since", "home.ambry")
        assert "  cut off     nobody\n" in out
        assert f"  renewed     {HOME} 0x05-0x07, 0xff (cut off until" in out

    def test_for_scripts(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said(capsys, "renew", "cafeba00", "5")
        status, out, _ = said(capsys, "inspect", "home.ambry", "--json", "--since", "home.ambry")
        shown = json.loads(out)
        assert (status, shown["file"], shown["flocks"]) == (0, "home.ambry", [HOME, HOME])
        assert (shown["tunnels"], shown["opens_for"], shown["expired"]) == (32385, 254, False)
        assert shown["cut_off"] == [{"flock": HOME, "device": "05"}]
        assert (shown["damaged"], shown["renewed"]) == ([], [])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT02:33:00Z", shown["expires"])

    def test_without_keys(
        self, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("inspect", str(made / "home.ambry"), "--keys", str(tmp_path))
        status, out, _ = said(capsys, *words)
        assert (status, "  opens for   unknown: no keys" in out) == (0, True)
        shown = json.loads(said(capsys, *words, "--json")[1])
        assert (shown["opens_for"], shown["cut_off"], shown["damaged"]) == (None, None, None)
        status, _, err = said(capsys, *words, "--since", str(made / "home.ambry"))
        assert (status, err.startswith("chancel: --since: ")) == (1, True)

    @pytest.mark.parametrize(
        ("place", "problem"),
        [
            (100, "2 entries were changed, the first for flock 00000000cafeba00, tunnel 0102"),
            (3, "opens for nobody: it was made with other keys, or its header was changed"),
        ],
    )
    def test_one_that_was_changed(
        self, here: Path, capsys: pytest.CaptureFixture[str], place: int, problem: str
    ) -> None:
        data = bytearray((here / "home.ambry").read_bytes())
        data[place] ^= 1
        if place == 100:
            data[place + 58] ^= 1
        (here / "bad").write_bytes(data)
        status, out, err = said(capsys, "inspect", "bad", "--json")
        assert (status, json.loads(out)["file"]) == (1, "bad")
        assert err.startswith(f"chancel: bad: {problem}")

    def test_one_that_expired(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
        status, out, err = said(capsys, "inspect", "home.ambry")
        assert (status, ", expired\n" in out) == (1, True)
        assert re.match(r"chancel: home\.ambry: expired \d{4}-.*: devices refuse it, make", err)

    @pytest.mark.parametrize("size", [0, OWN.size - 1])
    def test_half_of_one(self, here: Path, capsys: pytest.CaptureFixture[str], size: int) -> None:
        (here / "half").write_bytes((here / "home.ambry").read_bytes()[:size])
        status, out, err = said(capsys, "inspect", "half")
        assert (status, out) == (1, "")
        assert err.startswith(f"chancel: half: has {size} bytes, and a bundle 3756730")


class TestRoll:
    def test_for_people(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("roll", "cafeba00", "cafeba00", "home.ambry")
        before = (here / "home.ambry").read_bytes()
        status, out, err = said(capsys, *words, "--dry-run", "--renew", "5")
        assert (status, err) == (0, "")
        assert out.startswith("home.ambry: would be installed, generation 0x")
        assert f"  renewed     {HOME} 0x05\n" in out
        assert f"  cut off     {HOME} 0x05 until they have their new key from kek-data\n" in out
        assert (here / "home.ambry").read_bytes() == before
        status, out, _ = said(capsys, *words, "--renew", "5", "--days", "2")
        assert (status, "home.ambry: installed, generation 0x" in out) == (0, True)
        status, out, _ = said(capsys, *words, "--when-left", "1")
        assert (status, out) == (0, "home.ambry: 1 days left, nothing to do\n")
        assert said(capsys, "inspect", "home.ambry")[0] == 0

    def test_for_scripts(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("roll", "cafeba00", "cafeba00", "home.ambry", "--json")
        status, out, _ = said(capsys, *words, "--renew", "5")
        rolled = json.loads(out)
        _, out, _ = said(capsys, "inspect", "home.ambry", "--json")
        assert (status, rolled["installed"]) == (0, True)
        assert rolled["bundle"]["generation"] == json.loads(out)["generation"]
        assert rolled["renewed"] == rolled["cut_off"] == [{"flock": HOME, "device": "05"}]
        status, out, _ = said(capsys, *words, "--when-left", "1")
        rolled = json.loads(out)
        assert (status, rolled["installed"], rolled["bundle"]) == (0, False, None)

    def test_one_that_expires_before_what_it_replaces(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Devices can't tell which of the two is newer."""
        words = ("roll", "cafeba00", "cafeba00", "home.ambry", "--days")
        told = "expires before the one it replaces, which a bad cathedral could bring back until"
        (here / "old.ambry").write_bytes((here / "home.ambry").read_bytes())
        _, out, _ = said(capsys, *words, "7", "--json")
        assert json.loads(out)["expires_sooner"] is True
        _, out, _ = said(capsys, "inspect", "home.ambry", "--since", "old.ambry")
        assert re.search(rf"  beware      it {told} \d{{4}}-.* UTC: give it 30 days\n", out)
        assert told in said(capsys, "bundle", "cafeba00", "cafeba00", "6", "home.ambry")[2]

    def test_when_there_is_nothing_to_beware_of(self) -> None:
        now, seed = 1_800_000_000.0, bytes(64)
        before = Header(expiry(now, 30), 1, seed)
        assert len(list(beware(Header(before.expires - 1, 2, seed), before, now))) == 1
        assert list(beware(Header(before.expires, 2, seed), before, now)) == []
        assert list(beware(Header(before.expires - 1, 2, seed), None, now)) == []
        assert list(beware(Header(before.expires - 1, 2, seed), before, now + 31 * DAY_S)) == []

    def test_keys_elsewhere(
        self, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        os.chdir("/")
        words = ("roll", "cafeba00", "cafeba00", str(tmp_path / "new"), "--keys", str(tmp_path))
        assert said(capsys, *words)[0] == 0
        assert (tmp_path / "new").stat().st_size == OWN.size


def test_no_secret_is_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even in the line about a key that is wrong."""
    secret = here / HOME / "internal/kek-0x07"
    data = secret.read_bytes()
    secret.chmod(0o600)
    secret.write_bytes(data + b"x")
    status, out, err = said(capsys, "bundle", "cafeba00", "cafeba00", "new")
    assert (status, out) == (1, "")
    assert f"{HOME}/internal/kek-0x07: has 33 bytes" in err
    assert data.hex()[:8] not in err
    assert not (here / "new").exists()


SLOW = """
import sys, chancel.cli.progress
chancel.cli.progress.PATIENCE_S = 0.0
from chancel.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_bar_on_a_terminal_for_what_takes_its_time(here: Path) -> None:
    """With no patience at all; a pseudo terminal is its standard error."""
    ours, theirs = pty.openpty()
    words = ["ambry", "bundle", "cafeba00", "cafeba00", "new"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    program = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words], stderr=theirs, stdout=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # how a terminal says that nobody writes to it any more
        pass
    finally:
        os.close(ours)
    assert program.wait(60) == 0
    assert b"wrapping secrets" in shown
    assert b"100%" in shown
    assert b"new: generated 32385 tunnels" in shown


def test_no_bar_in_a_log(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW, "ambry", "bundle", "cafeba00", "cafeba00", "new"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert re.fullmatch(r"new: generated 32385 tunnels, generation 0x[0-9a-f]+\n", done.stderr)
