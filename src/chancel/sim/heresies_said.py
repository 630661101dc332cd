"""Heresies about what a cathedral says to its clients: where their peers are, secrets, others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.outbox import Client
from chancel.protocol.cathedral.tunnels import Tunnel, peer_key
from chancel.sim.heretic import Heresy, Heretic, Passed, Said
from chancel.wire.ambry import Header
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, Answer
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.info import LOCAL_BYTES, AnswerBody
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.offer import BODY_BYTES
from chancel.wire.remembrance import SLOTS, RemembranceBody
from chancel.wire.types import Address

HASTY: Final = 10
"""Lies each tick, to those who did not ask."""

ODD_HOSTS: Final = (
    *("127.0.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1"),
    *("255.255.255.255", "169.254.169.254", "10.255.255.255"),
)

Lie = Callable[[Heretic, Client], Address | None]
"""The address that a client is told for its peer's; ``None``: six zeros."""


def a_victim(victims: Sequence[str]) -> Lie:
    """Some port of a machine that has nothing to do with it, another one each time."""
    return lambda heretic, _client: Address(
        heretic.rng.choice(victims), heretic.rng.randrange(1, 1 << 16)
    )


def one_victim(victims: Sequence[str]) -> Lie:
    """Always the same port of a machine that has nothing to do with it."""
    return lambda _heretic, _client: Address(victims[0], 53)


def an_odd_one(heretic: Heretic, client: Client) -> Address | None:
    """What no peer has, or what only the client's own network has."""
    del client
    if heretic.rng.random() < 0.1:
        return None
    return Address(heretic.rng.choice(ODD_HOSTS), heretic.rng.randrange(1, 1 << 16))


def its_own(heretic: Heretic, client: Client) -> Address:
    """The client's."""
    del heretic
    return client.address


def the_cathedral(heretic: Heretic, client: Client) -> Address:
    """None of the peer's: everything is relayed."""
    del client
    return heretic.address


def anybody(heretic: Heretic, client: Client) -> Address:
    """Another client, or another cathedral."""
    others = [each.route.destination for each in heretic.ends()]
    return heretic.rng.choice([client.address, *heretic.others, *others])


@dataclasses.dataclass
class Lies(Heresy):
    """Says wrongly where the peer is, when asked, and to one end alone if ``one_end``; ``hasty``
    ones don't wait to be asked. ``flags``: and that the peer proves paths, and is behind our NAT.
    """

    lie: Lie
    one_end: bool = False
    hasty: bool = False
    flags: bool = True

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        body = said.body
        if not isinstance(body, AnswerBody) or (self.one_end and said.client.identity % 2):
            return (said,)
        return (said._replace(body=self._body(heretic, said.client)),)

    def acts(self, heretic: Heretic) -> None:
        for client in map(heretic.client, heretic.ends() if self.hasty else ()):
            for _ in range(HASTY):
                heretic.tell(Said(client, self._body(heretic, client)))

    def _body(self, heretic: Heretic, client: Client) -> AnswerBody:
        local = heretic.rng.randbytes(LOCAL_BYTES)
        return AnswerBody(self.lie(heretic, client), local, self.flags, self.flags)


class Flags(Heresy):
    """Sets every flag, or clears it, as it likes."""

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        if not isinstance(said.body, AnswerBody):
            return (said,)
        same, proves = heretic.rng.random() < 0.5, heretic.rng.random() < 0.5
        body = dataclasses.replace(said.body, same_external_ipv4=same, peer_proves_paths=proves)
        return (said._replace(body=body),)


class HidesPeers(Heresy):
    """Says that it lives, and nothing of any peer; and carries nothing."""

    hides_peers = True

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        del heretic
        return () if isinstance(said.body, AnswerBody) else (said,)

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        del heretic
        return () if passed.relayed else (passed,)


class Silent(Heresy):
    """Carries, and says nothing."""

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        del heretic, said
        return ()


class Babbles(Heresy):
    """Says everything a hundred times."""

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        del heretic
        return [said] * 100


class WrongTimes(Heresy):
    """Says everything under a clock that goes forward and back, so most of it is refused: what is
    left says too seldom that the peer is there to be held to it."""

    hides_peers = True

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        ahead_s = heretic.rng.choice((-1e6, -60.0, -11.0, -9.0, 0.0, 9.0, 11.0, 60.0, 1e6))
        return (said._replace(ahead_s=ahead_s),)


class AnswersForTheDead(Heresy):
    """Says that everybody's peer is here, and replays what it once said."""

    def acts(self, heretic: Heretic) -> None:
        for client in map(heretic.client, heretic.ends()):
            heretic.tell(Said(client, AnswerBody(heretic.address)))
        for each in list(heretic.records)[-HASTY:]:
            heretic.emit(each)


@dataclasses.dataclass
class Names(Heresy):
    """Names these as all the cathedrals that there are, asked or not."""

    cathedrals: Callable[[Heretic], Sequence[Address]]

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        if not isinstance(said.body, RemembranceBody):
            return (said,)
        return (said._replace(body=self._body(heretic)),)

    def acts(self, heretic: Heretic) -> None:
        for client in map(heretic.client, heretic.ends()):
            heretic.tell(Said(client, self._body(heretic)))

    def _body(self, heretic: Heretic) -> RemembranceBody:
        return RemembranceBody(tuple(self.cathedrals(heretic))[:SLOTS])


def itself(heretic: Heretic) -> Sequence[Address]:
    """The heretic, as often as there is room."""
    return [heretic.address] * SLOTS


def victims_as_cathedrals(victims: Sequence[str]) -> Callable[[Heretic], Sequence[Address]]:
    """Ports of machines that have nothing to do with it."""
    return lambda heretic: [
        Address(heretic.rng.choice(victims), heretic.rng.randrange(1, 1 << 16))
        for _ in range(SLOTS)
    ]


def clients_as_cathedrals(heretic: Heretic) -> Sequence[Address]:
    """The clients, so each one's peer, too."""
    return [each.route.destination for each in heretic.ends()] or [heretic.address]


Forge = Callable[[Heretic, Client, Tunnel], AmbryBody | None]


@dataclasses.dataclass
class Ambries(Heresy):
    """Hands out other ambries than it should, to all or to ``one_end``; ``None``: none."""

    forge: Forge
    one_end: bool = False

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        del heretic
        return (said,) if self._spares(said.client) or not isinstance(said.body, AmbryBody) else ()

    def acts(self, heretic: Heretic) -> None:
        for end in heretic.ends():
            client = heretic.client(end)
            if not self._spares(client):
                body = self.forge(heretic, client, end)
                if body is not None:
                    heretic.tell(Said(client, body))

    def _spares(self, client: Client) -> bool:
        return self.one_end and client.identity % 2 == 0


def _entry(bundle: Bundle, client: Client, name: TunnelId) -> AmbryBody | None:
    wrapped = bundle.wrapped(client.flocks.own, name)
    return None if wrapped is None else AmbryBody(name, bundle.header, wrapped)


def withheld(heretic: Heretic, client: Client, end: Tunnel) -> AmbryBody | None:
    """None at all."""
    del heretic, client, end
    return None


def older(bundles: Sequence[Bundle]) -> Forge:
    """One of these bundles, each of which was good once."""

    def forge(heretic: Heretic, client: Client, end: Tunnel) -> AmbryBody | None:
        return _entry(heretic.rng.choice(bundles), client, end.id) if bundles else None

    return forge


def swapped(bundles: Sequence[Bundle]) -> Forge:
    """What is wrapped for the peer."""

    def forge(heretic: Heretic, client: Client, end: Tunnel) -> AmbryBody | None:
        del heretic
        name = TunnelId(int.from_bytes(peer_key(end.key)[16:], "big"))
        found = _entry(bundles[-1], client, name) if bundles else None
        return None if found is None else dataclasses.replace(found, tunnel=end.id)

    return forge


def altered(bundles: Sequence[Bundle]) -> Forge:
    """One with another header: another generation, life or seed."""

    def forge(heretic: Heretic, client: Client, end: Tunnel) -> AmbryBody | None:
        found = _entry(bundles[-1], client, end.id) if bundles else None
        if found is None:
            return None
        header, rng = found.header, heretic.rng
        header = rng.choice(
            (
                dataclasses.replace(header, expires=rng.getrandbits(16)),
                dataclasses.replace(header, generation=rng.getrandbits(32)),
                dataclasses.replace(header, seed=rng.randbytes(len(header.seed))),
            )
        )
        return dataclasses.replace(found, header=header)

    return forge


def invented(heretic: Heretic, client: Client, end: Tunnel) -> AmbryBody | None:
    """Random bytes, for this tunnel or another one."""
    del client
    rng = heretic.rng
    header = Header(rng.getrandbits(16), rng.getrandbits(32), rng.randbytes(64))
    name = rng.choice((end.id, TunnelId(rng.getrandbits(16))))
    return AmbryBody(name, header, rng.randbytes(48))


@dataclasses.dataclass
class Announces(Heresy):
    """Says of each device that it is in a liturgy, or isn't, as ``present`` has it."""

    present: Callable[[Heretic], bool]

    def says(self, heretic: Heretic, said: Said) -> Iterable[Said]:
        if not isinstance(said.body, LiturgyBody):
            return (said,)
        peers = bytes(self.present(heretic) for _ in range(PEERS_BYTES))
        return (said._replace(body=dataclasses.replace(said.body, peers=peers)),)


@dataclasses.dataclass(frozen=True, slots=True)
class Nonsense:
    """A body of any bytes. ``TYPE`` is of the instance."""

    TYPE: int
    data: bytes

    def encode(self) -> bytes:
        """The 442 bytes."""
        return self.data


class TalksNonsense(Heresy):
    """Says well sealed nonsense of every type, and bytes that are nothing."""

    def acts(self, heretic: Heretic) -> None:
        rng = heretic.rng
        for client in map(heretic.client, heretic.ends()):
            for type_ in (*range(10), 255):
                heretic.tell(Said(client, _as_answer(Nonsense(type_, rng.randbytes(BODY_BYTES)))))
            for body in (
                LiturgyBody(0, rng.getrandbits(16), rng.randbytes(PEERS_BYTES)),
                RemembranceBody(()),
                AnswerBody(None),
            ):
                heretic.tell(Said(client, body))
            for head in (CATHEDRAL.magic, b"", b"SACRAMNT", b"CIBORIUM", b"CATACOMB"):
                garbage = head + rng.randbytes(rng.randrange(1400))
                heretic.emit(Passed(garbage, client.address, client.flocks, client.identity))


def _as_answer(body: Nonsense) -> Answer:
    return body  # type: ignore[return-value]
