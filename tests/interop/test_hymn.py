"""``chancel hymn`` and the reference's tool on one directory: ``HYMN=/path/to/hymn`` (root).

Without it, the tool beside ``SANCTUM=/path/to/sanctum`` is taken.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.hymnals import Machine, machine

OURS = (sys.executable, "-m", "chancel.cli.main", "hymn")
SECRETS = """
umask 077
mkdir -p /etc/hymn
for name in k kek cs; do head -c 32 /dev/urandom >/etc/hymn/$name; done
head -c 64 /dev/urandom >/etc/hymn/cosk
"""

NO_LOG = "chancel: nobody listens on /dev/log: lines are lost until somebody does\n"
"""A machine without a system log is no failure of ours."""

PLAIN = "tunnel 10.77.0.1/30 secret /etc/hymn/k peer 192.0.2.1:5"
CATHEDRAL = (
    "kek /etc/hymn/kek cathedral localhost:4500 identity 30b4c39:/etc/hymn/cs cosk /etc/hymn/cosk"
)
WITH_CATHEDRAL = f"tunnel 192.168.10.1/24 {CATHEDRAL}"
LITURGY = f"{CATHEDRAL} prefix 172.31.0.0 group cafe"

ADDS = [
    f"1-2 {PLAIN}",
    f"1-2 {PLAIN} name office local 192.0.2.7:99 mtu 1300 shroud yes user root",
    f"hymn-0a-ff {PLAIN} mtu auto shroud no device tun",
    f"4-1 {PLAIN} device tap bridge br0",
    "4-2 device tap secret /etc/hymn/k peer 192.0.2.1:5",
    f"deadbeefcafebabe-1-2 {WITH_CATHEDRAL}",
    f"deadbeefcafebabe-1-3 {WITH_CATHEDRAL} natport 99 local 0.0.0.0:33 name kat mtu 1422",
    f"deadbeefcafeba00:deadbeefcafebb00-1-3 {WITH_CATHEDRAL} peer 192.0.2.9:9",
    f"deadbeef-1-2 {WITH_CATHEDRAL}",
    f"6-1 {WITH_CATHEDRAL}",
    "deadbeef-1-9 tunnel 10.1.1.1/24 cathedral foo:5 secret /x cosk /y identity 0xABCD",
    f"DEADBEEFCAFEBABE-01-5 {WITH_CATHEDRAL}",
]

EDITS = [
    "mtu {plain} 1300",
    "mtu {cathedral} auto",
    "mtu {tap} 1400",
    "nat {cathedral} 99",
    "nat {cathedral} 0",
    "name {plain} office",
    "name {tap} wires",
    "name {cathedral} home",
    "shroud {plain} on",
    "shroud {plain} off",
    "shroud {tap} on",
    "shroud {cathedral} on",
    "bridge {tap} on br1",
    "bridge {tap} clear",
    "cathedral {cathedral} cathedral.example:4501",
    "remembrance {cathedral} on",
    "remembrance {cathedral} off",
    "route add 10.88.0.0/24 via {plain}",
    "route add 10.88.0.7/24 via {cathedral}",
    "accept add 10.99.0.0/24 on {plain}",
    "accept add 10.99.0.7/24 on {cathedral}",
]

NAMES = {"plain": "1-2", "tap": "4-1", "cathedral": "deadbeefcafeba00:deadbeefcafebb00-1-3"}


@pytest.fixture(scope="session")
def hymn() -> str:
    """The reference's tool, or the test is skipped."""
    path = os.environ.get("HYMN")
    if path is None and (sanctum := os.environ.get("SANCTUM")):
        path = str(Path(sanctum).parent / "tools/hymn/hymn")
    if path is None:
        pytest.skip("no reference build: make interop SANCTUM=/path/to/sanctum")
    if shutil.which(path) is None:
        pytest.skip(f"HYMN={path} is no program that can be run")
    if os.geteuid() != 0:
        pytest.skip("the reference needs root: sudo make interop SANCTUM=/path/to/sanctum")
    return str(Path(path).resolve())


class Both:
    """Both tools on one machine."""

    def __init__(self, there: Machine, theirs: str) -> None:
        self.there = there
        self._tools = {"ours": OURS, "theirs": (theirs,)}

    def __call__(self, tool: str, words: str) -> str:
        """Run a command that succeeds; what it printed."""
        done = self.there.run(*self._tools[tool], *words.split(), cwd="/")
        assert (done.returncode, done.stderr.replace(NO_LOG, "")) == (0, ""), (words, done)
        return done.stdout

    def fails(self, tool: str, words: str) -> None:
        done = self.there.run(*self._tools[tool], *words.split())
        assert done.returncode in (1, 2), (words, done)
        if tool == "ours":
            assert done.stderr.count("\n") == 1, done

    def files(self) -> dict[str, str]:
        """The configurations by name."""
        script = 'for f in /etc/hymn/*.conf; do [ -f $f ] || continue; echo "=== $f"; cat $f; done'
        _, *parts = self.there.shell(script).split("=== ")
        return {name: text for part in parts for name, _, text in [part.partition("\n")]}

    def clear(self) -> None:
        self.there.shell("rm -f /etc/hymn/*.conf*")

    def fill(self) -> None:
        """Some tunnels of each kind."""
        for words in (
            ADDS[0],
            ADDS[3],
            ADDS[7],
            f"1-3 {PLAIN}",
            f"deadbeefcafebabe-1-2 {WITH_CATHEDRAL}",
        ):
            self("theirs", f"add {words}")
        self("theirs", f"liturgy deadbeefcafebabe-1 {LITURGY}")
        self("theirs", f"liturgy 493abf95a07e0c52-1 {LITURGY} natport 7 device tap bridge b0")
        self("theirs", "name 493abf95a07e0c52-1-liturgy choir")
        for number in range(3, 7):
            self("theirs", f"add deadbeefcafebabe-1-{number} {WITH_CATHEDRAL}")
            self("theirs", f"add 1deadbeefcafebab-{number}-1 {WITH_CATHEDRAL}")


@pytest.fixture(scope="module")
def there(hymn: str) -> Iterator[Machine]:
    """In it, the reference's daemon starts in the background without a system log."""
    sanctum = Path(os.environ.get("SANCTUM") or Path(hymn).parents[2] / "sanctum").resolve()
    program = Path("/run/bin/sanctum")
    with machine(program.parent) as lent:
        lent.shell(
            f"mkdir {program.parent}; echo '#!/bin/sh' >{program};"
            f" echo 'setsid {sanctum} -c \"$2\" </dev/null >>/run/log 2>&1 &' >>{program};"
            f" chmod 755 {program}"
        )
        yield lent


@pytest.fixture
def both(there: Machine, hymn: str) -> Iterator[Both]:
    there.shell(SECRETS)
    tools = Both(there, hymn)
    yield tools
    there.run(*OURS, "down")
    tools.clear()


@pytest.mark.parametrize("words", ADDS)
def test_add_writes_the_same_file(both: Both, words: str) -> None:
    written = []
    for tool in ("theirs", "ours"):
        assert both(tool, f"add {words}") == ""
        written.append(both.files())
        both.clear()
    assert written[0] == written[1]
    assert len(written[0]) == 1


@pytest.mark.parametrize("words", EDITS)
def test_an_edit_says_and_writes_the_same(both: Both, words: str) -> None:
    """Where the reference loses nothing: of one route, without remembrance, with two flocks."""
    results = []
    for tool in ("theirs", "ours"):
        both("theirs", f"add {ADDS[0]}")
        both("theirs", f"add {ADDS[3]}")
        both("theirs", f"add {ADDS[7]}")
        told = both(tool, words.format(**NAMES))
        results.append((told, both.files()))
        both.clear()
    assert results[0] == results[1]


def test_lists_and_reports_are_the_same(both: Both) -> None:
    both.fill()
    for words in (
        *("list", "list hymn", "list deadbeefcafebabe", "list 493abf95a07e0c52", "list nave"),
        *("status", "status 1-2", "status choir", "status deadbeefcafebabe-1-liturgy"),
    ):
        assert both("ours", words) == both("theirs", words), words
    assert both("ours", "list").count("\n") == 18


def settled(text: str) -> str:
    """Without what changes from one second to the next."""
    text = re.sub(r"\d+ seconds", "N seconds", text)
    return re.sub(r"(pkt|bytes) ( +)\d+", r"\1 \2N", text)


def test_many_networks_are_told_alike(both: Both) -> None:
    both("theirs", f"add {ADDS[0]}")
    for tool, number in (("theirs", 1), ("ours", 2), ("ours", 3), ("theirs", 4), ("ours", 5)):
        both(tool, f"route add 10.{number}.0.0/16 via 1-2")
        both(tool, f"accept add 172.16.{number}.0/24 on 1-2")
        assert both("ours", "status 1-2") == both("theirs", "status 1-2")
    both("ours", "route del 10.2.0.0/16 via 1-2")
    both("ours", "accept del 172.16.3.0/24 on 1-2")
    told = both("theirs", "status 1-2")
    assert "10.2.0.0" not in told
    assert "172.16.3.0" not in told.partition("accepts")[2]  # theirs made it a route as well
    assert both("ours", "status 1-2") == told


def test_running_cathedral_tunnels_and_liturgies_are_told_alike(both: Both) -> None:
    """By the reference's daemon; there is no cathedral at that address."""
    both.there.shell("chown nobody /etc/hymn/cs /etc/hymn/kek /etc/hymn/cosk; chmod 755 /etc/hymn")
    both("theirs", f"add deadbeefcafebabe-1-2 {WITH_CATHEDRAL}")
    both("theirs", f"add deadbeefcafebabe-2-2 {WITH_CATHEDRAL} peer 127.0.0.1:4500 natport 9")
    both("theirs", f"liturgy 493abf95a07e0c52-1 {LITURGY}")
    for name in ("deadbeefcafebabe-1-2", "deadbeefcafebabe-2-2", "493abf95a07e0c52-1-0"):
        both("theirs", f"up {name}")
    for _ in range(200):
        listed = both.there.run(*OURS, "list")
        if listed.stdout.count("pending") == 2 and not listed.stderr:
            break
        both.there.shell("sleep 0.1")
    for words in ("list", "status"):
        assert settled(both("ours", words)) == settled(both("theirs", words)), words
    assert "localhost:4500 (127.0.0.1:4500)" in both("ours", "status deadbeefcafebabe-1-2")
    assert "(" not in both("ours", "status deadbeefcafebabe-2-2").partition("flock")[0][120:]
    assert "493abf95a07e0c52-01-00 - running" in both("ours", "list")
    assert both("ours", "down").count("done") == 3


def test_nothing_configured_is_no_output(both: Both) -> None:
    for words in ("list", "status"):
        assert both("ours", words) == both("theirs", words) == ""


@pytest.mark.parametrize(
    "words",
    [
        *("add", "add 1-2", f"add 1-2 {PLAIN}", f"add 300-1 {PLAIN}", f"add zz-1 {PLAIN}"),
        *(f"add 9-9 {PLAIN} {extra}" for extra in ("mtu 10", "secret /x", "shroud on", "nave x")),
        *(f"add 9-9 {PLAIN} {extra}" for extra in ("bridge b", "kek /x", "cosk /x", "natport 1")),
        *(f"add 9-9 {PLAIN} {extra}" for extra in ("identity 5", "name a_b", "device nave", "mtu")),
        *(f"add {name} {WITH_CATHEDRAL}" for name in ("xyz-1-1",)),
        f"add deadbeefcafebabe-9-9 {PLAIN}",
        f"add deadbeef-9-9 {WITH_CATHEDRAL} secret /x",
        *("add 9-9 tunnel 10.1.1.1 secret /x peer 192.0.2.1:1", "add 9-9 tunnel 10.1.1.1/24"),
        *("add 9-9 tunnel 10.1.1.1/24 secret /x", "add 9-9 tunnel 10.1.1.1/33 secret /x peer a:1"),
        *("mtu 1-2 10", "mtu 1-2 x", "mtu 1-2", "mtu nave 1300", "nat 1-2 x", "name 1-2 a_b"),
        *("shroud 1-2 yes", "bridge 1-2 on b", "bridge 4-1 on b123456789abcdef", "bridge 4-1 up"),
        *("cathedral 1-2 a:1", "remembrance 1-2 on", "remembrance 1-2 yes"),
        *("route add 10.0.0.0 via 1-2", "route add 10.0.0.0/8 on 1-2", "route nave", "route"),
        *("route add 10.0.0.0/8 via 4-1", "accept add 10.0.0.0/8 on 4-1", "route add x via 1-2"),
        *("del nave", "up nave", "down zz-1", "restart", "status nave", "nave", "list a b"),
    ],
)
def test_both_refuse_the_same(both: Both, words: str) -> None:
    both("theirs", f"add {ADDS[0]}")
    both("theirs", f"add {ADDS[3]}")
    before = both.files()
    for tool in ("theirs", "ours"):
        both.fails(tool, words)
        assert both.files() == before


def test_keys_of_one_are_keys_for_the_other(both: Both) -> None:
    told = {tool: both(tool, f"keygen /run/key-{tool}") for tool in ("ours", "theirs")}
    assert told["ours"].replace("ours", "theirs") == told["theirs"]
    for tool, other in (("ours", "theirs"), ("theirs", "ours")):
        assert both.there.shell(f"wc -c </run/key-{tool}").strip() == "32"
        both.fails(other, f"keygen /run/key-{tool}")


def wait_online(both: Both) -> None:
    for _ in range(200):
        if both("ours", "list").count("online") == 2:
            return
        both.there.shell("sleep 0.1")
    pytest.fail(both("ours", "list") + both.there.shell("cat /run/log || true"))


@pytest.mark.parametrize(
    ("left", "right"), [("theirs", "theirs"), ("ours", "theirs"), ("ours", "ours")]
)
def test_tunnels_of_either_are_seen_and_ended_by_either(both: Both, left: str, right: str) -> None:
    ends = "local 127.0.0.1:3001 peer 127.0.0.1:3002", "local 127.0.0.1:3002 peer 127.0.0.1:3001"
    both("theirs", f"add 1-2 tunnel 10.77.0.1/30 secret /etc/hymn/k {ends[0]} name office")
    both("ours", f"add 2-1 tunnel 10.78.0.1/30 mtu 1300 secret /etc/hymn/k {ends[1]}")
    both("ours", "route add 10.88.0.0/24 via office")
    both.there.shell("sed -i '1a spi 0102' /etc/hymn/hymn-01-02.conf")  # has a zero in front
    for tool, name, title in ((left, "office", "hymn-01-02"), (right, "2-1", "hymn-02-01")):
        assert both(tool, f"up {name}") == f"waiting for {title} to go up ... done\n"
    wait_online(both)
    for words in ("list", "status", "status office"):
        assert settled(both("ours", words)) == settled(both("theirs", words)), words
    assert both("ours", "up 1-2") == both("theirs", "up 1-2") == "tunnel hymn-01-02 is up\n"
    for tool in ("ours", "theirs"):
        both.fails(tool, "del office")
    # each is ended by the tool that didn't start it
    for tool, name, title in ((left, "office", "hymn-01-02"), (right, "2-1", "hymn-02-01")):
        other = "theirs" if tool == "ours" else "ours"
        assert both(other, f"down {name}") == f"waiting for {title} to go down ... done\n"
        assert both(tool, f"down {name}") == f"tunnel {title} is down\n"
    assert "online" not in both("theirs", "list")
    assert both("ours", "list") == both("theirs", "list")
    assert both.there.shell("ls /run/hymn") == ""
