"""Which masks a tunnel's datagrams wear, and where their keys come from.

The keeper derives the key from what it reads (that of a shroud from the shared secret, towards
cathedrals from the cathedral secret; the one of release 0.9.20 has a file of its own) and sends it
to purgatory-tx and purgatory-rx, which put the mask on and take it off. They never learn a secret.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from pathlib import Path

from chancel.crypto.kdf import cathedral_shroud_key, peer_shroud_key, shroud_base_identity
from chancel.crypto.suite import Suite
from chancel.daemon.run import pack_address
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.encapsulation import Encapsulation
from chancel.protocol.mask_keys import MaskKeys
from chancel.protocol.masking import Mask
from chancel.protocol.messages import Command, InstallCathedralMask, InstallMask
from chancel.protocol.shroud import Shroud
from chancel.protocol.shroud_marks import Marks
from chancel.vault.files import SecretFile
from chancel.vault.secret import Secret
from chancel.wire.types import Address, Buffer

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
        self._cathedrals: Mask | None = None
        self._hosts: frozenset[bytes] = frozenset()

    def install(self, command: Command) -> None:
        """Use this key from now on; commands that are about none change nothing."""
        match command:
            case InstallMask(key):
                masked = Encapsulation if self._settings.encapsulation else Shroud
                self._peer = masked(key, self._suite)
            case InstallCathedralMask(key, identity, hosts):
                self._cathedrals = _CathedralMask(key, Marks(self._suite, identity), self._suite)
                self._hosts = frozenset(map(_mapped, hosts))

    def of(self, packed: bytes) -> Mask | None:
        """That of a packed address, which a datagram goes to or comes from; ``None`` if there is no
        key yet. A cathedral's datagrams are told by its host, whoever they are relayed for.
        """
        if self._settings.cathedral is None:
            return self._peer
        if self._cathedrals is None:
            return None  # nobody knows yet which hosts are cathedrals
        return self._cathedrals if packed[_HOST] in self._hosts else self._peer


class _CathedralMask:
    """A shroud that begins with a mark, by which a cathedral tells its clients apart."""

    def __init__(self, key: bytes, marks: Marks, suite: Suite) -> None:
        self._shroud = Shroud(key, suite)
        self._marks = marks

    def wrap(self, datagram: Buffer, limit: int) -> bytes:
        """As of a ``Mask``."""
        return self._shroud.wrap(datagram, limit, self._marks.current(time.monotonic()))

    def unwrap(self, datagram: Buffer) -> bytes:
        """As of a ``Mask``: what cathedrals send is random from the first byte on."""
        return self._shroud.unwrap(datagram)


def _mapped(host: bytes) -> bytes:
    """An IPv4 host as packed addresses have it."""
    return pack_address(Address(".".join(map(str, host)), 0))[_HOST]
