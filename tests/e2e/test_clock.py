"""A clock that is wrong is said in words that tell what it does."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from chancel.crypto.kdf import Purpose, base_key
from chancel.crypto.system import SystemSuite
from chancel.lab.lab import Lab
from chancel.protocol.offers import seal_exchange_offer
from chancel.wire.drop import Drop
from chancel.wire.offer import ExchangeBody, OfferData, OfferState
from chancel.wire.types import NO_FLOCKS, InstanceId, Salt, Spi
from tests.e2e.ends import PROGRAM, UP_LIMIT_S, Pair, eventually


def offer_from(secret: bytes, ahead_s: int) -> bytes:
    """An offer of a peer whose clock is ahead of ours."""
    suite = SystemSuite()
    base = base_key(suite, Purpose.PEER_OFFER, secret, NO_FLOCKS)
    body = ExchangeBody(
        InstanceId(1), Spi(1), Salt(bytes(4)), OfferState.PK, 0, bytes(32), bytes(392)
    )
    at = OfferData(int(time.time()) + ahead_s, body)
    return seal_exchange_offer(suite, base, NO_FLOCKS, Spi(1), at, bytes(16))


@pytest.mark.parametrize(("ahead_s", "word"), [(43, "behind"), (-43, "ahead")])
def test_status_says_what_a_wrong_clock_does(
    lab: Lab, folder: Path, ahead_s: int, word: str
) -> None:
    left, right = lab.host(f"left-{word}"), lab.host(f"right-{word}")
    pair = Pair(left, right, folder)
    lab.connect(left, f"{pair.left.outer}/24", right, f"{pair.right.outer}/24")
    pair.configure(0, "auto")
    pair.left.start()
    eventually(lambda: bool(pair.left.tunnels()), UP_LIMIT_S, "left runs")
    forged = offer_from(pair.key, ahead_s)
    right.call("tests.e2e.inside:throw", [forged.hex()], pair.left.outer, 2300, 100.0)
    eventually(lambda: Drop.OFFER_TIME in pair.left.drops("t0"), UP_LIMIT_S, "it is refused")
    told = pair.left.tunnel("t0")["clock_skew_s"]
    assert told == pytest.approx(ahead_s, abs=1)
    command = [*PROGRAM, "status", "t0", "--runtime-dir", str(pair.left.runtime)]
    environment = {**os.environ, "COLUMNS": "160"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert f"your clock is {abs(told):.0f} s {word}: the peer refuses your offers" in done.stdout
    assert pair.left.stop() == 0
