"""The shrouds of a context: whose goes around a packet its selector says (kyrka section 5)."""

from __future__ import annotations

from collections.abc import Callable

from chancel.crypto.kdf import cathedral_shroud_key, peer_shroud_key, shroud_base_identity
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.shroud import Shroud
from chancel.protocol.shroud_marks import Marks
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Buffer, Flocks
from libkyrka.configuring import Ends
from libkyrka.constants import KYRKA_PACKET_SHROUD_CATHEDRAL, KYRKA_PACKET_SHROUD_PEER
from libkyrka.material import Kind, Material
from libkyrka.notices import Notice, log

Derive = Callable[[Suite, Buffer, Flocks], bytes]

SELECTORS = frozenset((KYRKA_PACKET_SHROUD_CATHEDRAL, KYRKA_PACKET_SHROUD_PEER))


class _Mask:
    """One shroud, whose key comes from a secret that may come late, and may be replaced."""

    __slots__ = ("_derive", "_flocks", "_kind", "_name", "_secret", "marks", "shroud")

    def __init__(
        self, name: str, kind: Kind, derive: Derive, flocks: Flocks, marks: Marks | None = None
    ) -> None:
        self.shroud: Shroud | None = None
        self.marks = marks
        self._name = name
        self._kind = kind
        self._derive = derive
        self._flocks = flocks
        self._secret: Secret | None = None

    def renew(self, material: Material, suite: Suite) -> Notice | None:
        secret = material.find(self._kind)
        if secret is None or secret is self._secret:
            return None
        with secret.reveal() as revealed:
            self.shroud = Shroud(self._derive(suite, revealed, self._flocks), suite)
        self._secret = secret
        return log(f"shroud {self._name} key created")


class Masks:
    """One mask towards the peer and, once a cathedral is configured, one towards the cathedral."""

    __slots__ = ("_masks", "_material", "_suite")

    def __init__(self, material: Material, suite: Suite, ends: Ends | None = None) -> None:
        flocks = NO_FLOCKS if ends is None else ends.flocks
        self._material = material
        self._suite = suite
        self._masks = {
            KYRKA_PACKET_SHROUD_PEER: _Mask("peer", Kind.SHARED, peer_shroud_key, flocks)
        }
        if ends is not None:
            marks = Marks(suite, shroud_base_identity(suite, flocks, ends.identity))
            self._masks[KYRKA_PACKET_SHROUD_CATHEDRAL] = _Mask(
                "cathedral", Kind.CATHEDRAL, cathedral_shroud_key, flocks, marks
            )

    @property
    def lacks_peer_key(self) -> bool:
        """Whether there was no secret yet from which to make the mask towards the peer."""
        return self._masks[KYRKA_PACKET_SHROUD_PEER].shroud is None

    def renew(self, selector: int) -> Notice | None:
        """Make a key if there is none for the secret that is loaded now; returns what to log."""
        mask = self._masks.get(selector)
        return None if mask is None else mask.renew(self._material, self._suite)

    def wrap(self, datagram: bytes, selector: int, limit: int, now: float) -> bytes | None:
        """Return the masked datagram, ``None`` without a key. A small one grows below ``limit``.

        What is for the cathedral begins with a mark by which it knows us.
        """
        mask = self._masks.get(selector)
        if mask is None or mask.shroud is None:
            return None
        mark = b"" if mask.marks is None else mask.marks.current(now)
        return mask.shroud.wrap(datagram, limit, mark)

    def unwrap_untrusted(self, datagram: bytes, selector: int) -> bytes:
        """Raises ``RemoteProtocolError``: ``TOO_SHORT``, ``NO_MASK`` (no key), ``BAD_MASK``."""
        mask = self._masks.get(selector)
        if mask is None or mask.shroud is None:
            raise RemoteProtocolError(Drop.NO_MASK)
        return mask.shroud.unwrap(datagram)
