"""Every pair of NATs: a slice of ``make nat-matrix``, its table, and what theory says."""

from __future__ import annotations

from pathlib import Path

import pytest

from chancel.cli.main import main
from chancel.sim.nat_command import page
from chancel.sim.nat_matrix import ENDS, Cell, Met, cells, run, summarise
from chancel.sim.places import PLACES, Place, can_be_direct, can_connect


@pytest.mark.parametrize("left", PLACES)
def test_what_can_be_direct_is_and_the_rest_works_relayed(left: str) -> None:
    for cell in cells([1], ["ours"]):
        if cell.left == left:
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
    assert can_be_direct(Place(), Place())


def test_the_table() -> None:
    cell = Cell("public", "symmetric", "ours", 1)
    results = [
        Met(cell, 1.0, 2.0),
        Met(cell, 3.0, None),
        Met(Cell("public", "no-udp", "ours", 1), None, None),
        Met(Cell("symmetric", "symmetric", "ours", 1), 1.5, None),
    ]
    text = page(summarise(results))
    assert "| left \\ right | symmetric | no-udp |" in text
    assert "| **public** | 2.0 → 2.0 s, 50% relayed | no path |" in text
    assert "1.5 s, relayed, no way" in text


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page_ = tmp_path / "nat.md"
    words = ["sim", "nat-matrix", "--seeds", "1", "--pair", "symmetric,restricted", "--jobs", "1"]
    assert main([*words, "--ends", "ours", "-o", str(page_)]) == 0
    assert "1 runs, 0 failed" in capsys.readouterr().out
    assert "| **symmetric** |" in page_.read_text()
    assert main(["sim", "nat-matrix", "--pair", "here,there"]) == 2
    assert "expected LEFT,RIGHT of public" in capsys.readouterr().err
    assert main([*words, "--ends", "theirs"]) == 2
