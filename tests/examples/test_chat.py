"""``examples/chat.py``: two people, two processes, and not more lines than were promised."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import pytest

from tests.examples.programs import EXAMPLES, Program

PROMISED_LINES = 40

_NO_CODE = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
)


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_two_people_talk(scheme: str, key: Path) -> None:
    with Program("chat.py", key, f"{scheme}://127.0.0.1:0", "--listen") as left:
        address = left.line().removeprefix("* waiting at ")
        with Program("chat.py", key, address) as right:
            assert (left.line(), right.line()) == ("* connected", "* connected")
            left.type("can you hear me?")
            assert right.line() == "> can you hear me?"
            right.type("yes, \x1b[2J and nobody else")
            assert left.line() == "> yes, [2J and nobody else"
            assert right.finish()[::2] == (0, "")
            assert left.finish()[::2] == (0, "")


def test_the_one_who_stays_is_told(key: Path) -> None:
    with Program("chat.py", key, "tcp://127.0.0.1:0", "--listen") as left:
        address = left.line().removeprefix("* waiting at ")
        with Program("chat.py", key, address) as right:
            assert (left.line(), right.line()) == ("* connected", "* connected")
            assert right.finish()[0] == 0
        assert left.line() == "* the peer closed the connection"
        assert left.finish()[0] == 0


def test_a_problem_is_one_line(key: Path) -> None:
    with Program("chat.py", key, "nonsense://here") as program:
        status, _, errors = program.finish()
    assert status == 1
    assert errors.startswith("chat: nonsense://here: unknown scheme")
    assert errors.count("\n") == 1


def test_it_is_as_short_as_promised() -> None:
    source = (EXAMPLES / "chat.py").read_text()
    body = source.split('"""', 2)[2]
    tokens = tokenize.generate_tokens(io.StringIO(body).readline)
    lines = {token.start[0] for token in tokens if token.type not in _NO_CODE}
    assert len(lines) <= PROMISED_LINES
