"""Which pairs the lab plays, and how two programs are compared; ``tests/e2e/test_nat`` plays."""

from __future__ import annotations

import pytest

from chancel.cli.main import main
from chancel.demo.nat_lab import SUBSET, Became, Case, cases
from chancel.demo.nat_lab_compare import Table, Times, again
from chancel.demo.nat_lab_page import Conditions, page
from chancel.demo.play import MOST_A_WAY, goes_to
from chancel.demo.programs import CHANCEL, reference
from chancel.demo.talk import Count, Talk
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


PAIR = ("public", "symmetric")


def table(
    ours: list[tuple[float | None, float | None]], theirs: list[tuple[float | None, float | None]]
) -> Table:
    """Runs of one pair, each until a tunnel and until a direct path."""
    results = [Became(Case(*PAIR, CHANCEL), *each) for each in ours]
    return Table(results + [Became(Case(*PAIR, THEIRS), *each) for each in theirs])


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ((5.0, 6.0), (4.0, 20.0), []),
        ((5.0, None), (4.0, None), []),
        ((5.0, 5.0), (4.0, None), []),
        ((9.0, 9.0), (4.0, 20.0), ["a tunnel after 9.0 s, reference after 4.0 s"]),
        ((5.0, None), (4.0, 20.0), ["a direct path never, reference after 20.0 s"]),
        ((5.0, 25.0), (4.0, 20.0), ["a direct path after 25.0 s, reference after 20.0 s"]),
    ],
)
def test_who_is_slower_by_one_run(
    ours: tuple[float, float | None], theirs: tuple[float, float | None], told: list[str]
) -> None:
    assert table([ours], [theirs]).slower() == [f"public, symmetric: {each}" for each in told]


@pytest.mark.parametrize(
    ("ours", "theirs", "slower"),
    [
        ([9.0, 4.0, 4.1], [5.0, 5.1, 5.2], False),  # one run of ours met a pause
        ([6.0, 6.1, 6.2], [5.0, 5.1, 5.2], True),
        ([6.0, 6.1, 6.2], [5.0, 5.1, 8.2], False),  # the reference's differ by more than that
        ([6.0, None, None], [5.0, 5.1, 5.2], True),
        ([6.0, None, None], [5.0, None, None], False),
    ],
)
def test_who_is_slower_by_several_runs(
    ours: list[float | None], theirs: list[float | None], slower: bool
) -> None:
    found = table([(each, None) for each in ours], [(each, None) for each in theirs])
    assert bool(found.slower()) is slower


def test_what_is_in_doubt_is_played_again_in_turns() -> None:
    assert table([(5.0, 5.0)], [(5.1, 20.0)]).doubtful() == []
    assert table([(5.0, None)], [(5.1, None)]).doubtful() == []
    assert table([(5.2, 5.2)], [(5.1, 20.0)]).doubtful() == [PAIR]
    assert table([(5.0, None)], [(5.1, 20.0)]).doubtful() == [PAIR]
    assert table([(5.2, None)], []).doubtful() == []
    assert [each.program for each in again([PAIR], [CHANCEL, THEIRS], 3)] == [CHANCEL, THEIRS] * 2


def test_a_run_that_broke_off_is_none() -> None:
    broken = Became(Case(*PAIR, CHANCEL), None, None, ("the machine is full",))
    assert Table([broken]).figures(PAIR, CHANCEL) is None
    figures = Table([broken, Became(Case(*PAIR, CHANCEL), 5.0, 4.0)]).figures(PAIR, CHANCEL)
    assert figures is not None
    assert figures.up == Times(5.0, 2.0, 1)
    assert figures.direct.median_s == 5.0, "not before the tunnel works"


@pytest.mark.parametrize(
    ("came", "went", "direct"),
    [
        (MOST_A_WAY, MOST_A_WAY, True),
        (MOST_A_WAY - 1, 2 * MOST_A_WAY, False),
        (0, 10 * MOST_A_WAY, False),  # in vain, however long the interval was
    ],
)
def test_what_is_sent_in_vain_is_not_direct(came: int, went: int, direct: bool) -> None:
    last: Talk = {
        "at": 1.0,
        "remotes": {
            "203.0.113.12": Count(
                packets_in=came, bytes_in=100 * came, packets_out=went, bytes_out=100 * went
            )
        },
    }
    assert goes_to("203.0.113.12", [{"at": 0.9, "remotes": {}}, last]) is direct


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
        Conditions(6, 5, 0.25),
    )
    words = " ".join(text.split())
    assert "whose load was 0.2 before." in words
    assert "If ours was later than the reference in anything, each plays it 5 times" in words
    assert "**Ours is slower in none.**" in words
    assert max(map(len, text.splitlines())) <= 100
    assert "\n\n\n" not in text
    assert "| places | chancel | reference |" in text
    assert "| public, public | 2.0 → 2.0 s | 4.0 → 20.0 s |" in text
    assert "| public, no-udp | no path |  |" in text
    assert "| one home | 1.0 s, relayed |  |" in text
    assert "chancel 50%, reference 0%" in text


def test_several_runs_are_told_with_their_spread() -> None:
    results = [Became(Case(*PAIR, CHANCEL), each, None) for each in (5.0, 5.5, 6.5)]
    text = page(results, [*PAIR], Conditions(6, 3, 0.0))
    assert "| public, symmetric | 5.5 s, relayed (± 0.8 s, 3 runs) |" in text
    assert "The reference was not there" in " ".join(text.split())


def test_unknown_places_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "nat-matrix", "public", "elsewhere"]) == 2
    assert "no places: elsewhere" in capsys.readouterr().err


def test_a_reference_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SANCTUM", "/nowhere/sanctum")
    assert main(["lab", "nat-matrix", "no-udp"]) == 1
    assert "SANCTUM=/nowhere/sanctum is no program that can be run" in capsys.readouterr().err
