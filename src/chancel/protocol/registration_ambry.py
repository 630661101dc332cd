"""Which ambries are taken: the secrets that cathedrals hand out, wrapped (cathedral section 8.5).

An ambry has a *generation*, a random number, so of two nobody can tell which is newer. A cathedral
that is out of date, or in bad hands, may serve one that was replaced, and with it let in a device
that was locked out by the newer one. So one that we replaced ourselves is never taken again, nor
after a restart where there is a file for it (``vault.ambries``).

With one exception: the one that expires latest of all we had may be taken back from one that
expires sooner. That is most likely an old one, which we never saw when it was new, and a bad
cathedral would otherwise keep us from our peer until the next bundle. Whoever makes a bundle that
expires before the one it replaces takes that for its opposite: so let bundles live equally long.
``chancel ambry`` warns of it (decision 021).
"""

from __future__ import annotations

from collections import deque

from chancel.crypto.suite import Suite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol.ambry import open_ambry_untrusted
from chancel.protocol.registration_events import (
    AmbryAdopted,
    AmbryNotKept,
    AmbryRefused,
    RegistrationEvent,
)
from chancel.protocol.registration_keys import ClientKeys
from chancel.protocol.registration_types import AdoptSecret, Registrant
from chancel.vault.ambries import NO_AMBRIES, AmbryHistory
from chancel.vault.secret import Secret
from chancel.wire.ambry import NO_GENERATION
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.drop import Drop
from chancel.wire.types import Buffer


class Ambries:
    """One device's ambries of one tunnel.

    Has one secret at most in the hands of whoever keeps it; until it says how that went, no other
    is opened. ``events`` is the machine's own list.
    """

    def __init__(
        self,
        suite: Suite,
        registrant: Registrant,
        keys: ClientKeys,
        events: deque[RegistrationEvent],
    ) -> None:
        self.generation = NO_GENERATION
        self._suite = suite
        self._registrant = registrant
        self._keys = keys
        self._events = events
        self._history = NO_AMBRIES
        self._handed_out: AmbryHistory | None = None
        """What the history is once that one is in use."""
        self._told: AmbryRefused | AmbryNotKept | None = None

    def recall(self, history: AmbryHistory) -> None:
        """What an earlier run kept. Raises ``LocalProtocolError`` once an ambry was handed out."""
        if self.generation != NO_GENERATION or self._handed_out is not None:
            raise LocalProtocolError("an ambry has come already: recall what was kept before that")
        self._history = history

    def take_untrusted(self, ambry: AmbryBody, wall: float) -> AdoptSecret:
        """Open what the cathedral offers.

        Raises ``RemoteProtocolError``: ``AMBRY_UNWANTED``, ``AMBRY_REPEATED`` (it is in use or
        handed out, or was replaced), ``AMBRY_TUNNEL``, ``NO_SECRET``, ``AMBRY_BAD_TAG``,
        ``AMBRY_EXPIRED``.
        """
        kek, generation = self._registrant.kek, ambry.header.generation
        if kek is None or generation == NO_GENERATION:
            raise RemoteProtocolError(Drop.AMBRY_UNWANTED)
        if generation == self.generation or self._handed_out is not None:
            raise RemoteProtocolError(Drop.AMBRY_REPEATED)
        with self._keys.kek(kek).reveal() as key:
            try:
                secret = self._open_untrusted(key, ambry, wall)
            except RemoteProtocolError as error:
                self._tell(AmbryRefused(generation, error.reason))
                raise
        self._handed_out = self._history.after(ambry.header)
        return AdoptSecret(secret, generation, self._handed_out.encode())

    def adopted(self, generation: int) -> None:
        """What was handed out is in use. Raises ``LocalProtocolError`` if it was not that one."""
        taken = self._handed_out
        if taken is None or generation != taken.generation:
            raise LocalProtocolError(
                f"no secret of generation {generation:#x} was handed out: "
                "answer each AdoptSecret once"
            )
        self.generation = generation
        self._history, self._handed_out = taken, None
        self._told = None
        self._events.append(AmbryAdopted(generation))

    def not_adopted(self, problem: str) -> None:
        """What was handed out could not be kept. Raises ``LocalProtocolError`` if nothing was."""
        refused, self._handed_out = self._handed_out, None
        if refused is None:
            raise LocalProtocolError("no secret was handed out: answer each AdoptSecret once")
        self._tell(AmbryNotKept(refused.generation, problem))

    def _open_untrusted(self, kek: Buffer, ambry: AmbryBody, wall: float) -> Secret:
        if self._history.refuses(ambry.header):
            raise RemoteProtocolError(Drop.AMBRY_REPEATED)
        us = self._registrant
        return open_ambry_untrusted(self._suite, kek, us.flocks, us.tunnel, ambry, wall)

    def _tell(self, event: AmbryRefused | AmbryNotKept) -> None:
        # Offers are repeated every few seconds, so is what is wrong with them.
        if event != self._told:
            self._told = event
            self._events.append(event)
