"""What keeps a tunnel down, in words."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter

from chancel.links.memory import MemoryNetwork
from chancel.protocol.session import SessionStatus
from chancel.tunnel.status import problem
from chancel.wire.drop import Drop
from tests.tunnel.pair import left_of, run_jumping


def test_offers_that_are_refused_for_their_time_may_be_late_on_the_way() -> None:
    async def begun() -> SessionStatus:
        async with left_of(MemoryNetwork()) as tunnel:
            await asyncio.sleep(1)
            session = tunnel.status().session
            assert session is not None
            return session

    refused = Counter({Drop.OFFER_TIME: 3})
    session = run_jumping(begun())
    clocks_agree = dataclasses.replace(session, clock_skew_s=-4.0)
    assert "too slow for an exchange of keys" in str(problem(clocks_agree, False, refused))
    ours_is_behind = dataclasses.replace(session, clock_skew_s=43.0)
    assert "our clock is 43 s behind the peer's" in str(problem(ours_is_behind, False, refused))
