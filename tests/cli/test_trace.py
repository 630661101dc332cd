"""A trace as rows, in characters and as a picture; and what the command refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from chancel.cli import trace_svg, trace_text
from chancel.cli.main import main
from chancel.cli.trace_rows import Mood, Row, Rows

Line = dict[str, Any]


def hop(at: float, process: str, to: str, packets: int = 1, **more: Any) -> Line:
    return {
        "at": at,
        "process": process,
        "event": "hop",
        "tunnel": "office",
        "to": to,
        "packets": packets,
        "bytes": 100 * packets,
        **more,
    }


def note(at: float, process: str, event: str, **fields: Any) -> Line:
    return {"at": at, "process": process, "event": event, "tunnel": "office", **fields}


def rows_of(*lines: Line) -> list[tuple[str, str | None, str]]:
    rows = Rows()
    made = [row for line in lines for row in rows.feed(line)] + rows.flush()
    return [(row.source, row.target, row.label) for row in made]


def test_what_comes_from_outside_is_a_hop_of_its_own() -> None:
    assert rows_of(hop(1.0, "heaven-rx", "bless")) == [
        ("device", "heaven", "1 packet, 100 B"),
        ("heaven", "bless", "1 packet, 100 B"),
    ]
    assert rows_of(hop(1.0, "purgatory-rx", "confess", 2, peer="192.0.2.7:2333")) == [
        ("network", "purgatory", "2 packets, 200 B"),
        ("purgatory", "confess", "2 packets, 200 B"),
    ]


def test_graces_come_from_no_device() -> None:
    assert rows_of(hop(1.0, "heaven-rx", "bless", 2, graces=2)) == [
        ("heaven", "bless", "2 packets, 200 B (2 graces)")
    ]


def test_hops_close_to_each_other_are_one_row_and_nothing_moves_across_a_note() -> None:
    lane = ("bless", "purgatory-tx")
    assert rows_of(hop(1.0, *lane), hop(1.04, *lane), hop(1.06, *lane)) == [
        ("bless", "purgatory", "2 packets, 200 B"),
        ("bless", "purgatory", "1 packet, 100 B"),
    ]
    expired = note(1.01, "bless", "send-key", was="0000000a", to=None)
    assert rows_of(hop(1.0, *lane), expired, hop(1.02, *lane)) == [
        ("bless", "purgatory", "1 packet, 100 B"),
        ("bless", None, "no send key"),
        ("bless", "purgatory", "1 packet, 100 B"),
    ]


@pytest.mark.parametrize(
    ("line", "label"),
    [
        (
            note(1, "chapel", "offers-sent", kind="ct", spi="0a", count=4),
            "4 offers (answer, spi 0a)",
        ),
        (
            note(1, "chapel", "offer-received", kind="pk", spi="0a", fragment=3),
            "got offer 4 of 4 (key, spi 0a)",
        ),
        (note(1, "chapel", "exchange", was="idle", to="offered"), "exchange: idle → offered"),
        (note(1, "confess", "drop", reason="bad-tag", packets=3), "dropped 3: bad-tag"),
        (note(1, "confess", "lost", lines=7), "7 lines of this trace are missing"),
        (note(1, "bless", "send-key", was=None, to="0000000b"), "send key 0000000b"),
        (note(1, "heaven-rx", "mtu", was=1422, to=1202), "mtu: was 1422, to 1202"),
        (note(1, "chapel", "peer-restarted", id="ff"), "peer restarted: id ff"),
    ],
)
def test_events_in_words(line: Line, label: str) -> None:
    ((_, target, told),) = rows_of(line)
    assert (target, told) == (None, label)


def test_what_makes_no_row() -> None:
    assert rows_of(note(1, "bless", "begin", wall=2.0), note(1, "heaven-tx", "heartbeat")) == []


ROW = Row(1.5, 0, "bless", "purgatory", "2 packets, 200 B", Mood.TRAFFIC)


def test_a_row_in_characters() -> None:
    head, out = trace_text.heading(1).plain, trace_text.draw(ROW, 1, 1.0).plain
    back = trace_text.draw(ROW._replace(source="purgatory", target="confess"), 1, 1.0).plain
    dot = trace_text.draw(ROW._replace(target=None), 1, 1.0).plain
    assert out.startswith("    0.500 ")
    assert out.endswith(" 2 packets, 200 B")
    assert abs(out.index("├") - head.index("bless") - 2) <= 1
    assert abs(out.index("▶") - head.index("purgatory") - 4) <= 1
    assert back.index("◀") < back.index("┤")
    assert dot.index("●") == out.index("├")
    assert out.count("│") == 5 - 2  # two ends of seven are the arrow's, two more are crossed


def test_two_ends_face_each_other() -> None:
    names = trace_text.heading(2).plain.split()[1:]
    assert names == [*names[:6], "network", *reversed(names[:6])]
    right = trace_text.draw(ROW._replace(end=1), 2, 1.0).plain
    assert right.index("◀") < right.index("┤")


def test_a_picture() -> None:
    many = [ROW._replace(at=1.0 + i, label="<&>") for i in range(trace_svg.MAX_ROWS + 5)]
    root = ET.fromstring(trace_svg.draw(many, 1, "Trace of <office>"))
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("<&>") == trace_svg.MAX_ROWS
    assert "5 more rows are left out" in texts
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polygon"))) == trace_svg.MAX_ROWS
    ET.fromstring(trace_svg.draw([], 2, "nothing"))


def write(path: Path, *lines: Line) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_two_traces_are_merged_by_the_wall_clock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clocks that ``at`` counts on began at different times."""
    monkeypatch.setenv("COLUMNS", "250")
    left = write(
        tmp_path / "left.jsonl",
        note(10.0, "bless", "begin", wall=1000.0),
        note(11.0, "bless", "drop", reason="first", packets=1),
        note(13.0, "bless", "drop", reason="third", packets=1),
    )
    right = write(
        tmp_path / "right.jsonl",
        note(500.0, "bless", "begin", wall=1000.0),
        note(502.0, "bless", "drop", reason="second", packets=1),
    )
    assert main(["trace", "--merge", left, right]) == 0
    _, *rows = capsys.readouterr().out.splitlines()
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [
        ("0.000", "first"),
        ("1.000", "second"),
        ("2.000", "third"),
    ]
    picture = tmp_path / "both.svg"
    assert main(["trace", "--merge", left, right, "-o", str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}: 3 rows\n"


@pytest.mark.parametrize("text", ["", "{}\n", "nonsense\n", "[1]\n", '{"event": "begin"}\n'])
def test_what_is_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    path = tmp_path / "odd"
    path.write_text(text)
    assert main(["trace", "--merge", str(path), str(path)]) == 2
    assert f"{path} is no trace (expected a file made with" in capsys.readouterr().err


def test_a_merge_is_no_trace_of_a_tunnel(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "office", "--merge", "a", "b"]) == 2
    assert "expected neither NAME nor --json" in capsys.readouterr().err


def test_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANCEL_RUNTIME_DIR", str(tmp_path / "none"))
    assert main(["trace", "office"]) == 1
    assert "no tunnel called 'office' is running" in capsys.readouterr().err
