"""The base key of offers, from the shared secret.

The secret is asked for when it is needed and let go at once, so replacing its file takes effect
with the next offer; but not more often than once a second, since offers come in bursts and a
stranger can send as many as he likes. In between the offers' base key is kept, masked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from chancel.crypto.kdf import KeySchedule, Purpose
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError, VaultError
from chancel.protocol.events import Event, SecretUnavailable
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import Flocks

SecretSource = Callable[[], Secret]
"""Loads the shared secret (32 bytes); raises ``VaultError``."""

BASE_KEY_S = 0.9
"""For how long the offers' base key is kept: less than the interval of our own offers."""


class BaseKeys:
    """One tunnel's secret and its base key for offers between these flocks.

    ``events`` is the machine's own list: that the secret can't be had is added to it, once for each
    problem.
    """

    def __init__(
        self,
        suite: Suite,
        source: SecretSource,
        flocks: Flocks,
        events: deque[Event],
        now: float,
        keys: KeySchedule,
    ) -> None:
        self._suite = suite
        self._keys = keys
        self._source = source
        self._flocks = flocks
        self._events = events
        self._offers: Secret | None = None
        self._until = now
        self._problem: str | None = None

    def for_offers(self, now: float) -> Secret:
        """The base key for ``PEER_OFFER``. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        if self._offers is None or now >= self._until:
            self._offers = None
            with self.secret().reveal() as secret:
                key = self._keys.base_key(self._suite, Purpose.PEER_OFFER, secret, self._flocks)
            self._offers = Secret(key)
            self._until = now + BASE_KEY_S
        return self._offers

    def forget(self) -> None:
        """The secret was replaced: load it anew with the next use."""
        self._offers = None

    def secret(self) -> Secret:
        """The secret itself. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        try:
            secret = self._source()
        except VaultError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._events.append(SecretUnavailable(self._problem))
            raise RemoteProtocolError(Drop.NO_SECRET) from error
        self._problem = None
        return secret
