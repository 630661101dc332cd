"""Messages cut into lines and put together again, whatever the lines go through."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LocalProtocolError
from chancel.links import text_lines
from chancel.links.text_lines import MAX_PARTS, Reassembly, Unused, part_bytes, split

OURS, THEIRS, STRANGER = b"ours", b"them", b"evil"
TAG = "chancel"


def lines_of(message: bytes, number: int = 1, sender: bytes = THEIRS, room: int = 100) -> list[str]:
    return split(message, tag=TAG, sender=sender, number=number, max_line=room)


def reassembly(max_message: int = 4096) -> Reassembly:
    return Reassembly(TAG, OURS, max_message)


def feed(taken: Reassembly, lines: list[str], now: float = 0.0) -> list[bytes]:
    messages = (taken.receive_untrusted(line, now) for line in lines)
    return [message for message in messages if message is not None]


@given(st.binary(max_size=3000), st.integers(80, 500), st.randoms())
def test_messages_come_back_whatever_the_order(
    message: bytes, room: int, shuffled: random.Random
) -> None:
    lines = lines_of(message, room=room)
    assert all(len(line) <= room for line in lines)
    assert len(lines) == max(1, -(-len(message) // part_bytes(TAG, room)))
    shuffled.shuffle(lines)
    assert feed(reassembly(), lines) == [message]


def test_characters_are_those_that_any_chat_leaves_alone() -> None:
    for line in lines_of(bytes(range(256)) * 4):
        assert re.fullmatch(r"chancel:[A-Za-z0-9+/]+", line)


def test_the_layout_of_a_line() -> None:
    """As the module's head has it; 0x352441c2 is the CRC-32 of "abc"."""
    (line,) = split(b"abc", tag="t", sender=b"\1\2\3\4", number=0x0506, max_line=80)
    whole = base64.b64decode(line.removeprefix("t:") + "=" * (-(len(line) - 2) % 4))
    assert whole[:12] == bytes.fromhex("01020304 0506 00 01 352441c2")
    assert whole[14:] == b"abc"


def test_an_offer_takes_two_lines_of_irc() -> None:
    assert len(lines_of(bytes(623), room=443)) == 2


def test_a_message_takes_no_more_lines_than_allowed() -> None:
    room = part_bytes(TAG, 80)
    assert len(lines_of(bytes(room * MAX_PARTS), room=80)) == MAX_PARTS
    with pytest.raises(LocalProtocolError, match="send less at once"):
        lines_of(bytes(room * MAX_PARTS + 1), room=80)
    with pytest.raises(LocalProtocolError, match="send less at once"):
        lines_of(b"", room=10)


def test_lines_of_other_people_are_ignored() -> None:
    taken = reassembly()
    others = ["hello", "", "chancel", "Chancel:AAAA", "chancel2:AAAA", "\N{SNOWMAN}", ":" * 400]
    assert feed(taken, others) == []
    assert taken.unused == {Unused.NOT_OURS: len(others)}
    assert len(taken) == 0


def test_another_pair_in_the_same_room_has_another_tag() -> None:
    taken = reassembly()
    assert feed(taken, split(b"x", tag="other", sender=THEIRS, number=1, max_line=80)) == []
    assert taken.unused == {Unused.NOT_OURS: 1}


def test_a_tag_is_part_of_what_is_checked() -> None:
    (line,) = split(b"x", tag="other", sender=THEIRS, number=1, max_line=80)
    taken = reassembly()
    assert feed(taken, [line.replace("other:", "chancel:")]) == []
    assert taken.unused == {Unused.DAMAGED: 1}


def test_our_own_lines_are_known_when_they_come_back() -> None:
    taken = reassembly()
    assert feed(taken, lines_of(b"x", sender=OURS)) == []
    assert taken.unused == {Unused.ECHO: 1}


def test_lines_may_come_twice_and_count_once() -> None:
    taken = reassembly()
    lines = lines_of(bytes(300))
    assert feed(taken, [line for line in lines for _ in range(2)] + lines) == [bytes(300)]
    assert taken.unused == {Unused.REPEATED: 2 * len(lines)}


def test_equal_messages_with_their_own_numbers_both_arrive() -> None:
    assert feed(reassembly(), lines_of(b"x", 1) + lines_of(b"x", 2)) == [b"x", b"x"]


@given(st.data())
def test_a_damaged_line_is_no_line(data: st.DataObject) -> None:
    lines = lines_of(bytes(range(200)))
    at = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[at]) - 1))
    other = data.draw(st.characters())
    damaged = lines[at][:place] + other + lines[at][place + 1 :]
    taken = reassembly()
    arrived = feed(taken, [*lines[:at], damaged, *lines[at + 1 :]])
    assert arrived == ([bytes(range(200))] if damaged == lines[at] else [])


@given(st.text(), st.binary())
def test_nothing_makes_it_raise(text: str, raw: bytes) -> None:
    taken = reassembly()
    taken.receive_untrusted(text, 0.0)
    taken.receive_untrusted(f"{TAG}:{text}", 0.0)
    taken.receive_untrusted(f"{TAG}:{base64.b64encode(raw).decode().rstrip('=')}", 0.0)
    assert sum(taken.unused.values()) == 3


def test_base64_has_one_way_to_say_it() -> None:
    (line,) = lines_of(b"ab")
    assert len(line.removeprefix("chancel:")) % 4 == 2
    for other in (
        line + "==",
        line + "\n",
        " " + line,
        line[:-1] + "B",
        line[:-2] + "-" + line[-1],
    ):
        assert feed(reassembly(), [other]) == []
    assert feed(reassembly(), [line]) == [b"ab"]


def _forged(line: str, change: Callable[[bytearray], None]) -> str:
    """A line as somebody writes it who knows the format."""
    body = line.removeprefix("chancel:")
    whole = bytearray(base64.b64decode(body + "=" * (-len(body) % 4)))
    change(whole)
    head, part = bytes(whole[:12]), bytes(whole[14:])
    check = text_lines._check(TAG, head, part)
    return f"{TAG}:{base64.b64encode(head + check + part).decode().rstrip('=')}"


def test_a_forged_part_loses_the_message_and_alters_none() -> None:
    def change(whole: bytearray) -> None:
        whole[-1] ^= 1

    taken = reassembly()
    lines = lines_of(bytes(300))
    assert feed(taken, [_forged(lines[2], change), *lines]) == []
    assert taken.unused[Unused.MIXED] == 1
    assert feed(taken, lines) == [bytes(300)]  # as when it comes again


def test_a_forged_message_does_not_take_the_place_of_one_to_come() -> None:
    taken = reassembly()
    assert feed(taken, lines_of(b"forged", 2)) == [b"forged"]
    assert feed(taken, lines_of(b"honest", 2)) == [b"honest"]


@pytest.mark.parametrize("place", [6, 7])
def test_impossible_indices_and_counts_are_damage(place: int) -> None:
    def change(whole: bytearray) -> None:
        whole[place] = {6: 1, 7: MAX_PARTS + 1}[place]

    taken = reassembly()
    (line,) = lines_of(b"x")
    assert feed(taken, [_forged(line, change)]) == []
    assert taken.unused == {Unused.DAMAGED: 1}


def test_a_message_that_is_larger_than_we_take_is_given_up() -> None:
    taken = reassembly(max_message=100)
    assert feed(taken, lines_of(bytes(101))) == []
    assert taken.unused[Unused.TOO_LARGE] == 1
    assert feed(taken, lines_of(bytes(100), 2)) == [bytes(100)]


def test_what_never_completes_is_forgotten_in_time() -> None:
    taken = reassembly()
    lines = lines_of(bytes(300))
    assert feed(taken, lines[1:], now=0.0) == []
    assert feed(taken, ["hello"], now=text_lines.PARTIAL_S) == []
    assert len(taken) == 0
    assert taken.unused[Unused.INCOMPLETE] == 1
    assert feed(taken, lines[:1], now=text_lines.PARTIAL_S) == []


def test_strangers_cannot_make_memory_grow() -> None:
    taken = reassembly()
    for number in range(10_000):
        taken.receive_untrusted(lines_of(bytes(300), number, sender=STRANGER)[0], 0.0)
        taken.receive_untrusted(lines_of(b"whole", number, sender=STRANGER)[0], 0.0)
    assert len(taken) == text_lines.MAX_PARTIAL
    assert len(taken._finished) == text_lines.MAX_FINISHED
    assert taken.unused[Unused.INCOMPLETE] == 10_000 - text_lines.MAX_PARTIAL
    assert feed(taken, lines_of(bytes(300))) == [bytes(300)]
