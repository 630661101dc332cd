"""Where a cathedral's keys come from: its clients' from its host, its federation's from one source.

Neither is kept longer than it takes to notice that the operator replaced it.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from chancel.errors import RemoteProtocolError, VaultError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.cathedral.events import CathedralEvent, KeysUnavailable
from chancel.protocol.events import SecretUnavailable
from chancel.vault.secret import Secret
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.types import FlockId

SYNC_SECRET_S: Final = 0.9
"""For how long the sync secret is kept: thousands of infos a second are passed on."""


class ClientKeys(Protocol):
    """The keys of clients, asked for with each offer. Flocks are without domain.

    Whoever implements it notices replaced files. As long as a secret stays the same the very same
    object is handed out: what is derived from it is derived anew for another one.
    """

    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:
        """The cathedral secret, 32 bytes; raises ``VaultError``."""
        ...

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:
        """The public half of the COSK, 32 bytes; raises ``VaultError``."""
        ...


class KnownClients:
    """The keys of clients, for whoever takes their offers: a missing one is a refusal and news.

    Ask only for identities that the settings allow: what is told once is remembered for each.
    """

    def __init__(self, keys: ClientKeys, events: deque[CathedralEvent]) -> None:
        self._keys = keys
        self._events = events
        self._problems: dict[tuple[FlockId, CathedralId], str] = {}

    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:
        """As ``ClientKeys``; raises ``RemoteProtocolError`` (``CLIENT_UNKNOWN``)."""
        try:
            secret = self._keys.secret(flock, identity)
        except VaultError as error:
            raise self._refusal(flock, identity, error) from error
        if self._problems:
            self._problems.pop((flock, identity), None)
        return secret

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:
        """As ``ClientKeys``; raises ``RemoteProtocolError`` (``CLIENT_UNKNOWN``)."""
        try:
            return self._keys.public(flock, identity)
        except VaultError as error:
            raise self._refusal(flock, identity, error) from error

    def forget(self) -> None:
        """Other identities may be allowed now."""
        self._problems.clear()

    def _refusal(
        self, flock: FlockId, identity: CathedralId, error: VaultError
    ) -> RemoteProtocolError:
        problem = str(error)
        if self._problems.get((flock, identity)) != problem:
            self._problems[flock, identity] = problem
            self._events.append(KeysUnavailable(flock, identity, problem))
        return RemoteProtocolError(Drop.CLIENT_UNKNOWN)


class SyncKeys:
    """The secret that all cathedrals of a federation share."""

    def __init__(self, source: SecretSource, events: deque[CathedralEvent], now: float) -> None:
        self._source = source
        self._events = events
        self._secret: Secret | None = None
        self._until = now
        self._problem: str | None = None

    def secret(self, now: float) -> Secret:
        """32 bytes; raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        if self._secret is None or now >= self._until:
            self._secret = None
            self._secret = self._load()
            self._until = now + SYNC_SECRET_S
        return self._secret

    def _load(self) -> Secret:
        try:
            secret = self._source()
        except VaultError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._events.append(SecretUnavailable(self._problem))
            raise RemoteProtocolError(Drop.NO_SECRET) from error
        self._problem = None
        return secret
