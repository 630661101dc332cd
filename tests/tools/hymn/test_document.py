"""An edit changes its own line; whatever else is in a file stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.config_lines import MAX_LINE_CHARS
from chancel.errors import ConfigError
from chancel.tools.hymn.document import Document
from tests.tools.hymn.pages import CATHEDRAL, NAMES, PLAIN, TAP

EDITED = (
    *("bridge", "tunnel", "shroud", "descr", "cathedral_remembrance", "cathedral_nat_port"),
    *("cathedral", "route", "accept"),
)
OTHERS = ("instance", "secret", "run", "peer", "tunnel6", "profile", "nave", "kek")

words = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), max_size=12)
values = words.map(lambda text: f"v{text.strip()}".replace("\t", "-"))
directive = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["", " ", "\t", " \t"]),
    st.sampled_from(EDITED + OTHERS),
    st.sampled_from([" ", "\t", "   "]),
    values,
    st.sampled_from(["", " ", "\r", "\t "]),
)
lines = st.one_of(directive, words.map("#{}".format), st.sampled_from(["", " ", "\t"]))
texts = st.lists(lines, max_size=20).map("\n".join)


def document(text: str) -> Document:
    return Document(text, "office.conf")


def is_part(part: list[str], whole: list[str]) -> bool:
    """Whether all lines are there, in order."""
    rest = iter(whole)
    return all(line in rest for line in part)


def others(page: Document, name: str) -> list[tuple[str, str]]:
    return [(each.name, each.value) for each in page.directives() if each.name != name]


@given(texts, st.sampled_from(EDITED))
def test_adding_leaves_every_line(text: str, name: str) -> None:
    page = document(text)
    before, found = others(page, name), page.values(name)
    page.add(name, "new")
    assert page.values(name) == ["new", *found]
    assert others(page, name) == before
    assert is_part(text.split("\n"), page.text.split("\n"))
    assert page.text.count("\n") - text.count("\n") in (1, 2, 3)  # with blank lines around it


@given(texts, st.sampled_from(EDITED))
def test_setting_leaves_every_other_line(text: str, name: str) -> None:
    page = document(text)
    before, found = others(page, name), page.values(name)
    if len(found) > 1:
        with pytest.raises(ConfigError, match=rf"{name}: stands {len(found)} times"):
            page.set(name, "new")
        assert page.text == text
        return
    page.set(name, "new")
    assert page.values(name) == ["new"]
    assert others(page, name) == before
    kept = [line for line in text.split("\n") if name not in line]
    assert is_part(kept, page.text.split("\n"))


@given(texts, st.sampled_from(EDITED))
def test_setting_what_stands_there_changes_nothing(text: str, name: str) -> None:
    page = document(text)
    found = page.values(name)
    if len(found) == 1:
        page.set(name, found[0])
        assert page.text == text


@given(texts, st.sampled_from(EDITED))
def test_removing_takes_only_those_lines(text: str, name: str) -> None:
    page = document(text)
    gone = {each.line - 1 for each in page.directives() if each.name == name}
    page.remove(name)
    kept = [line for at, line in enumerate(text.split("\n")) if at not in gone]
    assert page.text == "\n".join(kept)


@given(texts, st.sampled_from(EDITED))
def test_what_is_added_can_be_removed(text: str, name: str) -> None:
    page = document(text)
    page.add(name, "new")
    page.remove(name, lambda value: value == "new")
    assert others(page, name) == others(document(text), name)
    assert is_part(text.split("\n"), page.text.split("\n"))


@pytest.mark.parametrize("text", NAMES.values(), ids=NAMES)
def test_a_file_of_the_reference_is_what_it_was(text: str) -> None:
    assert document(text).text == text


@pytest.mark.parametrize(
    ("text", "name", "above"),
    [
        (PLAIN, "shroud", "tunnel 10.77.0.1/30 auto\n"),
        (PLAIN, "route", "peer 192.168.201.2:2333\n\n"),
        (PLAIN, "accept", "peer 192.168.201.2:2333\n\n"),
        (TAP, "descr", "secret /etc/hymn/k\n"),
        (CATHEDRAL, "cathedral_remembrance", "cathedral_cosk /etc/hymn/cosk\n"),
        (CATHEDRAL, "route", "peer 192.0.2.9:9\n\n"),
        (CATHEDRAL, "shroud", "tunnel 192.168.10.1/24 1422\n"),
    ],
)
def test_a_new_line_stands_where_the_reference_has_it(text: str, name: str, above: str) -> None:
    page = document(text)
    page.add(name, "new")
    assert page.text == text.replace(above, f"{above}{name} new\n")


def test_routes_stand_above_accepts() -> None:
    page = document(PLAIN)
    for name in ("accept", "route"):
        for value in "ab":
            page.add(name, value)
    assert "2333\n\nroute b\nroute a\naccept b\naccept a\n\nrun" in page.text


def test_a_file_by_hand_gets_blank_lines_around_a_new_group() -> None:
    page = document("instance a\npeer b\nrun c as d")
    page.add("route", "e")
    assert page.text == "instance a\npeer b\n\nroute e\n\nrun c as d"


def test_bytes_that_are_no_text_survive() -> None:
    text = b"# caf\xe9\ninstance a\nnave \xff\n".decode(errors="surrogateescape")
    page = document(text)
    page.set("descr", "b")
    assert page.text.encode(errors="surrogateescape") == (
        b"# caf\xe9\ninstance a\ndescr b\nnave \xff\n"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("instance\n", "office.conf:1: malformed line 'instance'"),
        ("a b\n#" + "x" * MAX_LINE_CHARS, "office.conf:2: too long"),
        ("a \0b\n", "office.conf:1: a NUL character"),
    ],
)
def test_what_has_no_lines_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        document(text)
