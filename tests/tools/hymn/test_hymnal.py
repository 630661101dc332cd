"""The directory: found by name, written whole or not at all, one edit at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chancel.errors import ConfigError
from chancel.tools.hymn import edits, grammar, hymnal, layout, listing
from chancel.tools.hymn.hymnal import Hymnal
from chancel.tools.hymn.layout import Sockets
from chancel.tools.hymn.names import TunnelName
from tests.tools.hymn.pages import CATHEDRAL, LITURGY, NAMES, PLAIN, TAP

OURS = "# ours\ntunnel6 fd00::1/64\nprofile current\n"


@pytest.fixture
def here(tmp_path: Path) -> Hymnal:
    for name, text in NAMES.items():
        (tmp_path / f"{name}.conf").write_text(text)
    return Hymnal(tmp_path)


def text_of(here: Hymnal, name: str) -> str:
    return (here.directory / f"{name}.conf").read_text()


def added(name: str, words: str) -> str:
    parsed = TunnelName.parse(name)
    sockets = Sockets(Path(f"/var/run/hymn/{parsed}.pid"), Path(f"/tmp/{parsed}.control"), "root")
    return layout.compose(grammar.new_tunnel(parsed, words.split(), Path("/etc/hymn")), sockets)


PEER = "secret /etc/hymn/k peer 192.0.2.1:5 user nobody"
CATHEDRAL_WORDS = (
    "cathedral 192.168.201.2:1234 identity 30b4c39:/etc/hymn/cs cosk /etc/hymn/cosk natport 1235"
)


@pytest.mark.parametrize(
    ("name", "words", "text"),
    [
        (
            "1-2",
            "tunnel 10.77.0.1/30 secret /etc/hymn/k name office local 192.168.201.1:2333"
            " peer 192.168.201.2:2333 user nobody",
            PLAIN,
        ),
        ("4-1", f"device tap bridge br0 mtu 1400 shroud yes {PEER}", TAP),
        (
            "deadbeefcafeba00:deadbeefcafebb00-1-3",
            f"tunnel 192.168.10.1/24 mtu 1422 kek /etc/hymn/kek {CATHEDRAL_WORDS}"
            " peer 192.0.2.9:9 user nobody",
            CATHEDRAL,
        ),
    ],
)
def test_a_new_file_is_that_of_the_reference(name: str, words: str, text: str) -> None:
    assert added(name, words) == text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("nave x", "'nave' (expected tunnel, mtu, "),
        ("mtu", "nothing behind mtu (expected its value)"),
        ("mtu 575", "mtu: '575' is out of range (expected 576 to 9200, or auto)"),
        ("name a_b", "name: 'a_b' is no name of a tunnel"),
        ("tunnel 10.0.0.1/8 tunnel 10.0.0.1/8", "a second tunnel (expected one)"),
        ("bridge b", "bridge alone (expected device tap before it)"),
        ("device tun bridge b", "bridge alone (expected device tap before it)"),
        ("natport 5", "natport alone (expected cathedral before it)"),
        ("cathedral a:1 identity zz", "identity: 'zz' is no identity"),
        ("cathedral a:1 identity 100000000", "identity: '100000000' is no identity"),
        ("cathedral a", "cathedral: "),
        ("secret /x peer 192.0.2.1:1", "expected tunnel IP/LEN"),
        ("tunnel 10.0.0.1/8 peer 192.0.2.1:1", "expected secret FILE"),
        ("tunnel 10.0.0.1/8 secret /x", "expected peer IP:PORT, or a cathedral"),
        ("tunnel 10.0.0.1/8 kek /x peer 192.0.2.1:1", "a kek alone (expected a cathedral"),
        ("tunnel 10.0.0.1/8 secret /x cathedral a:1", "expected identity HEX[:FILE]"),
        ("tunnel 10.0.0.1/8 secret /x cathedral a:1 identity 5", "expected cosk FILE"),
        (
            "tunnel 10.0.0.1/8 secret /x kek /x cathedral a:1 identity 5 cosk /c",
            "both secret and kek",
        ),
        ("user a\tb", "user: "),
    ],
)
def test_what_add_refuses(words: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        grammar.new_tunnel(TunnelName.parse("1-2"), words.split(" "), Path("/etc/hymn"))
    assert problem in str(refused.value)


def test_a_flock_needs_a_cathedral() -> None:
    with pytest.raises(ConfigError, match="expected none without a cathedral"):
        added("deadbeef-1-2", f"tunnel 10.0.0.1/8 {PEER}")


def test_relative_paths_are_written_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = added("1-2", "tunnel 10.0.0.1/8 secret k peer 192.0.2.1:1 user a")
    assert f"\nsecret {tmp_path}/k\n" in text


def test_tunnels_are_found_by_any_of_their_names(here: Hymnal) -> None:
    plain = here.directory / "hymn-01-02.conf"
    for word in ("office", "1-2", "hymn-1-2", "hymn-01-02"):
        assert here.find(word) == plain
    assert here.find("493abf95a07e0c52-1-liturgy").stem == "493abf95a07e0c52-01-00"
    (here.directory / "home.conf").write_text("instance home\n")
    assert here.find("home").stem == "home"


@pytest.mark.parametrize("word", ["nave", "9-9", "x-1-2"])
def test_there_is_no_such_tunnel(here: Hymnal, word: str) -> None:
    with pytest.raises(ConfigError, match="no such tunnel"):
        here.find(word)


def test_a_broken_file_hides_no_other(here: Hymnal) -> None:
    (here.directory / "hymn-09-09.conf").write_text("nonsense\n")
    (here.directory / ".hymn-01-02.conf.swp").write_text("nonsense\n")
    (here.directory / "dead-01-01.conf.new").touch()  # the reference leaves such files behind
    found, broken = here.tunnels()
    assert {each.title for each in found} == set(NAMES)
    (error,) = broken
    assert "hymn-09-09.conf:1: malformed" in str(error)
    assert here.find("office").stem == "hymn-01-02"


def test_a_name_is_given_once(here: Hymnal) -> None:
    with pytest.raises(ConfigError, match="'office' is the name of hymn-01-02"):
        edits.set_label(here, "4-1", "office")
    edits.set_label(here, "office", "office")
    (here.directory / "hymn-09-09.conf").write_text("instance a\ndescr office\n")
    with pytest.raises(ConfigError, match="expected hymn-01-02 or hymn-09-09"):
        here.find("office")


def test_nothing_is_lost(here: Hymnal) -> None:
    """What the reference's tool forgets, or doesn't know, is there after every edit."""
    name = "deadbeefcafeba00:deadbeefcafebb00-01-03"
    text = CATHEDRAL.replace("cathedral_nat", "cathedral_remembrance /r\ncathedral_nat") + OURS
    (here.directory / f"{name}.conf").write_text(text)
    for edit, arguments, reverse in (
        (edits.set_mtu, ("auto",), ("1422",)),
        (edits.set_shroud, ("on",), ("off",)),
        (edits.set_nat_port, ("0",), ("1235",)),
        (edits.set_cathedral, ("a.example:1",), ("192.168.201.2:1234",)),
    ):
        edit(here, name, *arguments)
        assert text_of(here, name) != text
        edit(here, name, *reverse)
        assert text_of(here, name) == text
    edits.add_network(here, name, "route", "10.0.0.0/8")
    edits.remove_network(here, name, "route", "10.0.0.0/8")
    edits.set_remembrance(here, name, "on")
    assert text_of(here, name) == text


def test_a_liturgy_stays_as_it_is(here: Hymnal) -> None:
    name = "493abf95a07e0c52-01-00"
    edits.set_shroud(here, "choir", "on")
    edits.set_label(here, "choir", "choir-2")
    assert text_of(here, name) == LITURGY.replace("kek /etc", "shroud yes\nkek /etc").replace(
        "choir", "choir-2"
    )
    edits.set_remembrance(here, name, "off")
    assert "remembrance" not in text_of(here, name)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda here: edits.set_mtu(here, "choir", "1300"), "mtu on a liturgy does not make sense"),
        (lambda here: edits.set_nat_port(here, "1-2", "5"), "it has no cathedral"),
        (lambda here: edits.set_cathedral(here, "1-2", "a:5"), "it has no cathedral"),
        (lambda here: edits.set_remembrance(here, "1-2", "on"), "it has no cathedral"),
        (lambda here: edits.set_bridge(here, "1-2", ["on", "b"]), "its device is no tap"),
        (lambda here: edits.add_network(here, "4-1", "route", "10.0.0.0/8"), "on a tap device"),
        (lambda here: edits.add_network(here, "choir", "accept", "10.0.0.0/8"), "on a liturgy"),
        (lambda here: edits.remove_network(here, "1-2", "route", "10.0.0.0/8"), "no route 10"),
    ],
)
def test_what_an_edit_refuses(here: Hymnal, change: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        change(here)  # type: ignore[operator]
    assert {path.stem: path.read_text() for path in here.files()} == NAMES


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    here = Hymnal(tmp_path / "new/hymn")
    here.add(TunnelName.parse("1-2"), PLAIN)
    path = here.directory / "hymn-01-02.conf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(here.directory.stat().st_mode) == 0o700
    with pytest.raises(ConfigError, match="exists, and is kept"):
        here.add(TunnelName.parse("1-2"), "other\n")
    assert path.read_text() == PLAIN
    assert here.files() == list(here.directory.iterdir()) == [path]


def test_a_file_keeps_its_mode(here: Hymnal) -> None:
    path = here.directory / "hymn-01-02.conf"
    path.chmod(0o750)
    edits.set_mtu(here, "1-2", "1300")
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_a_full_disk_loses_nothing(here: Hymnal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(here.directory.iterdir())
    with pytest.raises(OSError, match="No space"):
        edits.set_mtu(here, "1-2", "1300")
    with pytest.raises(OSError, match="No space"):
        here.add(TunnelName.parse("9-9"), PLAIN)
    assert text_of(here, "hymn-01-02") == PLAIN
    assert sorted(here.directory.iterdir()) == before


def test_a_link_is_not_replaced(here: Hymnal, tmp_path: Path) -> None:
    (here.directory / "linked.conf").symlink_to(here.directory / "hymn-01-02.conf")
    with pytest.raises(ConfigError, match="symbolic link"):
        edits.set_mtu(here, "linked", "1300")
    assert text_of(here, "hymn-01-02") == PLAIN


def test_edits_at_once_all_take_effect(here: Hymnal) -> None:
    """Each waits for its turn: no network of eight programs' is lost."""
    code = (
        "import sys; from pathlib import Path; from chancel.tools.hymn import edits;"
        "from chancel.tools.hymn.hymnal import Hymnal; here = Hymnal(Path(sys.argv[1]));"
        "[edits.add_network(here, '1-2', 'route', f'10.{sys.argv[2]}.{n}.0/24')"
        " for n in range(20)]"
    )
    programs = [
        subprocess.Popen([sys.executable, "-c", code, str(here.directory), str(number)])
        for number in range(4)
    ]
    assert [program.wait(100) for program in programs] == [0] * 4
    routes = hymnal.load(here.find("1-2")).routes
    assert len(set(routes)) == len(routes) == 80


def test_root_has_the_places_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chancel.daemon.places.is_machine_root", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    name = TunnelName.parse("1-2")
    assert hymnal.sockets(name, Path("/run/hymn")) == Sockets(
        Path("/var/run/hymn/hymn-01-02.pid"), Path("/tmp/hymn-01-02.control"), "root"
    )
    assert hymnal.sockets(name, Path("/own")).control == Path("/own/hymn-01-02.control")


def test_nobody_else_puts_sockets_where_others_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chancel.daemon.places.is_machine_root", lambda: False)
    sockets = hymnal.sockets(TunnelName.parse("1-2"), Path("/run/hymn"))
    assert sockets.control.parent == sockets.pidfile.parent == Path("/run/hymn")


def test_the_order_of_the_reference(here: Hymnal) -> None:
    """Recorded: files in the order of their directory, and what was listed."""
    read = [
        *("7-1", "6-1", "ffdeadbeefcafeb0-2-1", "ffdeadbeefcafeb0:1111111111111111-2-1"),
        *("ffdeadbeefcafeba-2-1", "0deadbeefcafebab-2-1", "deadbeefcafebabf-2-1"),
        *("deadbeefcafebabe-2-1", "deadbeefcafebabe-3-2", "deadbeefcafebabe-2-2"),
        "deadbeefcafebabe-1-2",
    ]
    listed = [
        *("6-1", "7-1", "deadbeefcafebabe-1-2", "0deadbeefcafebab-2-1", "deadbeefcafebabe-2-1"),
        *("deadbeefcafebabe-2-2", "deadbeefcafebabe-3-2", "deadbeefcafebabf-2-1"),
        *("ffdeadbeefcafeb0-2-1", "ffdeadbeefcafeb0:1111111111111111-2-1"),
        "ffdeadbeefcafeba-2-1",
    ]
    tunnels = []
    for each in read:
        name = TunnelName.parse(each)
        flock = name.flocks()[0]
        text = f"instance a\ncathedral a:1\ncathedral_flock {flock:x}\n"
        here.path(name).write_text(text if name.has_flock else "instance a\n")
        tunnels.append(hymnal.load(here.path(name)))
    assert [str(each.name) for each in listing.ordered(tunnels)] == [
        str(TunnelName.parse(each)) for each in listed
    ]
