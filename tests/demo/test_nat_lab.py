"""Which pairs the lab plays, and how two programs are compared; ``tests/e2e/test_nat`` plays."""

from __future__ import annotations

import pytest
import typer

from chancel.demo.nat_lab import SUBSET, Became, Case, cases, slower
from chancel.demo.nat_lab_page import main, page
from chancel.demo.programs import CHANCEL, reference
from chancel.sim.places import NEIGHBOURS, PLACES

THEIRS = reference("/usr/sbin/sanctum")


def test_each_pair_once_and_neighbours_with_themselves() -> None:
    found = cases(["public", "symmetric", "one home"], [CHANCEL])
    assert [(each.left, each.right) for each in found] == [
        ("public", "public"),
        ("public", "symmetric"),
        ("symmetric", "symmetric"),
        ("one home", "one home"),
    ]
    assert set(SUBSET) <= set(PLACES)


def test_the_reference_is_not_asked_where_there_is_no_path() -> None:
    found = cases(["public", "no-udp"], [CHANCEL, THEIRS])
    assert {each.right for each in found if each.program is THEIRS} == {"public"}
    assert {each.right for each in found if each.program is CHANCEL} == {"public", "no-udp"}


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ((5.0, 6.0), (4.0, 20.0), []),
        ((5.0, None), (4.0, None), []),
        ((5.0, 5.0), (4.0, None), []),
        ((9.0, 9.0), (4.0, 20.0), ["a tunnel after 9.0 s, reference 4.0 s"]),
        ((5.0, None), (4.0, 20.0), ["a direct path after never, reference 20.0 s"]),
        ((5.0, 25.0), (4.0, 20.0), ["a direct path after 25.0 s, reference 20.0 s"]),
    ],
)
def test_who_is_slower(
    ours: tuple[float, float | None], theirs: tuple[float, float | None], told: list[str]
) -> None:
    results = [
        Became(Case("public", "symmetric", CHANCEL), *ours),
        Became(Case("public", "symmetric", THEIRS), *theirs),
    ]
    assert slower(results) == [f"public, symmetric: {each}" for each in told]


def test_the_page_has_both_side_by_side() -> None:
    names = ["public", "no-udp", *NEIGHBOURS]
    text = page(
        [
            Became(Case("public", "public", THEIRS), 4.0, 20.0),
            Became(Case("one home", "one home", CHANCEL), 1.0, None, ("it broke",)),
            Became(Case("public", "public", CHANCEL), 2.0, 1.5),
            Became(Case("public", "no-udp", CHANCEL), None, None),
        ],
        names,
    )
    assert "| places | chancel | reference |" in text
    assert "| public, public | 2.0 → 2.0 s | 4.0 → 20.0 s |" in text
    assert "| public, no-udp | no path |  |" in text
    assert "| one home | 1.0 s, relayed |  |" in text
    assert "chancel 50%, reference 0%" in text


def test_unknown_places_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match="no places: elsewhere"):
        main(["public", "elsewhere"])
