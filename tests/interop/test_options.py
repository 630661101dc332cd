"""Directives that change what is on the wire, or who speaks first."""

from __future__ import annotations

from pathlib import Path

import pytest

from chancel.demo.programs import CHANCEL, Program
from tests.interop.ends import Pair

PINGS = 20

sides = pytest.mark.parametrize("side", ["left", "right"])

FLOCKS = (
    "cathedral_flock 0xbadf00d000000101\ncathedral_flock_dst 0xbadf00d000000202\n",
    "cathedral_flock 0xbadf00d000000202\ncathedral_flock_dst 0xbadf00d000000101\n",
)
"""The peers' flocks, each the other's destination; they work without a cathedral."""

STRANGERS = FLOCKS[0], FLOCKS[1].replace("0101", "0103")
"""The right one means another domain: no key can come out the same."""


def order(side: str, reference: Program) -> tuple[Program, Program]:
    """The programs, left and right, with the reference on this side."""
    return (reference, CHANCEL) if side == "left" else (CHANCEL, reference)


def check_both_ways(pair: Pair) -> None:
    pair.wait_up()
    for end in pair.ends:
        answer = end.ping(pair.other(end), PINGS, 0.01)
        assert (answer["received"], answer["duplicates"]) == (PINGS, 0), pair.logs()


@pytest.mark.parametrize("auto", ["left", "right"])
def test_either_end_may_learn_the_address(reference: Program, tmp_path: Path, auto: str) -> None:
    with Pair(tmp_path, reference, CHANCEL, auto=auto) as pair:
        check_both_ways(pair)
        assert pair.ours.status()["path"] == ("learned" if auto == "right" else "configured")


@sides
def test_spi_prefixes_and_flocks(reference: Program, tmp_path: Path, side: str) -> None:
    """Each end's SPIs, which it draws for what it receives, begin with its own prefix."""
    spis = "spi 0102\n", "spi 0x0201\n"
    directives = [spi + flocks for spi, flocks in zip(spis, FLOCKS, strict=True)]
    with Pair(tmp_path, *order(side, reference), directives=directives) as pair:
        check_both_ways(pair)
        status = pair.ours.status()
    prefixes = [status[direction]["spi"][:4] for direction in ("rx", "tx")]
    assert prefixes == (["0201", "0102"] if side == "left" else ["0102", "0201"])


def test_another_domain_stays_apart(reference: Program, tmp_path: Path) -> None:
    with Pair(tmp_path, reference, CHANCEL, directives=STRANGERS) as pair:
        answer = pair.left.ping(pair.right, 20, 0.25)
        assert answer["received"] == 0
        status = pair.ours.status()
    assert status["drops"]["offer-bad-tag"] > 0
    assert status["tx"]["spi"] is None
