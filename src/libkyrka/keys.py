"""The key exchange of a context and the keys that come of it, with what a program is told of both.

The protocol's own parts do the work, as ``LIBRARY`` of ``chancel.protocol.behaviour`` says. What
they report becomes an event of the reference: a number, or ``None`` for a log message, and a
dictionary (kyrka sections 1.3, 9 and 11.1).
"""

from __future__ import annotations

from collections import Counter

from chancel.protocol.base_keys import SecretSource
from chancel.protocol.behaviour import LIBRARY
from chancel.protocol.events import (
    Event,
    ExchangeEnded,
    ExchangeStarted,
    Reason,
    ReceiveKeyInstalled,
    SecretNotShared,
    SendKeyInstalled,
)
from chancel.protocol.exchange import Exchange
from chancel.protocol.messages import Command, EraseKeys, InstallReceiveKey, InstallSendKey
from chancel.protocol.opening import Opener
from chancel.protocol.traffic import Sealer
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Address, Flocks, InstanceId, Spi
from libkyrka.constants import KYRKA_EVENT_EXCHANGE_INFO, KYRKA_EVENT_KEYS_INFO
from libkyrka.notices import Notice, log
from libkyrka.receiving import Receiving
from libkyrka.sending import ALL_NUMBERS, Sending
from libkyrka.surroundings import Surroundings

_SOMEWHERE = Address("", 0)
"""Where every datagram comes from: the program knows, and the reference never asks."""

_REASONS = {
    Reason.NO_KEYS: "no keys",
    Reason.UNFINISHED: "no keys",
    Reason.RESYNC: "re-sync",
    Reason.PACKETS: "SA packet limit",
    Reason.AGE: "SA age limit",
    Reason.AMBRY: "new ambry",
}
"""Why we start an exchange of our own accord. Nothing is told of one that the peer starts."""

_LOGGED = {
    Drop.OFFER_ZERO_SPI: "peer sent invalid spi of 0x00",
    Drop.OFFER_STATE: "ignoring unknown offer packet",
    Drop.OFFER_WRONG_SPI: "offer mismatching, trying re-sync",
}
"""Offers whose refusal is told."""


class Keys:
    """``sending`` and ``receiving`` are the keys in use, or ``None``."""

    def __init__(
        self,
        surroundings: Surroundings,
        secret: SecretSource,
        flocks: Flocks = NO_FLOCKS,
        spi_prefix: int = 0,
    ) -> None:
        """The upper half of each of our SPIs is ``spi_prefix``, unless that is 0."""
        suite = surroundings.suite
        self._surroundings = surroundings
        self._exchange = Exchange(
            suite,
            secret,
            surroundings.now(),
            surroundings.wall(),
            peer_configured=True,
            flocks=flocks,
            spi_prefix=spi_prefix,
            behaviour=LIBRARY,
        )
        self._sealer = Sealer(flocks, suite)
        self._opener = Opener(flocks, suite, LIBRARY)
        self.sending: Sending | None = None
        self.receiving: Receiving | None = None

    @property
    def spis(self) -> tuple[Spi, Spi]:
        """The SPIs we send and receive under; 0 without a key."""
        return Spi(self._sealer.report().spi), Spi(self._opener.report().active_spi)

    @property
    def instance(self) -> InstanceId:
        """What this end is called in offers, in which the peer or a cathedral notices a restart."""
        return self._exchange.instance

    @property
    def drops(self) -> Counter[Drop]:
        """Refused offers."""
        return self._exchange.drops

    def secret_replaced(self) -> None:
        """The shared secret is another one: offer keys under it, and use those that are there only
        until it is clear that the peer hasn't got it.
        """
        self._exchange.secret_replaced(self._surroundings.now())

    def manage(self) -> list[bytes]:
        """Do what is due; returns the offers to send to the peer."""
        now = self._surroundings.now()
        self._exchange.report(self._opener.report(), now)
        self._exchange.wake(now, self._surroundings.wall())
        self._execute(now)
        return self._exchange.datagrams()

    def receive(self, offer: bytes) -> list[Notice]:
        """Take one untrusted offer; returns log messages about it."""
        now = self._surroundings.now()
        before = self._exchange.drops.copy()
        self._exchange.receive(offer, _SOMEWHERE, now, self._surroundings.wall())
        self._execute(now)
        refused = self._exchange.drops - before
        return [log(_LOGGED[reason]) for reason in refused if reason in _LOGGED]

    def erase(self) -> None:
        """Forget both keys. A running exchange goes on."""
        self._apply(EraseKeys(), self._surroundings.now())

    def expire_sending(self) -> Notice | None:
        """Forget the key we send with, which reached a limit; returns what to log of it."""
        sending, now = self.sending, self._surroundings.now()
        if sending is None:
            return None
        self._sealer.execute(EraseKeys(), now)
        self.sending = None
        age_s = int(now - sending.installed_at)
        return log(f"expired TX SA (seqnr={sending.end()}, age={age_s})")

    def next_notice(self) -> Notice | None:
        """The oldest event not yet told, or ``None``."""
        while (event := self._exchange.next_event()) is not None:
            notice = self._translate(event)
            if notice is not None:
                return notice
        return None

    def _translate(self, event: Event) -> Notice | None:
        match event:
            case ExchangeStarted(Reason.AMBRY) if not any(self.spis):
                return KYRKA_EVENT_EXCHANGE_INFO, {"reason": _REASONS[Reason.NO_KEYS]}
            case ExchangeStarted(reason) if reason in _REASONS:
                return KYRKA_EVENT_EXCHANGE_INFO, {"reason": _REASONS[reason]}
            case ExchangeEnded():
                return KYRKA_EVENT_EXCHANGE_INFO, {"reason": "key offer cleared"}
            case ReceiveKeyInstalled() | SendKeyInstalled():
                send_spi, receive_spi = self.spis
                return KYRKA_EVENT_KEYS_INFO, {"tx": send_spi, "rx": receive_spi}
            case SecretNotShared(waited_s):
                return log(
                    f"unable to renegotiate with peer {waited_s:.0f} seconds after ambry swap, "
                    "clearing keys"
                )
        return None

    def _execute(self, now: float) -> None:
        for command in self._exchange.commands():
            self._apply(command, now)

    def _apply(self, command: Command, now: float) -> None:
        self._sealer.execute(command, now)
        self._opener.execute(command, now)
        match command:
            case InstallSendKey():
                numbers = self._sealer.reserve(ALL_NUMBERS, now)
                self.sending = None if numbers is None else Sending(numbers, now)
            case InstallReceiveKey():
                slot = self._opener.active
                flocks = self._opener.expected_flocks
                self.receiving = None if slot is None else Receiving(slot, flocks)
            case EraseKeys():
                self.sending = self.receiving = None
