"""The key of a mask, derived whenever the secret is read.

Nothing of a peer's can be understood before the mask is off, so the key must be there before the
first datagram: the secret is read at once, again and again while that fails. And since nothing that
is masked under another key comes through, no datagram can tell an end that waits that the secret
was replaced: it looks by itself now and then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from chancel.errors import VaultError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.events import MAX_EVENTS, Event, SecretUnavailable
from chancel.protocol.messages import InstallMask
from chancel.vault.secret import Secret
from chancel.wire.types import Buffer

RETRY_S = 1.0
"""Between two tries to read a secret that can't be read."""

LOOK_S = 30.0
"""Between two looks whether the secret was replaced."""


class MaskKeys:
    """A source of the secret that notices what is read: hand it to the keeper in its place.

    ``derive`` makes the 32-byte key of the mask from the revealed secret.
    """

    def __init__(self, source: SecretSource, derive: Callable[[Buffer], bytes], now: float) -> None:
        self._source = source
        self._derive = derive
        self._look_at = now
        self._key: Secret | None = None
        self._problem: str | None = None
        self._commands: list[InstallMask] = []
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def __call__(self) -> Secret:
        """Load the secret; raises ``VaultError``."""
        secret = self._source()
        with secret.reveal() as revealed:
            key = self._derive(revealed)
        fresh = Secret(key)
        if self._key is None or not self._key.equals(fresh):
            self._key = fresh
            self._commands = [InstallMask(key)]
        return secret

    def look(self, now: float) -> None:
        """The secret was replaced: look at it now."""
        self._look_at = now

    def wake_at(self) -> float:
        """When to be woken: the past means at once."""
        return self._look_at

    def wake(self, now: float) -> None:
        """Look at the secret, if it is time to."""
        if now < self._look_at:
            return
        try:
            self()
        except VaultError as error:
            self._look_at = now + RETRY_S
            if str(error) != self._problem:
                self._problem = str(error)
                self._events.append(SecretUnavailable(self._problem))
        else:
            self._look_at = now + LOOK_S
            self._problem = None

    def commands(self) -> list[InstallMask]:
        """Drain: the newest key, if it is another than before."""
        commands, self._commands = self._commands, []
        return commands

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None
