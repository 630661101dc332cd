"""What a registration is told, and what it tells whoever joins it to the rest of a tunnel end."""

from __future__ import annotations

import dataclasses

from chancel.errors import LocalProtocolError
from chancel.protocol.base_keys import SecretSource
from chancel.vault.secret import Secret
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.types import Address, Flocks


@dataclasses.dataclass(frozen=True, slots=True)
class Registrant:
    """Who we are to cathedrals (cathedral section 2.1).

    ``flocks`` are with their domains; both are the same unless the peer is in another flock.
    ``secret`` (the cathedral secret, 32 bytes), ``cosk`` (64 bytes) and ``kek`` (32 bytes) are
    asked for when they are needed, so replacing a file takes effect. Without ``kek`` no ambries are
    wanted, with ``nat_port`` 0 there is no NAT detection, and ``remember`` says whether a cathedral
    may tell us of others.

    Raises ``LocalProtocolError`` where a number can't be right.
    """

    identity: CathedralId
    flocks: Flocks
    tunnel: TunnelId
    secret: SecretSource
    cosk: SecretSource
    kek: SecretSource | None = None
    nat_port: int = 0
    remember: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.identity < 1 << 32:
            raise LocalProtocolError("a cathedral identity is a number of 32 bits, not zero")
        if not all(0 < flock < 1 << 64 for flock in self.flocks):
            raise LocalProtocolError(
                "a flock is a number of 64 bits, not zero: give our own twice if the peer is in it"
            )
        if not 0 < self.tunnel < 1 << 16:
            raise LocalProtocolError("a tunnel is a number of 16 bits: our device, then the peer's")
        if not 0 <= self.nat_port < 1 << 16:
            raise LocalProtocolError("a port is a number of 16 bits, 0 for no NAT detection")


@dataclasses.dataclass(frozen=True, slots=True)
class AdoptSecret:
    """Keep this as the shared secret from now on (cathedral section 8.5).

    ``history`` is all of the file beside it, from which the next run knows what was replaced
    (``vault.ambries``). It goes first: with the secret alone on the disk an old one could return.
    Then call :meth:`Registration.adopted` with its generation, or :meth:`Registration.not_adopted`
    if it can't be kept: until one of them is called no other is handed out.
    """

    secret: Secret
    generation: int
    history: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class StoreRemembrance:
    """Write what a cathedral told of itself and others: ``data`` is all of the file, 192 bytes.

    It comes when there is something new, and once in a while again, so a write that failed needs no
    other remedy. What the file has now must not be lost by a failure.
    """

    cathedrals: tuple[Address, ...]
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class PeerAnnounced:
    """A cathedral says where to send what is for the peer: to the peer itself, or to the cathedral.

    It says so with every answer. Nobody but the peer can prove it. ``same_external_ipv4`` is a hint
    that both ends are behind one NAT, and can be wrong. ``peer_proves_paths``: the peer moves to no
    address that it has not proved, and acknowledges what proves ours.
    """

    address: Address
    at: float
    same_external_ipv4: bool = False
    peer_proves_paths: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralChosen:
    """From now on this is the current cathedral; ``None``: there is none yet.

    Unless it is ``trusted``, another cathedral named it, and it may be anybody: it is asked, and
    gets nothing else. Once it has answered the same comes again, and it is trusted.
    """

    address: Address | None
    at: float
    trusted: bool = True


RegistrationCommand = AdoptSecret | StoreRemembrance | PeerAnnounced | CathedralChosen
