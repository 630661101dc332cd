"""A small campaign of bad input against a whole running group; ``make fuzz`` has the large one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.lab.lab import Lab
from fuzz.campaign import Campaign

DATAGRAMS, MESSAGES, FRAMES = 20_000, 1_500, 2_000
SEED = 1


@pytest.fixture(scope="module")
def campaign(lab: Lab, folder: Path) -> Iterator[Campaign]:
    running = Campaign(lab, folder, SEED)
    yield running
    assert running.pair.stop() == [0, 0]


def test_mutated_datagrams(campaign: Campaign) -> None:
    phase = campaign.datagrams(DATAGRAMS)
    assert phase.passed, phase
    assert phase.facts["taken"] + phase.facts["lost in the kernel"] >= DATAGRAMS * 0.9


def test_hostile_control_messages(campaign: Campaign) -> None:
    phase = campaign.messages(MESSAGES)
    assert phase.passed, phase
    assert phase.facts["answers"]


def test_hostile_frames(campaign: Campaign) -> None:
    phase = campaign.frames(FRAMES)
    assert phase.passed, phase
    assert phase.facts["cut into"]
