"""The settings file: what is read, what is a problem, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.protocol.cathedral.settings import MAX_FEDERATION, Allow, pair
from chancel.protocol.cathedral.settings_text import BundleFile, Draft, parse
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, FlockId

A, B = FlockId(0xCAFEBA00), FlockId(0xDECAF000)
GOOD = """
# a comment
federate 192.0.2.2 1337
federate 192.0.2.3 1338

flock cafeba07 {
\tallow badf00d spi ca 25
    allow 0xfe spi 0xFE 0
    ambry /var/lib/bundles/one of them
}
flock 0xdecaf000 {
    allow 1 spi 1 8
}
xflock cafeba00 decaf000 /var/lib/bundles/both
"""


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse(text, "settings").problems]


def test_a_whole_file() -> None:
    draft = parse(GOOD, "settings")
    assert draft.problems == ()
    one, other = draft.flocks
    assert (one.id, other.id) == (A, B), "domain bits are cleared"
    assert one.allows == [
        Allow(CathedralId(0xBADF00D), 0xCA, 25),
        Allow(CathedralId(0xFE), 0xFE, 0),
    ]
    assert one.bundle == BundleFile("/var/lib/bundles/one of them", (A, A), 9)
    assert other.bundle is None
    assert draft.xflocks == {pair(A, B): BundleFile("/var/lib/bundles/both", (A, B), 14)}
    assert draft.federation == (Address("192.0.2.3", 1338), Address("192.0.2.2", 1337)), (
        "in the reverse order, as the reference tells of them"
    )


def test_bundles_are_loaded_by_whoever_builds_the_settings() -> None:
    asked = []

    def load(file: BundleFile) -> None:
        asked.append(file.path)

    settings = parse(GOOD, "settings").settings(load)
    assert asked == ["/var/lib/bundles/one of them", "/var/lib/bundles/both"]
    assert settings.flocks[B].allows == (Allow(CathedralId(1), 1, 8),)
    assert settings.xflocks == {(A, B): None}


@pytest.mark.parametrize("blank", [" ", "\t", "\r", "  \t\r"])
def test_blanks_at_the_end_mean_nothing(blank: str) -> None:
    assert parse("\n".join(line + blank for line in GOOD.split("\n")), "settings") == parse(
        GOOD, "settings"
    )


def test_its_own_address_is_left_out() -> None:
    draft = parse(GOOD, "settings", Address("192.0.2.2", 1337))
    assert draft.federation == (Address("192.0.2.3", 1338),)


NESTED = """flock cafeba00 {
    allow 1 spi 1 8
    flock decaf000 {
        allow 2 spi 2 8
        ambry /x
    }
    allow 3 spi 3 8
}"""


def test_a_flock_within_a_flock_gives_the_outer_one_nothing() -> None:
    draft = parse(NESTED, "settings")
    [outer] = draft.flocks
    assert [allow.identity for allow in outer.allows] == [1, 3]
    assert outer.bundle is None
    assert [str(problem) for problem in draft.problems] == [
        "settings:3: flock: stands within the flock in line 1, so its block is ignored"
        " (expected } before)"
    ]


def test_a_second_block_is_ignored_as_a_whole() -> None:
    draft = parse("flock a00 {\nallow 1 spi 1 8\n}\nflock a07 {\nallow 2 spi 2 8\n}\n", "settings")
    [one] = draft.flocks
    assert [allow.identity for allow in one.allows] == [1]
    assert len(draft.problems) == 1
    assert draft.problems[0].line == 4


INSIDE = "flock a00 {\n%s\n}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense x", "unknown keyword 'nonsense'"),
        ("}", "closes nothing"),
        ("flock a00 {", "never closed"),
        ("flock", "malformed ''"),
        ("flock zz {", "'zz' is no hexadecimal number"),
        ("flock 10000000000000000 {", "no hexadecimal number"),
        ("flock ff {", "all domain"),
        ("flock a00 [", "malformed"),
        ("allow 1 spi 1 8", "expected inside the block"),
        ("ambry /x", "expected inside the block"),
        (INSIDE % "federate 1.2.3.4 5", "expected outside the block"),
        (INSIDE % "xflock a00 b00 /x", "expected outside the block"),
        (INSIDE % "allow 1 spi 1", "malformed"),
        (INSIDE % "allow 1 SPI 1 8", "malformed"),
        (INSIDE % "allow 0 spi 1 8", "identity or device of 0"),
        (INSIDE % "allow 1 spi 0 8", "identity or device of 0"),
        (INSIDE % "allow 1 spi 100 8", "of 8 bits"),
        (INSIDE % "allow 100000000 spi 1 8", "of 32 bits"),
        (INSIDE % "allow 1 spi 1 -8", "out of range"),
        (INSIDE % "allow 1 spi 1 0x8", "out of range"),
        (INSIDE % "allow 1 spi 1 1000001", "out of range"),
        (INSIDE % "allow 1 spi 1 8\nallow 01 spi 01 9", "once more"),
        (INSIDE % "ambry", "no file given"),
        (INSIDE % "ambry /x\nambry /y", "a second bundle"),
        ("federate 192.0.2.1", "malformed"),
        ("federate 192.0.2.256 1", "no IPv4 address"),
        ("federate ::1 1", "no IPv4 address"),
        ("federate 0.0.0.0 1", "nothing can be sent"),
        ("federate 192.0.2.1 0", "out of range"),
        ("federate 192.0.2.1 65536", "out of range"),
        ("federate 192.0.2.1 1\nfederate 192.0.2.1 1", "once more"),
        ("xflock a00 b00 /x", "not defined above"),
        ("flock a00 {\n}\nxflock a00 a00 /x", "with itself"),
        ("flock a00 {\n}\nxflock a07 a00 /x", "has a domain"),
        ("flock a00 {\n}\nflock b00 {\n}\nxflock a00 b00", "malformed"),
        ("flock a00 {\n}\nflock b00 {\n}\nxflock a00 b00 /x\nxflock b00 a00 /y", "once more"),
        ("flock a00 {\nambry /" + "x" * 255 + "\n}", "a line of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    [problem] = parse(text, "settings").problems
    assert said in str(problem)
    assert "(expected" in str(problem)
    assert str(problem).isprintable()
    where = text.split("\n")[(problem.line or 0) - 1]
    assert problem.directive is None or problem.directive in where


def test_the_rest_of_a_file_with_problems_is_read() -> None:
    draft = parse("nonsense\n" + GOOD + "federate x y\n", "settings")
    assert len(draft.problems) == 2
    assert [flock.id for flock in draft.flocks] == [A, B]


def test_a_comment_may_be_long() -> None:
    assert problems("# " + "x" * 1000) == []


def test_as_many_cathedrals_as_a_remembrance_tells_of() -> None:
    lines = [f"federate 192.0.2.{number} 1" for number in range(1, MAX_FEDERATION + 2)]
    draft = parse("\n".join(lines), "settings")
    assert len(draft.federation) == MAX_FEDERATION
    assert "at most 31 others" in str(draft.problems[0])
    assert parse("\n".join(lines), "settings", Address("192.0.2.7", 1)).problems == ()


WORDS = st.sampled_from(
    ["flock", "allow", "ambry", "xflock", "federate", "spi", "{", "}", "a00", "b00", "1", "8", "#",
     "192.0.2.1", "/x", "\n", "\n", " ", "\t", "\0", "é", "\udcff"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=60).map(" ".join))
def test_no_text_makes_it_raise(text: str) -> None:
    draft = parse(text, "settings")
    assert isinstance(draft, Draft)
    settings = draft.settings(lambda file: None)
    for flock in settings.flocks.values():
        assert len({allow[:2] for allow in flock.allows}) == len(flock.allows)
    for one, other in settings.xflocks:
        assert one < other
        assert one in settings.flocks
        assert other in settings.flocks
