"""A pilgrim: the keeper of a one-way sender (protocol section 12.4).

It hears nothing. It draws a key, announces it in key offers again and again, since it never learns
whether one arrived, and draws another in time. The reference seals with a new key at once; its
shrine then loses what comes before an announcement does. We announce the next key some seconds
ahead, several times, and go on with the last one meanwhile: a shrine of either kind keeps both.
"""

from __future__ import annotations

import dataclasses
import math

from chancel.crypto.suite import KEY_BYTES, Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.base_keys import BaseKeys, SecretSource
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.clocks import JumpDetector
from chancel.protocol.events import ClockJumped, SendKeyInstalled
from chancel.protocol.keeper import Outbox
from chancel.protocol.key_offers import KeyOffer, seal_key_offer
from chancel.protocol.messages import InstallSendKey, ReceiveReport
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.states import State
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.offer import KeyBody
from chancel.wire.types import NO_FLOCKS, Address, Buffer, InstanceId, Salt, SessionKey, Spi

_ID_BYTES = 8
_SPI_BYTES = 4
_SALT_BYTES = 4


@dataclasses.dataclass(slots=True)
class _Announced:
    """The newest key. Times are monotonic seconds; infinite once there is nothing more to do."""

    spi: Spi
    salt: Salt
    key: Secret
    made_at: float
    install_at: float
    offer_at: float


class Pilgrim(Outbox):
    """Makes and announces the keys of a one-way sender: a :class:`chancel.protocol.keeper.Keeper`.

    Wake it at once; it needs no address, since it must be configured with one.
    """

    def __init__(
        self,
        suite: Suite,
        secret: SecretSource,
        now: float,
        wall: float,
        *,
        profile: Profile = CURRENT,
        behaviour: Behaviour = CHANCEL,
    ) -> None:
        super().__init__()
        self._suite = suite
        self._profile = profile
        self._behaviour = behaviour
        self._keys = BaseKeys(suite, secret, NO_FLOCKS, self._events, now, profile.keys)
        self._jumps = JumpDetector(now, wall)
        self._id = InstanceId(int.from_bytes(suite.random(_ID_BYTES), "big"))
        self._newest: _Announced | None = None
        self._sends = False
        self._renew_at = now

    def __repr__(self) -> str:
        spi = f"{self._newest.spi:08x}" if self._newest else "without key"
        return f"<Pilgrim {spi} {self.state.value}>"

    @property
    def state(self) -> State:
        """``OFFERED`` while the newest key is announced."""
        announced = self._newest is not None and self._newest.offer_at < math.inf
        return State.OFFERED if announced else State.IDLE

    @property
    def clock_skew_s(self) -> float | None:
        """Unknown: nobody answers."""
        return None

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Nobody has anything to tell a pilgrim: whatever comes is counted and ignored."""
        del datagram, source, now, wall
        self.drops[Drop.OFFER_UNEXPECTED] += 1

    def report(self, report: ReceiveReport, now: float) -> None:
        """Nothing is received that could matter."""

    def path_known(self, known: bool, now: float) -> None:
        """The address is configured, and no other is ever known."""

    def wake_at(self) -> float | None:
        """When to be woken: there is always a key to be made some time."""
        newest = self._newest
        if newest is None:
            return self._renew_at
        return min(self._renew_at, newest.install_at, newest.offer_at)

    def wake(self, now: float, wall: float) -> None:
        """Make the key, use it, announce it: what is due of these. Too early does no harm."""
        jump_s = self._jumps.advance(now, wall)
        if jump_s >= self._profile.clock_jump_s:
            # After a suspend the shrine's clock says that the key is older than we believe.
            self._events.append(ClockJumped(jump_s))
            self._renew_at = now
        if self._newest is None or now >= self._renew_at:
            self._newest = self._make_key(now)
            self._renew_at = now + self._profile.rekey_age_s
        if now >= self._newest.offer_at:
            self._announce(self._newest, now, wall)
        if now >= self._newest.install_at:
            self._install(self._newest)

    def _make_key(self, now: float) -> _Announced:
        random = self._suite.random
        last = self._newest.spi if self._newest else 0
        key = Secret(random(KEY_BYTES))
        spi = 0
        while spi in (0, last):
            spi = int.from_bytes(random(_SPI_BYTES), "big")
        ahead_s = self._behaviour.announce_ahead_s if self._sends else 0.0
        return _Announced(Spi(spi), Salt(random(_SALT_BYTES)), key, now, now + ahead_s, now)

    def _install(self, newest: _Announced) -> None:
        with newest.key.reveal() as key:
            self._commands.append(InstallSendKey(newest.spi, newest.salt, SessionKey(bytes(key))))
        self._events.append(SendKeyInstalled(newest.spi))
        newest.install_at = math.inf
        self._sends = True

    def _announce(self, newest: _Announced, now: float, wall: float) -> None:
        profile = self._profile
        try:
            with self._keys.for_offers(now).reveal() as base, newest.key.reveal() as key:
                body = KeyBody(self._id, newest.salt, SessionKey(bytes(key)))
                offer = KeyOffer(int(wall), newest.spi, body)
                self._datagrams.append(
                    seal_key_offer(self._suite, base, offer, profile.layouts.offer)
                )
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1
            newest.offer_at = now + profile.offer_interval_s
            return
        fresh = now < newest.made_at + self._behaviour.announce_ahead_s
        interval_s = profile.offer_interval_s if fresh else profile.key_offer_interval_s
        last_s = profile.key_offer_interval_s * (profile.key_offer_transmissions - 1)
        newest.offer_at = now + interval_s
        if newest.offer_at > newest.made_at + last_s:
            newest.offer_at = math.inf
