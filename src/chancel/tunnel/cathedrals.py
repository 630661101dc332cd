"""What a tunnel is told of the network of cathedrals by which it finds its peer."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chancel.errors import LocalProtocolError
from chancel.protocol.cathedral_offers import COSK_BYTES
from chancel.protocol.registration_types import Registrant
from chancel.protocol.session import CathedralSettings
from chancel.tunnel.files import replace_file
from chancel.tunnel.keys import Key, key_source
from chancel.vault.ambries import NO_AMBRIES, beside, recall
from chancel.vault.files import SECRET_BYTES
from chancel.vault.secret import Secret
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.remembrance import TABLE_BYTES, RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks

MAX_NAMES: Final = 32
"""Cathedrals of a configuration: as many as one of them can tell of."""

_OPERATOR: Final = "whoever runs the cathedrals hands it out"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cathedrals:
    """Servers that find the peer and relay for it, and who we are to them.

    ``addresses`` are ``host:port``; names are looked up by the tunnel, again and again, so it may
    begin without DNS. What an operator gives to a device: its ``identity`` (32 bits), its
    ``secret`` (32 bytes) and its ``cosk`` (64 bytes), which signs. ``flock`` is the network (64
    bits, the lowest 8 being its domain), ``peer_flock`` that of the peer if it is in another, and
    ``tunnel`` names the two devices: ours in the upper byte, the peer's in the lower.

    With ``nat_port``, the operator's second port, the peers may find a way without the relay.
    With ``kek``, the device's own key (32 bytes), the shared secret comes from the cathedral,
    wrapped so that it can't read it; then the tunnel needs none to begin with, and where its
    secret is a ``Path`` the file is replaced. ``remembrance`` is a file of cathedrals that others
    told of; without it they are not asked. ``known_peers`` are addresses that the peer had
    (:attr:`Tunnel.known_peers`), to be tried where no cathedral lives.

    Keys are given as a tunnel's secret is. Numbers and texts that can't be right raise
    ``LocalProtocolError``.
    """

    addresses: tuple[str, ...]
    identity: int
    flock: int
    tunnel: int
    secret: Key = dataclasses.field(repr=False)
    cosk: Key = dataclasses.field(repr=False)
    kek: Key | None = dataclasses.field(default=None, repr=False)
    peer_flock: int | None = None
    nat_port: int = 0
    remembrance: Path | None = None
    known_peers: tuple[Address, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.addresses, str):
            raise LocalProtocolError("addresses is a tuple of texts, host:port each, not one text")
        if not self.addresses and self.remembrance is None:
            raise LocalProtocolError("no cathedral is named: give its address, host:port")
        if len(self.addresses) > MAX_NAMES:
            raise LocalProtocolError(f"give at most {MAX_NAMES} cathedrals: {len(self.addresses)}")
        targets_of(self)
        _registrant(self)


def targets_of(cathedrals: Cathedrals) -> tuple[tuple[str, int], ...]:
    """Hosts, which may be names, and ports. Raises ``LocalProtocolError``."""
    return tuple(_target(address) for address in cathedrals.addresses)


def settings_of(cathedrals: Cathedrals, shared: Key | None) -> CathedralSettings:
    """The same as the protocol takes it; ``shared`` is the tunnel's secret as it was given.

    The files of remembrance and of ambries are read now. Raises ``VaultError`` where others could
    have changed the latter.
    """
    remembrance = cathedrals.remembrance
    kept = shared if cathedrals.kek is not None and isinstance(shared, Path) else None
    return CathedralSettings(
        _registrant(cathedrals),
        numeric(targets_of(cathedrals)),
        remembered=() if remembrance is None else remembered(remembrance),
        known_peers=cathedrals.known_peers,
        ambries=recall(kept) if kept is not None else NO_AMBRIES,
        keep_secret=None if kept is None else _keeper(kept),
        keep_ambries=None if kept is None else lambda data: replace_file(beside(kept), data),
        keep_remembrance=None
        if remembrance is None
        else lambda data: replace_file(remembrance, data),
    )


def _registrant(cathedrals: Cathedrals) -> Registrant:
    own, kek = FlockId(cathedrals.flock), cathedrals.kek
    peer = own if cathedrals.peer_flock is None else FlockId(cathedrals.peer_flock)
    return Registrant(
        CathedralId(cathedrals.identity),
        Flocks(own, peer),
        TunnelId(cathedrals.tunnel),
        key_source(cathedrals.secret, "cathedral secret", SECRET_BYTES, _OPERATOR),
        key_source(cathedrals.cosk, "COSK", COSK_BYTES, _OPERATOR),
        None if kek is None else key_source(kek, "KEK", SECRET_BYTES, _OPERATOR),
        cathedrals.nat_port,
        cathedrals.remembrance is not None,
    )


def numeric(targets: tuple[tuple[str, int], ...]) -> tuple[Address, ...]:
    """Those that need no lookup."""
    return tuple(Address(host, port) for host, port in targets if is_numeric(host))


def is_numeric(host: str) -> bool:
    """Whether a host is an IPv4 address, the only ones that cathedrals tell their clients of."""
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def remembered(path: Path) -> tuple[Address, ...]:
    """The cathedrals in a file of remembrance; none where it is not there yet, or unfinished."""
    try:
        data = path.read_bytes()[:TABLE_BYTES]
    except OSError:
        return ()
    if len(data) < TABLE_BYTES:
        return ()
    return RemembranceBody.decode_table_untrusted(data).cathedrals


def _keeper(path: Path) -> Callable[[Secret], None]:
    def keep(secret: Secret) -> None:
        with secret.reveal() as data:
            replace_file(path, data)

    return keep


def _target(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise LocalProtocolError(f"{address!r} is no address of a cathedral: give host:port")
    if ":" in host:
        raise LocalProtocolError(f"{address}: cathedrals are reached by IPv4: give such an address")
    return host, int(port)
