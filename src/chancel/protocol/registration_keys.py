"""The keys of a client of cathedrals, each asked for when it is needed and let go at once.

Replacing a file so takes effect with the next message. The base key of offers alone is kept, masked
and for less than a second: answers come in bursts, and whoever can write a cathedral's address on a
datagram can send as many as he likes.
"""

from __future__ import annotations

from collections import deque

from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError, VaultError
from chancel.protocol.base_keys import BASE_KEY_S, SecretSource
from chancel.protocol.registration_events import Key, KeyUnavailable, RegistrationEvent
from chancel.protocol.registration_types import Registrant
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop


class ClientKeys:
    """One client's keys.

    ``events`` is the machine's own list: that a key can't be had is added to it, once for each
    problem.
    """

    def __init__(
        self, suite: Suite, registrant: Registrant, events: deque[RegistrationEvent], now: float
    ) -> None:
        self._suite = suite
        self._registrant = registrant
        self._events = events
        self._base: Secret | None = None
        self._until = now
        self._problems: dict[Key, str] = {}

    def for_offers(self, now: float) -> Secret:
        """The base key of offers, both ways. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        if self._base is None or now >= self._until:
            self._base = None
            with self._load(Key.SECRET, self._registrant.secret).reveal() as secret:
                base = client_offer_base(self._suite, secret, self._registrant.flocks.own)
            self._base = Secret(base)
            self._until = now + BASE_KEY_S
        return self._base

    def cosk(self) -> Secret:
        """What signs our requests. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        return self._load(Key.COSK, self._registrant.cosk)

    def kek(self, source: SecretSource) -> Secret:
        """What opens our ambries. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        return self._load(Key.KEK, source)

    def _load(self, key: Key, source: SecretSource) -> Secret:
        try:
            secret = source()
        except VaultError as error:
            problem = str(error)
            if problem != self._problems.get(key):
                self._problems[key] = problem
                self._events.append(KeyUnavailable(key, problem))
            raise RemoteProtocolError(Drop.NO_SECRET) from error
        self._problems.pop(key, None)
        return secret
