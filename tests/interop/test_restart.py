"""One end is killed or stopped and started again: how long until the first echo.

The bound is what two references need in the same session, and ``MARGIN_S`` for the start of a
Python program on a busy machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest

from chancel.demo.play import PING
from chancel.demo.programs import CHANCEL, Program
from tests.interop.ends import End, Pair
from tests.interop.results import Results

ROUNDS = 3
MARGIN_S = 2.0
SETTLE_S = 1.0
PING_INTERVAL_S = 0.02
PATIENCE_PINGS = 1500
"""Half a minute."""

SIGNALS = ("SIGKILL", "SIGTERM")


def recovery_s(pair: Pair, end: End, how: str) -> float:
    """Seconds from the command that starts ``end`` again to the first echo asked for after it.

    The pings come from the other end, which keeps running.
    """
    time.sleep(SETTLE_S)
    pings = pair.other(end).host.start(
        PING, end.inner, PATIENCE_PINGS, PING_INTERVAL_S, 56, True, 0.5
    )
    try:
        next(pings.progress)
        if how == "SIGKILL":
            end.crash()
        else:
            end.stop()
        started_at = time.monotonic()
        end.start()
        for echo in pings.progress:
            if echo["rtt_s"] is not None and echo["sent_at"] > started_at:
                return float(echo["sent_at"] + echo["rtt_s"] - started_at)
    finally:
        pings.program.kill()
    raise AssertionError(f"the tunnel did not come back\n{pair.logs()}")


def tell(seconds: list[float]) -> str:
    each = ", ".join(f"{value:.2f}" for value in seconds)
    return f"median {statistics.median(seconds):.2f} s ({each})"


@pytest.fixture(scope="module")
def among_references(
    reference: Program, tmp_path_factory: pytest.TempPathFactory, results: Results
) -> dict[str, float]:
    """Median seconds by signal, where the reference runs on both sides."""
    medians = {}
    with Pair(tmp_path_factory.mktemp("references"), reference, reference) as pair:
        pair.wait_up()
        for how in SIGNALS:
            seconds = [recovery_s(pair, pair.right, how) for _ in range(ROUNDS)]
            results.add(f"reference to reference, {how}, restart", tell(seconds))
            medians[how] = statistics.median(seconds)
    return medians


@pytest.fixture(scope="module", params=["left", "right"])
def mixed(
    request: pytest.FixtureRequest, reference: Program, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    programs = (reference, CHANCEL) if request.param == "left" else (CHANCEL, reference)
    with Pair(tmp_path_factory.mktemp("mixed"), *programs) as pair:
        pair.wait_up()
        yield pair


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.parametrize("who", ["reference", "chancel"])
def test_back_no_slower_than_two_references(
    among_references: dict[str, float], mixed: Pair, results: Results, who: str, how: str
) -> None:
    end = mixed.reference if who == "reference" else mixed.ours
    seconds = [recovery_s(mixed, end, how) for _ in range(ROUNDS)]
    bound_s = among_references[how] + MARGIN_S
    results.add(f"{who} ({end.host.name}), {how}, restart", tell(seconds), f"≤ {bound_s:.2f} s")
    assert statistics.median(seconds) <= bound_s, mixed.logs()
