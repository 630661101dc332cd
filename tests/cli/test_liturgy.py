"""``chancel hymn liturgy``, and what is shown of liturgies that run."""

from __future__ import annotations

import copy
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chancel.cli import liturgy_view, status_view, top_view, why_view
from chancel.cli.main import main
from chancel.cli.map_network import chart
from chancel.daemon import ctl
from chancel.daemon.why_liturgy import findings
from chancel.tools.hymn import hymnal
from chancel.tools.hymn.census import Census
from chancel.tools.hymn.condition import Conditions
from chancel.tools.hymn.listing import lines

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
UP, PENDING = RECORDED["tunnels"]

WORDS = (
    "cathedral c.example:4500 identity 30b4c39 kek {here}/kek cosk {here}/cosk prefix 172.31.0.0"
    " group cafe user nobody"
)

WRITTEN = """\
# auto generated, do not edit
mode liturgy
spi 0x01
instance deadbeef-liturgy
pidfile {here}/run/deadbeefcafebabe-01-00.pid
liturgy_prefix 172.31.0.0
liturgy_group 0xcafe
liturgy_discoverable yes
kek {here}/kek

cathedral_id 30b4c39
cathedral_flock deadbeefcafebabe
cathedral_flock_dst 0
cathedral_secret {here}/id-30b4c39
cathedral_cosk {here}/cosk
cathedral_nat_port 0
cathedral c.example:4500


run liturgy as nobody
run purgatory-rx as nobody
run purgatory-tx as nobody

run bishop as root
run bless as root
run confess as root
run chapel as root
run shrine as root
run pilgrim as root
run cathedral as root
"""
"""As the reference's tool wrote it for these words, but for directories."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHANCEL_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("CHANCEL_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def hymn(here: Path, words: str) -> int:
    return main(["hymn", *words.format(here=here).split()])


def liturgy(**changes: Any) -> dict[str, Any]:
    """The status of one that is well."""
    told: dict[str, Any] = {
        "instance": "deadbeef-liturgy",
        "descr": "choir",
        "prefix": "172.31.0.0",
        "tap": False,
        "bridge": None,
        "local": "0.0.0.0:4000",
        "device": 1,
        "group": "cafe",
        "flock": "deadbeefcafebabe",
        "hidden": False,
        "shroud": False,
        "members": [2],
        "tunnels": {"deadbeef-01-02": 2, "deadbeef-01-1f": 0x1F},
        "answered_s": 2.0,
        "questions": 20,
        "send_error": None,
        "cathedral": {
            "address": "203.0.113.9:4500",
            "known": 2,
            "since_s": 100.0,
            "silent_s": None,
            "clock_skew_s": 0.1,
            "trouble": None,
            "trouble_s": None,
        },
        "drops": {},
    }
    cathedral = told["cathedral"] | changes.pop("cathedral", {})
    return told | changes | {"cathedral": cathedral}


def drawn(*parts: Any) -> str:
    console = Console(file=StringIO(), width=160)
    for part in parts:
        console.print(part)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def answer(*tunnels: dict[str, Any]) -> dict[str, Any]:
    """That of a group with a liturgy, whose tunnels lead to devices from 2 on."""
    owned = [
        copy.deepcopy(each) | {"peer_device": 2 + number, "liturgy": "deadbeef-liturgy"}
        for number, each in enumerate(tunnels)
    ]
    return {"ok": True, "group": {"pid": 7}, "tunnels": owned, "liturgies": [liturgy()]}


class TestFiles:
    def test_the_file_is_that_of_the_reference(self, here: Path) -> None:
        assert hymn(here, f"liturgy deadbeefcafebabe-1 {WORDS}") == 0
        path = here / "deadbeefcafebabe-01-00.conf"
        assert path.read_text() == WRITTEN.format(here=here)

    def test_all_that_can_be_said(self, here: Path) -> None:
        more = "natport 77 discoverable no shroud yes device tap bridge br0"
        assert hymn(here, f"liturgy deadbeefcafebabe-ca {WORDS} {more}") == 0
        text = (here / "deadbeefcafebabe-ca-00.conf").read_text()
        expected = (
            "spi 0xca\ninstance deadbeef-liturgy\n"
            f"pidfile {here}/run/deadbeefcafebabe-ca-00.pid\ntap yes\nbridge br0\n"
            "liturgy_prefix 172.31.0.0\nliturgy_group 0xcafe\nliturgy_discoverable no\n"
            "shroud yes\nkek"
        )
        assert expected in text
        assert "cathedral_nat_port 77\n" in text

    def test_nothing_is_lost_by_an_edit(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hymn(here, f"liturgy deadbeefcafebabe-1 {WORDS} discoverable no")
        for words in (
            "remembrance deadbeefcafebabe-1-liturgy on",
            "nat deadbeefcafebabe-1-liturgy 99",
            "shroud deadbeefcafebabe-1-liturgy on",
            "name deadbeefcafebabe-1-liturgy choir",
        ):
            assert hymn(here, words) == 0
        text = (here / "deadbeefcafebabe-01-00.conf").read_text()
        for line in (
            "liturgy_group 0xcafe",
            "liturgy_discoverable no",
            f"cathedral_remembrance {here}/deadbeefcafebabe-01-00.remembrance",
            "cathedral_nat_port 99",
            "shroud yes",
            "descr choir",
        ):
            assert f"\n{line}\n" in text
        capsys.readouterr()
        assert hymn(here, "status choir --json") == 0
        (told,) = json.loads(capsys.readouterr().out)
        assert told["liturgy"] == {"group": "cafe", "prefix": "172.31.0.0", "discoverable": False}

    @pytest.mark.parametrize(
        ("words", "problem"),
        [
            ("mtu choir 1300", "mtu on a liturgy does not make sense"),
            ("route add 10.0.0.0/24 via choir", "route on a liturgy does not make sense"),
            ("accept add 10.0.0.0/24 on choir", "accept on a liturgy does not make sense"),
            ("bridge choir on br0", "its device is no tap"),
            ("up deadbeefcafebabe-1-5", "refusing to start deadbeefcafebabe-01-05, it is owned by"),
            ("down deadbeefcafebabe-1-5", "refusing to down deadbeefcafebabe-01-05, it is owned"),
            (f"liturgy deadbeefcafebabe-1 {WORDS}", "exists, and is kept"),
            (f"liturgy deadbeefcafebabe-ff {WORDS}", "device ff (expected 01 to fe)"),
            (f"liturgy deadbeef-3 {WORDS} group 1", "a second group (expected one)"),
            ("liturgy deadbeef-3 group 10000", "'10000' is no group"),
        ],
    )
    def test_what_is_refused(
        self, here: Path, capsys: pytest.CaptureFixture[str], words: str, problem: str
    ) -> None:
        hymn(here, f"liturgy deadbeefcafebabe-1 {WORDS}")
        hymn(here, "name deadbeefcafebabe-1-liturgy choir")
        before = (here / "deadbeefcafebabe-01-00.conf").read_text()
        assert hymn(here, words) != 0
        assert problem in capsys.readouterr().err
        assert (here / "deadbeefcafebabe-01-00.conf").read_text() == before

    def test_the_list_has_tunnels_without_files(self, here: Path) -> None:
        hymn(here, f"liturgy deadbeefcafebabe-1 {WORDS}")
        group = ctl.Group(here / "deadbeef-liturgy.ctl", answer(UP, PENDING))
        conditions = Conditions(Census(ctl.Survey(here, (group,), ()), {}))
        found, _ = hymnal.here(None).tunnels()
        assert list(lines(found, conditions.of, None, conditions.members)) == [
            "cathedral tunnels:",
            "liturgies:",
            "    deadbeefcafebabe-01-00 - running",
            "     + deadbeefcafebabe-01-02 - online",
            "     + deadbeefcafebabe-01-03 - pending",
        ]


class TestViews:
    def test_a_liturgy_that_is_well(self) -> None:
        text = drawn(liturgy_view.panel(liturgy()))
        for words in (
            "deadbeef-liturgy  liturgy  choir",
            "01 of deadbeefcafebabe, group cafe",
            "1f (not named any more)",
            "203.0.113.9:4500 for 1 min 40 s, 2 known",
            "172.31.1.DEVICE here, 172.31.DEVICE.1 there",
        ):
            assert words in text
        assert "hidden" not in text

    def test_it_is_shown_everywhere(self) -> None:
        told = {**answer(UP), "groups": [], "cathedrals": [], "silent": []}
        told["tunnels"][0] |= {"state": "up"}
        assert "liturgy  choir" in drawn(status_view.render(told))
        assert "nothing is wrong" in drawn(why_view.render(told))
        assert why_view.as_json(told)["liturgies"] == [
            {
                "instance": "deadbeef-liturgy",
                "tried": ["20 questions were asked, the last answer came 2 s ago"],
                "failed": [],
            }
        ]
        frame = top_view.render(told, top_view.History(), "rate", 20)
        assert "liturgy deadbeef-liturgy: 1 others are there, 2 tunnels" in drawn(frame)
        assert chart({"here": told}).lines[0].right == "device 02"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"cathedral": {"trouble": "cosk-unreadable"}}, "cosk-unreadable"),
            ({"cathedral": {"trouble": "remembrance-not-kept"}}, "remembrance-not-kept"),
            ({"cathedral": {"address": None}}, "cathedral-unknown"),
            ({"send_error": "ENETUNREACH"}, "cannot-send"),
            ({"cathedral": {"clock_skew_s": 43.0}}, "cathedral-clock"),
            ({"answered_s": 60.0}, "cathedral-silent"),
            ({"answered_s": None}, "cathedral-silent"),
            ({"members": [], "tunnels": {}}, "nobody-else"),
        ],
    )
    def test_what_is_wrong_is_told(self, changes: dict[str, Any], code: str) -> None:
        (finding,) = findings(liturgy(**changes))
        assert finding.code == code
        assert finding.says[:40] in drawn(liturgy_view.explanation(liturgy(**changes)))

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"answered_s": None, "cathedral": {"since_s": 3.0}},
            {"answered_s": 60.0, "cathedral": {"since_s": 3.0}},
            {"members": []},
        ],
        ids=["well", "just begun", "another cathedral", "kept"],
    )
    def test_what_is_not_wrong_is_not(self, changes: dict[str, Any]) -> None:
        assert findings(liturgy(**changes)) == []
