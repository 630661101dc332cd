"""Which cathedral comes after which."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chancel.protocol.choice import MAX_CONFIGURED, MAX_HEARD, Choice
from chancel.wire.remembrance import SLOTS
from chancel.wire.types import Address

A, B, C, D, E = (Address(f"192.0.2.{number}", 4500) for number in range(1, 6))

addresses = st.builds(
    Address,
    st.ip_addresses(v=4).map(str),
    st.integers(1, 65535),
)


def order(choice: Choice, count: int) -> list[Address | None]:
    """The next ``count`` that are chosen when each fails."""
    found = []
    for _ in range(count):
        following = choice.next()
        found.append(following)
        if following is not None:
            choice.choose(following)
    return found


def chosen(current: Address, *configured: Address) -> Choice:
    choice = Choice()
    choice.configure(configured)
    choice.choose(current)
    return choice


def test_nothing_is_known() -> None:
    choice = Choice()
    assert choice.next() is None
    assert repr(choice) == "<Choice none of 0>"


def test_one_has_no_other() -> None:
    choice = chosen(A, A)
    assert choice.next() is None
    assert repr(choice) == "<Choice 192.0.2.1:4500 of 1>"


def test_the_configuration_goes_round() -> None:
    assert order(chosen(A, A, B, C), 4) == [B, C, A, B]


def test_first_those_that_were_told_of_then_the_configuration() -> None:
    choice = chosen(D, D, E)
    choice.told_untrusted([D, A, B])
    assert order(choice, 5) == [A, B, E, D, A]


def test_each_message_begins_with_its_sender() -> None:
    choice = chosen(A, A)
    choice.told_untrusted([A, B, C])
    assert order(choice, 1) == [B]
    choice.told_untrusted([B, C, A])
    assert order(choice, 3) == [C, A, B]


def test_a_sender_that_calls_itself_otherwise_is_not_tried_again_under_that_name() -> None:
    choice = chosen(A, A)
    choice.told_untrusted([D, B])
    assert order(choice, 1) == [B]
    choice = chosen(A, A)
    choice.told_untrusted([D])
    assert choice.next() is None


def test_a_shorter_message_leaves_the_slots_after_it() -> None:
    choice = chosen(A, A)
    choice.told_untrusted([A, B, C])
    choice.told_untrusted([A, D])
    assert order(choice, 3) == [D, C, A]


def test_the_configuration_is_tried_before_what_earlier_messages_left() -> None:
    choice = chosen(E, E)
    choice.told_untrusted([A, B, C])
    choice.told_untrusted([D])
    assert order(choice, 4) == [B, C, D, E]
    choice = chosen(D, E)
    choice.told_untrusted([A, B, C])
    choice.told_untrusted([D])
    assert order(choice, 4) == [E, B, C, D]


def test_what_a_file_remembers_begins_with_its_first() -> None:
    choice = chosen(D, D)
    choice.recall([A, B])
    assert order(choice, 4) == [A, B, D, A]


def test_a_file_alone() -> None:
    choice = Choice()
    choice.recall([A, B])
    assert order(choice, 2) == [A, B]


def test_an_empty_message_says_nothing() -> None:
    choice = chosen(A, A)
    choice.told_untrusted([A, B])
    assert choice.told_untrusted([]) == ()
    assert choice.next() == B


def test_no_address_of_many_machines_is_taken() -> None:
    choice = chosen(A, A)
    odd = [Address(host, 1) for host in ("224.0.0.1", "255.255.255.255", "240.0.0.1", "0.0.0.0")]
    assert choice.told_untrusted(odd) == ()
    assert choice.told_untrusted([*odd, B]) == (B,)
    assert choice.next() == B


def test_a_name_that_resolves_anew() -> None:
    choice = Choice()
    assert choice.configure([A, B]) == (A, B)
    choice.choose(A)
    assert choice.configure([A, B]) == ()
    assert choice.configure([B, C]) == (C,)
    assert choice.configured == (B, C)
    assert choice.configure([B, A]) == ()
    choice.told_untrusted([A, D])
    assert choice.configure([D]) == ()


def test_a_current_one_that_no_longer_resolves_is_not_chosen_again() -> None:
    choice = chosen(A, A)
    choice.configure([B, C])
    assert order(choice, 3) == [B, C, B]


def test_after_three_that_were_only_told_of_it_is_the_turn_of_a_trusted_one() -> None:
    lies = [Address(f"198.51.100.{number}", 1) for number in range(1, 9)]
    choice = chosen(A, A, B)
    choice.told_untrusted(lies)
    assert order(choice, 8) == [*lies[1:4], B, *lies[4:7], A]


def test_one_that_was_heard_is_trusted_whoever_told_of_it() -> None:
    lies = [Address(f"198.51.100.{number}", 1) for number in range(1, 9)]
    choice = chosen(A, A)
    assert not choice.heard()
    choice.told_untrusted([A, B])
    choice.choose(B)
    assert not choice.trusts(B)
    assert choice.heard()
    assert not choice.heard()
    assert choice.trusts(B)
    choice.told_untrusted(lies)
    assert order(choice, 4) == [*lies[1:4], A]
    assert order(choice, 4) == [*lies[4:7], B]


def test_all_are_gone_round_that_answer_in_vain() -> None:
    """Each names itself first and the others in one order, which leads to and fro."""
    choice = chosen(A, A, B, C)
    visited = []
    for _ in range(7):
        assert choice.current is not None
        others = [each for each in (A, B, C) if each != choice.current]
        choice.told_untrusted([choice.current, *others])
        following = choice.elsewhere()
        assert following is not None
        choice.choose(following)
        visited.append(following)
    assert visited == [B, C, A, B, C, A, B]
    assert chosen(A, A).elsewhere() is None


def test_so_many_that_were_heard_are_remembered() -> None:
    many = [Address(f"10.0.0.{number}", 1) for number in range(1, MAX_HEARD + 2)]
    choice = chosen(A)
    for each in many:
        choice.choose(each)
        choice.heard()
    assert [choice.trusts(each) for each in many] == [False] + [True] * MAX_HEARD


def test_tables_are_bounded() -> None:
    many = [Address(f"10.0.{number // 250}.{number % 250 + 1}", 1) for number in range(500)]
    choice = chosen(A)
    assert len(choice.configure(many)) == MAX_CONFIGURED
    choice.recall(many)
    choice.told_untrusted(many[::-1])
    assert repr(choice) == f"<Choice {A} of {MAX_CONFIGURED + SLOTS}>"


@given(st.lists(addresses), st.lists(addresses), st.lists(addresses), st.integers(1, 70))
def test_the_next_is_always_another(
    configured: list[Address], file: list[Address], told: list[Address], steps: int
) -> None:
    choice = Choice()
    choice.configure(configured)
    choice.recall(file)
    for step in range(steps):
        before, following = choice.current, choice.next()
        assert following is None or following != before
        if following is not None:
            choice.choose(following)
        if step == steps // 2:
            choice.told_untrusted(told)
