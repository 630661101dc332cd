"""Whether a tunnel is up, and what its program is told of that."""

from __future__ import annotations

import asyncio
from collections import Counter

from chancel.protocol.session import Session
from chancel.tunnel.carrier import LINK_PEER
from chancel.tunnel.events import Down, Refused, Up
from chancel.tunnel.news import News
from chancel.tunnel.status import CAUSES
from chancel.wire.drop import Drop


class Standing:
    """Up or down, and why; told as ``Up``, ``Down`` and ``Refused``.

    ``proved`` is whether it was ever up. :meth:`wait` returns as well once :meth:`end` was called.
    """

    def __init__(self, news: News) -> None:
        self.proved = False
        self._news = news
        self._heard = False
        self._up = asyncio.Event()
        self._before: Counter[Drop] = Counter()  # when it went down: those explain nothing
        self._told: set[Drop] = set()

    @property
    def is_up(self) -> bool:
        """Whether it is up, or over."""
        return self._up.is_set()

    async def wait(self) -> None:
        """Wait until it is up, or over."""
        await self._up.wait()

    def fresh(self, session: Session) -> Counter[Drop]:
        """What was refused since it went down."""
        return session.drops - self._before

    def look(self, session: Session, now: float) -> None:
        """While down or unheard: whether that has changed; if not, what was refused, once each."""
        if self._heard and self._up.is_set():
            return
        if not self._up.is_set() and session.is_up(now):
            self.proved = True
            self._up.set()
            self._news.tell(Up(session.peer if session.peer != LINK_PEER else None))
        self._heard = session.heard
        if not (self._heard and self._up.is_set()):
            fresh = self.fresh(session)
            for reason, why in CAUSES.items():
                if fresh[reason] and reason not in self._told:
                    self._told.add(reason)
                    self._news.tell(Refused(reason, why))

    def fall(self, session: Session, why: str) -> None:
        """It is down from here, if it was up."""
        if self._up.is_set():
            self._up.clear()
            self._before = session.drops
            self._told.clear()
            self._news.tell(Down(why))

    def end(self) -> None:
        """Nobody needs to wait any more."""
        self._up.set()
