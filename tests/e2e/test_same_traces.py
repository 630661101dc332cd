"""Daemons in the lab and tunnels of the library in the simulator go through the same stories.

A story happens to a tunnel between two hosts, with all processes and in real time, and its trace is
taken at both ends. When each thing happened *to* it (an end began, died, the cable was cut) is read
off that trace, and the simulator plays just that to two ``Tunnel`` objects, with the same delay of
the network. What follows has to be the same: the events of the protocol at each end, all of them,
in order, with reasons and outcomes, and whose key it is each time. Two stories have a tunnel of the
library in the lab as well, opposite a daemon.

The order is a partial one. How the two ends' events interleave hangs on milliseconds; so does which
direction of an exchange an end of several processes sees working first (``directions_apart``). The
address of the peer is compared on its own, because a group tells it up to a quarter of a second
late. That no other order hangs on milliseconds is a test, too.

What a daemon and a ``Tunnel`` do is the same, so no difference is excused. In what other ends of
the protocol would differ in these stories is in :data:`APART`.

The stories play at once, each on a network of its own, so that all take as long as the longest: a
silence of more than 30 s. That a peer is given up after 120 s is left to the simulator alone
(``tests/sim/test_tunnels.py``).
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chancel.lab.lab import Lab
from chancel.protocol.behaviour import CHANCEL, LIBRARY, REFERENCE, Behaviour
from tests.e2e.protocol_steps import Line, Steps, addresses, directions_apart, steps_of
from tests.e2e.simulated import LINK, STORIES, Act, Story, play
from tests.e2e.stage import STEP_LIMIT_S, Stage

APART: dict[tuple[str, str], set[str]] = {
    # An answer that waits for the next transmission comes when the answered key is in use already.
    ("REFERENCE", "both begin"): {"answer_at_once"},
    ("REFERENCE", "right begins late"): {"answer_at_once"},
    ("REFERENCE", "right is of the library"): {"answer_at_once"},
    ("REFERENCE", "left is killed and comes back"): {"answer_at_once"},
    ("REFERENCE", "the network is silent, and is back"): {"answer_at_once"},
    ("LIBRARY", "both begin"): {"answer_at_once"},
    ("LIBRARY", "right begins late"): {"answer_at_once"},
    ("LIBRARY", "right is of the library"): {"answer_at_once"},
    # With steps by the clock alone that is so even for the one who is called.
    ("LIBRARY", "right waits to be called"): {"answer_at_once", "step_when_woken"},
    ("LIBRARY", "left calls before right waits"): {"answer_at_once", "step_when_woken"},
    ("LIBRARY", "left is killed and comes back"): {"answer_at_once", "step_when_woken"},
    # Silence means nothing to it: no exchange begins.
    ("LIBRARY", "the network is silent, and is back"): {"answer_at_once", "watch_peer"},
}
"""The values of other behaviours that alone make the trace of a story another one: all of them, and
in the stories that aren't here none."""

BEHAVIOURS = {"REFERENCE": REFERENCE, "LIBRARY": LIBRARY}


@dataclasses.dataclass(frozen=True)
class Played:
    """A story as it happened in the lab, and what it looked like."""

    story: Story
    lines: dict[str, list[Line]]


@pytest.fixture(scope="module")
def played(lab: Lab, folder: Path) -> Iterator[dict[str, Played]]:
    secret, other = secrets.token_bytes(32), secrets.token_bytes(32)
    stage, killing = (Stage(lab, folder, secret, other, name) for name in ("", "2"))
    with ThreadPoolExecutor(len(STORIES)) as threads:
        futures = {
            name: threads.submit(_play, killing if _kills(story) else stage, story)
            for name, story in STORIES.items()
        }
        happened = {name: future.result() for name, future in futures.items()}
    # Taken after the last one has ended, so that nobody has gone on unnoticed.
    yield {
        name: Played(story, (killing if _kills(story) else stage).lines(story))
        for name, story in happened.items()
    }
    assert stage.close() + killing.close() == [0, 0, 0, 0]


def _kills(story: Story) -> bool:
    return any(act is Act.KILL_LEFT for _, act in story.acts)


def _play(stage: Stage, story: Story) -> Story:
    """Play a story and wait until it has as many steps as it should; if it never has, the
    comparison will tell which are missing."""
    expected = steps_of(play(story))
    happened = stage.play(story)

    def is_over() -> bool:
        steps = steps_of(stage.lines(story))
        return all(len(steps[end]) >= len(expected[end]) for end in expected)

    deadline = time.monotonic() + STEP_LIMIT_S
    while not is_over() and time.monotonic() < deadline:
        time.sleep(0.02)
    return happened


@pytest.mark.timeout(300)  # whoever comes first waits until all stories are over
@pytest.mark.parametrize("name", STORIES)
def test_a_daemon_does_what_a_simulated_tunnel_does(played: dict[str, Played], name: str) -> None:
    story, lines = played[name].story, played[name].lines
    simulated = play(story)
    lab, simulation = compared(name, lines), compared(name, simulated)
    for end in lab:
        assert directions_apart(lab[end]) == directions_apart(simulation[end])
    for side, end in enumerate(lines):
        peer = story.configured(side)
        configured = None if peer is None else str(peer)
        assert addresses(lines[end], configured) == addresses(simulated[end], configured)


def compared(name: str, lines: dict[str, list[Line]]) -> dict[str, Steps]:
    """All steps; of ends that go on for ever so many as the story has by itself."""
    steps = steps_of(lines)
    if STORIES[name].endless:
        by_itself = steps_of(play(STORIES[name]))
        return {end: steps[end][: len(by_itself[end])] for end in steps}
    return steps


@pytest.mark.parametrize("name", STORIES)
def test_no_order_hangs_on_milliseconds(name: str) -> None:
    """Slower and uneven networks, and later starts, change nothing: so a comparison is no luck."""
    story = STORIES[name]
    usual = compared(name, play(story))
    for seed in range(5):
        link = dataclasses.replace(LINK, jitter_s=0.02 * seed)
        shifted = tuple((at * (1 + 0.01 * seed), act) for at, act in story.acts)
        other = dataclasses.replace(story, acts=shifted)
        assert compared(name, play(other, link=link, seed=seed)) == usual


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_what_other_behaviours_would_do_is_named(behaviour: str, name: str) -> None:
    story, theirs = STORIES[name], BEHAVIOURS[behaviour]
    ours, wanted = compared(name, play(story)), compared(name, play(story, theirs))
    named = APART.get((behaviour, name), set())
    assert compared(name, play(story, _with(theirs, named))) == wanted
    assert (wanted == ours) is not bool(named)
    for left_out in named:
        assert compared(name, play(story, _with(theirs, named - {left_out}))) != wanted


def _with(theirs: Behaviour, names: set[str]) -> Behaviour:
    """Ours, with these values of theirs."""
    values = {name: getattr(theirs, name) for name in names}
    return dataclasses.replace(CHANCEL, **values)
