"""The stall of protocol section 7.1: one end has a key to send with, the other's answer is lost.

When ciphertext (CT) fragments are lost for some dozens of seconds, the reference neither sends nor
gives up, for minutes. Ours is over it within seconds, whoever the peer is.
"""

from __future__ import annotations

import random

import pytest

from chancel.sim.filters import CiphertextBlock
from chancel.sim.pair import LEFT, RIGHT, Pair
from chancel.sim.scenario import Kind, Scenario
from chancel.sim.suite import FastSuite
from chancel.wire.types import NO_FLOCKS

CHANCEL, REFERENCE = Kind.CHANCEL, Kind.REFERENCE


def block(pair: Pair, sender: str | None) -> CiphertextBlock:
    suite = FastSuite(random.Random(0))
    pair.network.refuse = blocked = CiphertextBlock(pair.secret, NO_FLOCKS, suite, sender)
    return blocked


def stall_after(loss_s: float, kinds: tuple[Kind, Kind], sender: str | None, seed: int) -> float:
    """Seconds from the end of the loss, which began at power on, until both hear each other."""
    pair = Pair(Scenario(seed=seed, kinds=kinds))
    blocked = block(pair, sender)
    pair.start()
    pair.clock.run_until(loss_s)
    assert blocked.blocked
    assert not pair.ledger.recoveries
    blocked.active = False
    return pair.wait_up(limit_s=600.0)


LOSSES = (3.0, 14.5, 20.0, 45.0, 119.0, 200.0)
SENDERS = (LEFT.host, RIGHT.host, None)


@pytest.mark.parametrize("loss_s", LOSSES)
@pytest.mark.parametrize("sender", SENDERS)
def test_between_our_own_ends_it_is_over_within_5_seconds(
    loss_s: float, sender: str | None
) -> None:
    stalls = [stall_after(loss_s, (CHANCEL, CHANCEL), sender, seed) for seed in range(2)]
    assert max(stalls) <= 5.0


@pytest.mark.parametrize("loss_s", LOSSES)
@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("kinds", [(CHANCEL, REFERENCE), (REFERENCE, CHANCEL)])
def test_against_the_reference_it_is_over_within_20_seconds(
    loss_s: float, sender: str | None, kinds: tuple[Kind, Kind]
) -> None:
    stalls = [stall_after(loss_s, kinds, sender, seed) for seed in range(2)]
    assert max(stalls) <= 20.0


@pytest.mark.parametrize("sender", [LEFT.host, RIGHT.host])
def test_between_two_references_it_lasts_minutes(sender: str) -> None:
    stalls = [stall_after(20.0, (REFERENCE, REFERENCE), sender, seed) for seed in range(2)]
    assert 60.0 < max(stalls) <= 260.0


@pytest.mark.parametrize("sender", SENDERS)
def test_a_key_change_under_the_loss_disturbs_nothing(sender: str | None) -> None:
    pair = Pair(Scenario(hours=2.0, payload_every_s=1.0))
    pair.start()
    pair.clock.run_until(3490.0)
    blocked = block(pair, sender)
    pair.clock.run_until(3560.0)
    blocked.active = False
    pair.clock.run_until(7200.0)
    report = pair.report()
    assert report.ok, report.violations
    assert blocked.blocked
    assert report.payloads_delivered == report.payloads_sent
