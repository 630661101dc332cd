"""Telling clients whose clock is wrong that it is.

An info that is too old, or from the future, registers nothing: it may have been captured. The
reference says nothing at all then, and nobody finds out why. Here one that is authentic and signed
gets an answer that names no peer: by its timestamp the client knows how wrong its own clock is. One
that refuses answers of another time refuses this one, too.

Whoever captured an info can have such answers sent to addresses of his choice, one datagram for
each that he sends. So a host is told once in a few seconds, and few are told in that time.
"""

from __future__ import annotations

from typing import Final

from chancel.protocol.cathedral.outbox import Outbox
from chancel.protocol.cathedral.permits import Permits
from chancel.protocol.cathedral.requests import Requests
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.offer import OfferHeader
from chancel.wire.types import Address, Buffer

TELL_S: Final = 5.0
"""Between two answers to one client at one host: as often as infos come."""

MAX_TOLD: Final = 1024
"""Clients told within that time; further ones are not."""


class Latecomers:
    """Answers what was refused for its time."""

    def __init__(self, permits: Permits, requests: Requests, outbox: Outbox) -> None:
        self._permits = permits
        self._requests = requests
        self._outbox = outbox
        self._told: dict[tuple[CathedralId, str], float] = {}

    def tell_untrusted(
        self, header: OfferHeader, datagram: Buffer, source: Address, now: float, wall: float
    ) -> None:
        """Answer a request on the main port that ``OFFER_TIME`` was the refusal of, if it is an
        info that would have been taken in time.

        Raises ``RemoteProtocolError``: why it would have been refused even so; and what sending
        raises.
        """
        key = (CathedralId(header.spi), source.host)
        if not self._may_tell(key, now):
            return
        request, client = self._requests.open_late_untrusted(header, datagram, source)
        if isinstance(request.body, InfoBody):
            self._permits.require_tunnel(client.flocks, client.identity, request.body.tunnel)
            self._told[key] = now
            self._outbox.answer(client, AnswerBody(None), now, wall)

    def _may_tell(self, key: tuple[CathedralId, str], now: float) -> bool:
        told = self._told
        while told and now >= next(iter(told.values())) + TELL_S:
            del told[next(iter(told))]
        return key not in told and len(told) < MAX_TOLD
