"""What keeps a tunnel down, in words."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter

import pytest

from chancel.links.memory import MemoryNetwork
from chancel.protocol.session import CathedralStatus, SessionStatus
from chancel.tunnel.status import problem
from chancel.wire.drop import Drop
from chancel.wire.types import Address
from tests.tunnel.pair import left_of, run_jumping

CATHEDRAL = Address("203.0.113.1", 4500)


def session_status() -> SessionStatus:
    """That of a tunnel that has just begun."""

    async def begun() -> SessionStatus:
        async with left_of(MemoryNetwork()) as tunnel:
            await asyncio.sleep(1)
            session = tunnel.status().session
            assert session is not None
            return session

    return run_jumping(begun())


def test_offers_that_are_refused_for_their_time_may_be_late_on_the_way() -> None:
    refused = Counter({Drop.OFFER_TIME: 3})
    session = session_status()
    clocks_agree = dataclasses.replace(session, clock_skew_s=-4.0)
    assert "too slow for an exchange of keys" in str(problem(clocks_agree, False, refused))
    ours_is_behind = dataclasses.replace(session, clock_skew_s=43.0)
    assert "our clock is 43 s behind the peer's" in str(problem(ours_is_behind, False, refused))


@pytest.mark.parametrize(("skew_s", "side"), [(60.0, "behind"), (-60.0, "ahead of")])
def test_a_clock_that_differs_from_the_cathedrals_is_told_of(skew_s: float, side: str) -> None:
    cathedral = CathedralStatus(CATHEDRAL, None, False, None, 0, skew_s)
    status = dataclasses.replace(session_status(), cathedral=cathedral)
    assert problem(status, False, Counter()) == (
        f"our clock is 60 s {side} the cathedral's, so each refuses what the other says: set the"
        " clock that is wrong"
    )


def test_expired_secrets_are_told_of() -> None:
    cathedral = CathedralStatus(CATHEDRAL, None, False, None, 0, 0.0)
    status = dataclasses.replace(session_status(), cathedral=cathedral)
    assert "have expired" in str(problem(status, False, Counter({Drop.AMBRY_EXPIRED: 1})))
    assert "the peer doesn't" in str(problem(status, False, Counter()))
    assert problem(status, True, Counter()) is None
