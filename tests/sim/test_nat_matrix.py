"""Every pair of NATs: a slice of ``make nat-matrix``, its table, and what theory says."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from chancel.cli.main import main
from chancel.sim.nat_matrix import ENDS, Cell, Met, cells, run, summarise
from chancel.sim.nat_page import page, tables
from chancel.sim.nat_picture import draw
from chancel.sim.places import NEIGHBOURS, PLACES, can_be_direct, can_connect


@pytest.mark.parametrize("left", PLACES)
def test_what_can_be_direct_is_and_the_rest_works_relayed(left: str) -> None:
    for cell in cells([1], ["ours"]):
        if cell.left == left:
            assert run(cell).problems == (), cell.command()


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours(name: str, ends: str) -> None:
    cell = Cell(name, name, ends, 3)
    assert run(cell).problems == (), cell.command()


@pytest.mark.parametrize("ends", [each for each in ENDS if each != "ours"])
@pytest.mark.parametrize("right", ["symmetric", "port-restricted", "carrier-grade", "no-udp"])
def test_other_ends(ends: str, right: str) -> None:
    cell = Cell("restricted", right, ends, 2)
    assert run(cell).problems == (), cell.command()


def test_theory_is_the_same_both_ways_and_knows_the_classics() -> None:
    for left in PLACES.values():
        for right in PLACES.values():
            assert can_be_direct(left, right) == can_be_direct(right, left)
            assert can_connect(left, right) or not can_be_direct(left, right)
    assert can_be_direct(PLACES["port-restricted"], PLACES["port-restricted"])
    assert can_be_direct(PLACES["symmetric"], PLACES["restricted"])
    assert not can_be_direct(PLACES["symmetric"], PLACES["port-restricted"])
    assert not can_be_direct(PLACES["symmetric"], PLACES["symmetric"])
    assert can_be_direct(PLACES["public"], PLACES["public"])
    for name, here in NEIGHBOURS.items():
        assert can_be_direct(here, here) == (name in ("one home", "one carrier"))


def test_the_page_and_the_picture() -> None:
    cell = Cell("public", "symmetric", "ours", 1)
    results = [
        Met(cell, 1.0, 2.0),
        Met(cell, 3.0, None),
        Met(Cell("public", "no-udp", "ours", 1), None, None),
        Met(Cell("symmetric", "symmetric", "ours", 1), 1.5, None),
        Met(Cell("one home", "one home", "ours", 1), 1.25, 1.5),
    ]
    found = summarise(results)
    text = page(found, range(3, 10))
    words = " ".join(text.split())
    assert "7 simulated meetings of each ordered pair of places (seeds 3 to 9)" in words
    assert "| left \\ right | symmetric | no-udp |" in text
    assert "| **public** | 2.0 → 2.0 s, 50% relayed | no path |" in text
    assert "1.5 s, relayed, no way" in text
    assert "| **one home** | 1.2 → 1.5 s |" in text
    assert text.endswith(tables(found))
    for name in (*PLACES, *NEIGHBOURS):
        assert f"| **{name}** | " in text, "a place that nobody explains"
    picture = ElementTree.fromstring(
        draw({(left, right): s for (left, right, _), s in found.items()})
    )
    kinds = [each.get("class") for each in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert [kinds.count(kind) for kind in ("direct", "relayed", "no-path")] == [3, 2, 2]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page_ = tmp_path / "nat.md"
    words = ["sim", "nat-matrix", "--seeds", "1", "--pair", "symmetric,restricted", "--jobs", "1"]
    assert main([*words, "--ends", "ours", "-o", str(page_)]) == 0
    assert "1 runs, 0 failed" in capsys.readouterr().out
    assert "| **symmetric** |" in page_.read_text()
    ElementTree.fromstring((tmp_path / "nat.svg").read_text())
    assert main([*words[:4], "--pair", "one home,one home", "--ends", "ours"]) == 0
    assert "| **one home** |" in capsys.readouterr().out
    for wrong in ("here,there", "one home,public", "one home,one office"):
        assert main(["sim", "nat-matrix", "--pair", wrong]) == 2
        assert "expected LEFT,RIGHT of public" in capsys.readouterr().err
    assert main([*words, "--ends", "theirs"]) == 2
