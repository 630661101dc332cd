"""What goes out: a cathedral's own offers, sealed and filled; and what it relays. All masked."""

from __future__ import annotations

import dataclasses

from chancel.crypto.suite import Suite
from chancel.protocol.cathedral.settings import Options
from chancel.protocol.cathedral.shrouds import Shrouds
from chancel.protocol.cathedral_offers import seal_answer
from chancel.protocol.tfc import Tfc
from chancel.wire.cathedral import Answer
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, Flocks


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """Whoever made an authentic request, and is answered: to ``address``, under ``base``.

    ``base`` is a ``client_offer_base``. ``flocks`` are its own and its peer's.
    """

    flocks: Flocks
    identity: CathedralId
    address: Address
    base: bytes = dataclasses.field(repr=False)


class Outbox:
    """Datagrams and where they go, until they are drained."""

    def __init__(self, suite: Suite, options: Options, shrouds: Shrouds | None) -> None:
        self._suite = suite
        self._mtu = options.mtu
        self._tfc = Tfc(options.mtu) if options.tfc else None
        self._shrouds = shrouds
        self._queue: list[tuple[bytes, Address]] = []

    def answer(self, client: Client, body: Answer, now: float, wall: float) -> None:
        """Seal an answer and send it. Raises ``RemoteProtocolError`` as :meth:`forward`."""
        offer = seal_answer(self._suite, client.base, client.identity, int(wall), body)
        self.send(offer, client.address, client.flocks, client.identity, now)

    def send(
        self, offer: bytes, address: Address, flocks: Flocks, identity: CathedralId, now: float
    ) -> None:
        """Send an offer of our own, which is filled if ours are to be of one size."""
        if self._tfc is not None:
            offer = self._tfc.fill_offer(offer, self._suite)
        self.forward(offer, address, flocks, identity, now)

    def forward(
        self, datagram: bytes, address: Address, flocks: Flocks, identity: CathedralId, now: float
    ) -> None:
        """Send a datagram as it is to the client with these flocks, or to a cathedral.

        Raises ``RemoteProtocolError``, with a shroud: ``CLIENT_UNKNOWN``, ``NO_SECRET``.
        """
        if self._shrouds is not None:
            mask = self._shrouds.towards(address, flocks, identity, now)
            datagram = mask.wrap(datagram, self._mtu)
        self._queue.append((datagram, address))

    def drain(self) -> list[tuple[bytes, Address]]:
        """All there is, in order."""
        queue, self._queue = self._queue, []
        return queue
