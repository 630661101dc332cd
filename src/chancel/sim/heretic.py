"""A heretic: a cathedral that knows all that a real one knows, and does evil.

Inside is a real one, so a heretic has the keys, tables and bundles of its office. What it hears,
says and passes on goes through its *heresies*, each one way of being evil, which can be mixed.
Without any it is honest, and becomes so again when it repents.

What no cathedral has, no heresy has: the shared secrets of tunnels, the private halves of COSKs,
the KEKs of devices.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.keys import ClientKeys
from chancel.protocol.cathedral.outbox import Client, Outbox
from chancel.protocol.cathedral.settings import Options, Settings
from chancel.protocol.cathedral.tunnels import Tunnel
from chancel.protocol.cathedral_offers import seal_peer_info
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, Answer
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.types import Address, Buffer, Flocks

TICK_S: Final = 1.0
"""How often a heretic does something that nobody gave it cause to."""

MAX_RECORDS: Final = 512
"""What it remembers of everything that passed, to say it again."""

MAX_AT_ONCE: Final = 400
"""One datagram causes no more than these, however many heresies multiply them."""


class Passed(NamedTuple):
    """A datagram for a client, or for another cathedral, without its mask."""

    datagram: bytes
    address: Address
    flocks: Flocks
    identity: CathedralId
    delay_s: float = 0.0

    @property
    def relayed(self) -> bool:
        """Whether it is one that clients send each other."""
        return self.datagram[:8] not in (CATHEDRAL.magic, FEDERATION.magic)


class Said(NamedTuple):
    """An answer to a client, under a clock that is ahead of the true one."""

    client: Client
    body: Answer
    ahead_s: float = 0.0


class Heresy:
    """One way of being evil; this one changes nothing. Randomness comes from the heretic."""

    hides_peers = False
    """Whether a client can't tell it from an honest cathedral at which its peer is not."""

    @property
    def speaks_unasked(self) -> bool:
        """Whether there are words that are no answers."""
        return type(self).acts is not Heresy.acts

    def hears(self, heretic: Heretic, datagram: bytes, source: Address) -> bool:
        """Whether the cathedral inside gets to hear what came."""
        del heretic, datagram, source
        return True

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        """What is said instead of an answer."""
        del heretic
        return (said,)

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        """What is sent instead of something, be it relayed, passed on or an answer of our own."""
        del heretic
        return (passed,)

    def acts(self, heretic: Heretic) -> None:
        """Do something without a cause, each :data:`TICK_S`."""


class Heretic(Cathedral):
    """A cathedral with ``heresies``; in all other respects it is used as one."""

    def __init__(
        self,
        suite: Suite,
        options: Options,
        keys: ClientKeys,
        sync: SecretSource,
        settings: Settings,
        now: float,
        *,
        heresies: Sequence[Heresy],
        rng: random.Random,
        wall: float = 0.0,
    ) -> None:
        super().__init__(suite, options, keys, sync, settings, now)
        self.rng = rng
        self._suite = suite
        self.heresies = list(heresies)
        self.records: deque[Passed] = deque(maxlen=MAX_RECORDS)
        """What clients sent each other, as it was to be passed on."""
        self.heard: deque[bytes] = deque(maxlen=MAX_RECORDS)
        """What clients and cathedrals asked and told, bare."""
        self.now, self.wall = now, wall
        self._acts_at = now + TICK_S
        self._order = itertools.count()
        self._held: list[tuple[float, int, Passed]] = []
        self._left = MAX_AT_ONCE
        # All parts share this one outbox, so nothing leaves by another way.
        self._outbox.answer = self._say  # type: ignore[method-assign]
        self._outbox.forward = self._pass  # type: ignore[method-assign]

    @property
    def address(self) -> Address:
        """Its own."""
        return self._options.address

    @property
    def others(self) -> tuple[Address, ...]:
        """The other cathedrals of its federation."""
        return self._federation.members

    def repent(self) -> None:
        """Be honest from now on; what it held back is gone."""
        self.heresies.clear()
        self._held.clear()

    def ends(self) -> list[Tunnel]:
        """The ends that are registered here, in a stable order."""
        return [each for each in self.known() if not each.federated]

    def known(self) -> list[Tunnel]:
        """The ends that are registered anywhere, in a stable order."""
        return sorted(self._tunnels, key=lambda end: end.key)

    def client(self, end: Tunnel) -> Client:
        """Whoever registered it."""
        return self._requests.client(end)

    def tell(self, said: Said) -> None:
        """Say this to a client, unasked."""
        client, body, ahead_s = said
        Outbox.answer(self._outbox, client, body, self.now, self.wall + ahead_s)

    def emit(self, passed: Passed) -> None:
        """Send this as it is, now or later."""
        if self._left <= 0:
            return
        self._left -= 1
        if passed.delay_s > 0:
            at = self.now + passed.delay_s
            heapq.heappush(self._held, (at, next(self._order), passed))
        else:
            self._emit(passed)

    def tell_others(self, body: PeerInfoBody, end: Tunnel) -> None:
        """Say this of an end to all other cathedrals, under its flocks and identity."""
        base = self._federation.base(end.flocks.own, self.now)
        about = end.flocks, end.identity
        self.emit_federated(seal_peer_info(self._suite, base, *about, int(self.wall), body), end)

    def emit_federated(self, datagram: bytes, end: Tunnel | None = None) -> None:
        """Send this to all other cathedrals, about an end or nobody."""
        known = end or next(iter(self._tunnels), None)
        if known is not None:
            for address in self.others:
                self.emit(Passed(datagram, address, known.flocks, known.identity))

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        self._begin(now, wall)
        data = bytes(datagram)
        if all(heresy.hears(self, data, source) for heresy in self.heresies):
            super().receive(data, source, now, wall)

    def wake_at(self) -> float:
        held_at = self._held[0][0] if self._held else self._acts_at
        acts_at = self._acts_at if self.heresies else super().wake_at()
        return min(super().wake_at(), acts_at, held_at)

    def wake(self, now: float, wall: float) -> None:
        self._begin(now, wall)
        super().wake(now, wall)
        while self._held and self._held[0][0] <= now:
            self._emit(heapq.heappop(self._held)[2])
        if now >= self._acts_at:
            self._acts_at = now + TICK_S
            for heresy in self.heresies:
                heresy.acts(self)

    def _begin(self, now: float, wall: float) -> None:
        self.now, self.wall = now, wall
        self._left = MAX_AT_ONCE

    def _receive_request(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        self.heard.append(bytes(datagram))
        super()._receive_request(datagram, source, now, wall)

    def _receive_probe(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        self.heard.append(bytes(datagram))
        super()._receive_probe(datagram, source, now, wall)

    def _receive_federated(
        self, datagram: Buffer, source: Address, now: float, wall: float
    ) -> None:
        self.heard.append(bytes(datagram))
        super()._receive_federated(datagram, source, now, wall)

    def _say(self, client: Client, body: Answer, now: float, wall: float) -> None:
        del now, wall  # those of the datagram or the turn that is being dealt with
        words = [Said(client, body)]
        for heresy in self.heresies:
            words = [each for word in words for each in heresy.says(self, word)][:MAX_AT_ONCE]
        for word in words:
            self.tell(word)

    def _pass(
        self, datagram: bytes, address: Address, flocks: Flocks, identity: CathedralId, now: float
    ) -> None:
        del now
        passed = Passed(datagram, address, flocks, identity)
        if passed.relayed:
            self.records.append(passed)
        through = [passed]
        for heresy in self.heresies:
            through = [out for each in through for out in heresy.passes(self, each)][:MAX_AT_ONCE]
        for each in through:
            self.emit(each)

    def _emit(self, passed: Passed) -> None:
        datagram, address, flocks, identity, _ = passed
        try:
            Outbox.forward(self._outbox, datagram, address, flocks, identity, self.now)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1
