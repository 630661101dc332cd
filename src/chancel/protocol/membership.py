"""A session's cathedrals: they find its peer, relay for it, and may hand out its shared secret.

Three parts meet here. ``Registration`` talks to the cathedrals, ``Whereabouts`` decides where the
peer is, and the shared secret is whatever the last ambry brought, or what was there before.
"""

from __future__ import annotations

import math
from collections import deque

from chancel.crypto.suite import Suite
from chancel.errors import VaultError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.events import MAX_EVENTS, ClockJumped, Event, PeerRestarted
from chancel.protocol.exchange import Exchange
from chancel.protocol.opening import Opener
from chancel.protocol.registration import Registration
from chancel.protocol.registration_events import CathedralAnswers, CathedralSilent
from chancel.protocol.registration_types import (
    AdoptSecret,
    CathedralChosen,
    PeerAnnounced,
    StoreRemembrance,
)
from chancel.protocol.session_types import (
    CathedralSettings,
    CathedralStatus,
    RemembranceNotKept,
    SessionEvent,
)
from chancel.protocol.whereabouts import Whereabouts
from chancel.vault.secret import Secret


class SharedSecret:
    """The secret in force: a source that goes over to the secrets of ambries."""

    def __init__(self, source: SecretSource) -> None:
        self._source = source
        self._adopted: Secret | None = None

    def __call__(self) -> Secret:
        """Load it; raises ``VaultError``."""
        return self._source() if self._adopted is None else self._adopted

    def adopt(self, secret: Secret) -> None:
        """Use this one from now on."""
        self._adopted = secret


class Membership:
    """One tunnel end as a client of cathedrals, beside its ``exchange`` of keys."""

    def __init__(
        self,
        settings: CathedralSettings,
        suite: Suite,
        secret: SharedSecret,
        whereabouts: Whereabouts,
        exchange: Exchange,
        now: float,
        wall: float,
    ) -> None:
        self.whereabouts = whereabouts
        self.registration = Registration(
            suite,
            settings.registrant,
            settings.cathedrals,
            now,
            wall,
            instance=exchange.instance,
            behaviour=exchange.behaviour,
        )
        if settings.remembered:
            self.registration.remembered(settings.remembered, now)
        self.registration.recall_ambries(settings.ambries)
        self._settings = settings
        self._secret = secret
        self._exchange = exchange
        self._answers = False
        self._heard_at = now
        self._events: deque[SessionEvent] = deque(maxlen=MAX_EVENTS)

    def wake_at(self) -> float | None:
        """When the registration, or a path, wants to be woken."""
        times = (self.registration.wake_at(), self.whereabouts.wake_at())
        return min([at for at in times if at is not None], default=None)

    def report_keys(self, opener: Opener, now: float) -> None:
        """Tell which SPIs we receive under, or will after the next exchange: a cathedral that hears
        of one only when it is used relays nothing under it for seconds."""
        active, pending = opener.active, opener.pending
        used = None if active is None else active.spi
        soon = self._exchange.next_spi if pending is None else pending.spi
        self.registration.report_keys(used, None if soon == used else soon, now)
        alive_at = opener.report().alive_at
        self.registration.peer_heard(-math.inf if alive_at is None else alive_at)

    def network_changed(self, now: float) -> None:
        """Our own address may have changed."""
        self.registration.network_changed(now)
        self.whereabouts.network_changed(now)

    def happened(self, event: Event, now: float) -> None:
        """The exchange of keys tells something that may matter to us."""
        match event:
            case ClockJumped():
                self.registration.renew_instance(self._exchange.instance, now)
            case PeerRestarted():
                self.whereabouts.peer_restarted(now)

    def settle(self, now: float) -> bool:
        """Carry out what the registration wants; whether the shared secret is another one."""
        replaced = False
        for command in self.registration.commands():
            match command:
                case AdoptSecret():
                    replaced |= self._adopt(command, now)
                case StoreRemembrance():
                    self._store(command)
                case PeerAnnounced(address, at, _, proves):
                    self.whereabouts.announced(address, at, peer_proves=proves)
                case CathedralChosen(address, at, trusted):
                    self.whereabouts.cathedral_is(address, at, trusted=trusted)
        while (event := self.registration.next_event()) is not None:
            self._events.append(event)
            match event:
                case CathedralAnswers():
                    self._answers = True
                    self._exchange.cathedral_answers(True, now)
                case CathedralSilent(silent_s=silent_s):
                    self._answers = False
                    self._heard_at = now - silent_s
                    self._exchange.cathedral_answers(False, now)
        return replaced

    def next_event(self) -> SessionEvent | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None

    def status(self, now: float) -> CathedralStatus:
        """A snapshot for people."""
        return CathedralStatus(
            cathedral=self.registration.cathedral,
            silent_s=None if self._answers else now - self._heard_at,
            direct=self.whereabouts.direct,
            candidate=None if self.whereabouts.direct else self.whereabouts.candidate,
            generation=self.registration.generation,
            clock_skew_s=self.registration.clock_skew_s,
        )

    def _adopt(self, command: AdoptSecret, now: float) -> bool:
        try:
            if self._settings.keep_ambries is not None:
                self._settings.keep_ambries(command.history)
            if self._settings.keep_secret is not None:
                self._settings.keep_secret(command.secret)
        except VaultError as error:
            self.registration.not_adopted(str(error), now)
            return False
        self._secret.adopt(command.secret)
        self.registration.adopted(command.generation, now)
        self._exchange.secret_replaced(now)
        return True

    def _store(self, command: StoreRemembrance) -> None:
        if self._settings.keep_remembrance is not None:
            try:
                self._settings.keep_remembrance(command.data)
            except VaultError as error:
                self._events.append(RemembranceNotKept(str(error)))
