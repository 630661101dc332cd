"""A slice of each fuzz target: its corpus, and mutations that are the same in every run."""

from __future__ import annotations

import itertools

import pytest

from fuzz import corpus, engine_random, twinned
from fuzz.targets import NAMES, load

INPUTS = {
    "batches": 150,
    "session": 150,
    "cut": 150,
    "exchange": 300,
    "control": 300,
    "library": 150,
    "opening": 400,
    "text_lines": 500,
    "twins_read": 300,
    "twins_receive": 300,
}
MOST_INPUTS = 1500
MOST_CORPUS_BYTES = 1 << 20


@pytest.mark.parametrize("name", NAMES)
def test_the_invariant_holds(name: str) -> None:
    if twinned.is_missing(name):
        pytest.skip(twinned.MISSING)
    target = load(name)
    count = len(corpus.load(target)) + INPUTS.get(name, MOST_INPUTS)
    for data in itertools.islice(engine_random.inputs(target, seed=0), count):
        engine_random.judge(target, data)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_says_what_must_hold(name: str) -> None:
    target = load(name)
    assert target.invariant.endswith(".")
    assert len(target.invariant) <= 120
    assert all(len(seed) <= target.most_bytes for seed in target.seeds())


def test_the_corpus_belongs_to_the_targets_and_is_small() -> None:
    files = list(corpus.FOLDER.glob("*"))
    assert {path.stem for path in files} <= set(NAMES)
    assert sum(path.stat().st_size for path in files) < MOST_CORPUS_BYTES
