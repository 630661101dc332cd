"""Which masks a tunnel's datagrams wear, and where their keys come from.

The keeper derives the key from what it reads (that of a shroud from the shared secret, towards
cathedrals from the cathedral secret; the one of release 0.9.20 has a file of its own) and sends it
to purgatory-tx and purgatory-rx, which put the mask on and take it off. They never learn a secret.

When an ambry replaces the shared secret, the key between peers goes with it, and one end is always
the first. So the old mask stays for a while: to be taken off, and to be put on everything but
offers, which only a peer with the new secret understands, until the peer has shown that it has it.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from pathlib import Path

from chancel.crypto.kdf import cathedral_shroud_key, peer_shroud_key, shroud_base_identity
from chancel.crypto.suite import Suite
from chancel.daemon.hot.masking import RunEncapsulation, RunShroud
from chancel.daemon.run import pack_address
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.errors import RemoteProtocolError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.mask_keys import MaskKeys
from chancel.protocol.masking import Mask
from chancel.protocol.messages import Command, InstallCathedralMask, InstallMask
from chancel.protocol.shroud_marks import Marks
from chancel.protocol.switch import AMBRY_LIMIT_S
from chancel.vault.files import SecretFile
from chancel.vault.secret import Secret
from chancel.wire.offer import MAGIC
from chancel.wire.types import Address, Buffer, Flocks

_HOST = slice(0, 16)
"""Of a packed address, without the port: a cathedral has two."""


def is_masked(settings: TunnelSettings) -> bool:
    """Whether the tunnel has a mask: without its key nothing is sent and nothing understood."""
    return settings.shroud or bool(settings.encapsulation)


def sources(
    settings: TunnelSettings, suite: Suite, now: float
) -> tuple[SecretSource, MaskKeys | None]:
    """The source of the shared secret for the machine that makes the traffic keys, and of the
    mask's key, if there is a mask.
    """
    secret = SecretFile(Path(settings.secret))
    if settings.encapsulation:
        return secret, MaskKeys(SecretFile(Path(settings.encapsulation)), bytes, now)
    if not settings.shroud:
        return secret, None
    keys = MaskKeys(secret, lambda revealed: peer_shroud_key(suite, revealed, settings.flocks), now)
    return keys, keys


class CathedralMaskKeys:
    """The source of the mask towards cathedrals, in the keeper. ``None`` commands until there is a
    key; another one for a new key or new hosts.
    """

    def __init__(
        self, settings: TunnelSettings, cathedral: CathedralSettings, suite: Suite, now: float
    ) -> None:
        flocks = settings.flocks
        self._keys = MaskKeys(
            SecretFile(Path(cathedral.secret)),
            lambda revealed: cathedral_shroud_key(suite, revealed, flocks),
            now,
        )
        self._identity = shroud_base_identity(suite, flocks, cathedral.identity)
        self._key: Secret | None = None
        self._hosts: tuple[bytes, ...] = ()
        self._told: tuple[bytes, ...] | None = None

    def know(self, hosts: Iterable[str]) -> None:
        """These are all hosts of cathedrals."""
        self._hosts = tuple(ipaddress.IPv4Address(host).packed for host in hosts)

    def wake_at(self) -> float:
        """When to be woken: the past means at once."""
        return self._keys.wake_at()

    def wake(self, now: float) -> None:
        """Look at the secret, if it is time to."""
        self._keys.wake(now)
        while self._keys.next_event() is not None:
            pass  # the registration reads the same file, and says what is wrong with it

    def commands(self) -> list[InstallCathedralMask]:
        """Drain: the newest mask, if it is another than before."""
        for command in self._keys.commands():
            self._key, self._told = Secret(command.key), None
        if self._key is None or self._hosts == self._told:
            return []
        self._told = self._hosts
        with self._key.reveal() as key:
            return [InstallCathedralMask(bytes(key), self._identity, self._hosts)]


class Masks:
    """The masks of one tunnel, as the keeper sends them: the peer's, and that of its cathedrals."""

    def __init__(self, settings: TunnelSettings, suite: Suite) -> None:
        self._settings = settings
        self._suite = suite
        self._peer: Mask | None = None
        self._overlap: _Overlap | None = None
        self._cathedrals: Mask | None = None
        self._hosts: frozenset[bytes] = frozenset()

    def install(self, command: Command, now: float) -> None:
        """Use this key from now on; commands that are about none change nothing."""
        match command:
            case InstallMask(key):
                masked = RunEncapsulation if self._settings.encapsulation else RunShroud
                self._replace(masked(key, self._suite), now)
            case InstallCathedralMask(key, identity, hosts):
                marks = Marks(self._suite, identity)
                self._cathedrals = RunShroud(
                    key, self._suite, lambda: marks.current(time.monotonic())
                )
                self._hosts = frozenset(map(_mapped, hosts))

    def understood(self, at: float) -> None:
        """The keeper, which has the newest secret, understood an offer of the peer at ``at``."""
        if self._overlap is not None and at > self._overlap.since:
            self._overlap.peer_has_new = True

    def of(self, packed: bytes, now: float, *, offer: bool = False) -> Mask | None:
        """That of a packed address, which a datagram (an ``offer`` of ours?) goes to or comes from;
        ``None`` if there is no key yet. A cathedral's datagrams are told by its host, whoever they
        are relayed for.
        """
        if self._settings.cathedral is not None:
            if self._cathedrals is None:
                return None  # nobody knows yet which hosts are cathedrals
            if packed[_HOST] in self._hosts:
                return self._cathedrals
        overlap = self._overlap
        return self._peer if offer or overlap is None or overlap.is_over(now) else overlap

    def worn(self, packed: bytes, now: float, *, offer: bool = False) -> Mask | None:
        """:meth:`of` what is sent: of two masks the one that it wears."""
        mask = self.of(packed, now, offer=offer)
        return mask.worn if isinstance(mask, _Overlap) else mask

    def _replace(self, new: Mask, now: float) -> None:
        old, before, self._peer = self._peer, self._overlap, new
        cathedral = self._settings.cathedral
        if old is None or cathedral is None or not cathedral.kek:
            return
        until = now + AMBRY_LIMIT_S
        if before is not None and not before.is_over(now) and not before.peer_has_new:
            old, until = before.old, before.until
        self._overlap = _Overlap(self._settings, new, old, now, until)


class _Overlap:
    """The peer's masks while an ambry spreads, as one.

    A mask proves nothing, so what is under it decides which one it was: an offer, or traffic
    between our flocks. ``peer_has_new`` says whether the peer has the new one for certain.
    """

    def __init__(
        self, settings: TunnelSettings, new: Mask, old: Mask, now: float, until: float
    ) -> None:
        self.old = old
        self.since = now
        self.until = until
        self.peer_has_new = False
        self._new = new
        layout, flocks = settings.protocol.layouts.traffic, settings.flocks
        expected = layout.flock_bytes(Flocks(flocks.peer, flocks.own))
        self._flocks = expected
        self._flocks_at = slice(layout.header_bytes - len(expected), layout.header_bytes)

    def is_over(self, now: float) -> bool:
        """Whether the old mask has had its time."""
        return now >= self.until

    @property
    def worn(self) -> Mask:
        """The one that traffic to the peer wears now."""
        return self._new if self.peer_has_new else self.old

    def wrap(self, datagram: Buffer, limit: int) -> bytes:
        """As of a ``Mask``."""
        return self.worn.wrap(datagram, limit)

    def unwrap(self, datagram: Buffer) -> bytes:
        """As of a ``Mask``."""
        try:
            found = self._new.unwrap(datagram)
        except RemoteProtocolError:
            return self.old.unwrap(datagram)
        if self._recognises(found):
            self.peer_has_new = True
            return found
        try:
            other = self.old.unwrap(datagram)
        except RemoteProtocolError:
            return found
        return other if self._recognises(other) else found

    def _recognises(self, datagram: bytes) -> bool:
        return datagram[: len(MAGIC)] == MAGIC or datagram[self._flocks_at] == self._flocks


def _mapped(host: bytes) -> bytes:
    """An IPv4 host as packed addresses have it."""
    return pack_address(Address(".".join(map(str, host)), 0))[_HOST]
