"""Whose mask a datagram wears, and which mask one for a client gets (cathedral section 9).

A client is known by the mark at a datagram's head, which it draws anew every five minutes. A new
one can only be found by trying all clients, one derivation each, so what is found is remembered:
by the mark, and by the address it came from, whose client is tried first next time. Where all had
to be tried in vain, that is the source's debt (``admission``).

A mark proves nothing: it can be made from public numbers. That a datagram makes sense under the
client's key does: under another one its source flock would be 56 random bits.

Datagrams of the federation need no search, as theirs are the only ones from those addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from chancel.crypto.kdf import (
    IDENTITY_BYTES,
    cathedral_shroud_key,
    shroud_base_identity,
    shroud_identity,
)
from chancel.crypto.kdf_cathedral import federation_shroud_key
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.admission import REFUSED, Admission
from chancel.protocol.cathedral.keys import KnownClients, SyncKeys
from chancel.protocol.cathedral.permits import without_domain
from chancel.protocol.shroud import MIN_BYTES, Shroud
from chancel.protocol.shroud_marks import MARK_BYTES
from chancel.vault.secret import Secret
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.types import Address, FlockId, Flocks

MAX_REMEMBERED: Final = 65_536
"""Marks, and as many addresses: 20 MB. A client has one of each, and an old one for some time."""

DERIVATIONS_PER_DEBT: Final = 3
"""How many identities are derived in the time that one unit of ``admission`` stands for."""

MAGICS: Final = frozenset({CATHEDRAL.magic, NAT.magic, FEDERATION.magic, MAGIC})

_MAGIC_BYTES = len(MAGIC)
_FLOCK_BYTES = 8
_TRAFFIC_FLOCK_AT = 16

K = TypeVar("K")
V = TypeVar("V")


class _Remembered(Generic[K, V]):
    """A table of limited size; what was used the longest ago goes first."""

    def __init__(self) -> None:
        self._table: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        value = self._table.pop(key, None)
        if value is not None:
            self._table[key] = value
        return value

    def put(self, key: K, value: V) -> None:
        self._table.pop(key, None)
        self._table[key] = value
        if len(self._table) > MAX_REMEMBERED:
            del self._table[next(iter(self._table))]

    def clear(self) -> None:
        self._table.clear()


class _Derived:
    """A mask under a key that is derived from some secret, anew for each other secret."""

    __slots__ = ("_derive", "_secret", "_shroud", "_suite")

    def __init__(self, suite: Suite, derive: Callable[[memoryview], bytes]) -> None:
        self._suite = suite
        self._derive = derive
        self._secret: Secret | None = None
        self._shroud: Shroud | None = None

    def under(self, secret: Secret) -> Shroud:
        if self._shroud is None or self._secret is not secret:
            with secret.reveal() as revealed:
                self._shroud = Shroud(self._derive(revealed), self._suite)
            self._secret = secret
        return self._shroud


class _Record:
    """A client, towards one flock; both flocks without domain."""

    __slots__ = ("base_identity", "flock", "identity", "mask")

    def __init__(self, suite: Suite, flocks: Flocks, identity: CathedralId) -> None:
        self.flock = flocks.own
        self.identity = identity
        self.base_identity = shroud_base_identity(suite, flocks, identity)
        self.mask = _Derived(suite, lambda secret: cathedral_shroud_key(suite, secret, flocks))


_Key = tuple[Flocks, CathedralId]
_Group = list[_Record]
"""Those with one base identity: its flocks are sorted, so one identity in two flocks that cross has
the same one in both, with different keys."""


class Shrouds:
    """The masks of all clients, and that of the federation."""

    def __init__(
        self, suite: Suite, keys: KnownClients, sync: SyncKeys, admission: Admission
    ) -> None:
        self._suite = suite
        self._keys = keys
        self._sync = sync
        self._admission = admission
        self._federation = _Derived(suite, lambda secret: federation_shroud_key(suite, secret))
        self._members: frozenset[Address] = frozenset()
        self._records: dict[_Key, _Record] = {}
        self._groups: dict[bytes, _Group] = {}
        self._by_mark: _Remembered[bytes, _Group] = _Remembered()
        self._by_source: _Remembered[Address, _Group] = _Remembered()

    def adopt(self, clients: Iterable[_Key], members: Iterable[Address]) -> None:
        """Know these clients and the addresses of the federation, and no others."""
        known = self._records
        self._records = {key: known.get(key) or _Record(self._suite, *key) for key in clients}
        self._groups = {}
        for record in self._records.values():
            self._groups.setdefault(record.base_identity, []).append(record)
        self._members = frozenset(members)
        self._by_mark.clear()
        self._by_source.clear()

    def unmasked_untrusted(self, datagram: bytes, source: Address, now: float) -> bytes:
        """Take the mask off; what is under it is as untrusted as before.

        Raises ``RemoteProtocolError``: ``TOO_SHORT``, ``BAD_MASK`` (it is the federation's, or a
        client's who was not meant), ``SHROUD_UNKNOWN``, ``SOURCE_LIMIT``, ``CLIENT_UNKNOWN`` (its
        keys are gone), ``NO_SECRET``.
        """
        if len(datagram) < MIN_BYTES:
            raise RemoteProtocolError(Drop.TOO_SHORT)
        if source in self._members:
            return self._federation.under(self._sync.secret(now)).unwrap(datagram)
        mark = datagram[:IDENTITY_BYTES]
        group = self._by_mark.get(mark)
        if group is not None:
            return self._unmask_untrusted(group, datagram)
        self._admission.admit(source, now)
        try:
            group = self._found(datagram, source)
            inner = self._unmask_untrusted(group, datagram)
        except RemoteProtocolError:
            cost = REFUSED + len(self._groups) / DERIVATIONS_PER_DEBT
            self._admission.failed(source, cost, now)
            raise
        self._by_mark.put(mark, group)
        self._by_source.put(source, group)
        # Whoever is searched for next is not found yet: those who are go to the end.
        base_identity = group[0].base_identity
        self._groups[base_identity] = self._groups.pop(base_identity, group)
        return inner

    def towards(
        self, destination: Address, flocks: Flocks, identity: CathedralId, now: float
    ) -> Shroud:
        """The mask for what goes to a cathedral, or to the client there, who has these flocks.

        Raises ``RemoteProtocolError``: ``CLIENT_UNKNOWN``, ``NO_SECRET``.
        """
        if destination in self._members:
            return self._federation.under(self._sync.secret(now))
        own, peer = (without_domain(flock) for flock in flocks)
        record = self._records.get((Flocks(own, peer), identity))
        if record is None:
            raise RemoteProtocolError(Drop.CLIENT_UNKNOWN)
        return self._mask(record)

    def _found(self, datagram: bytes, source: Address) -> _Group:
        id_, seed = datagram[:IDENTITY_BYTES], datagram[IDENTITY_BYTES:MARK_BYTES]
        last = self._by_source.get(source)
        if last is not None and shroud_identity(self._suite, last[0].base_identity, seed) == id_:
            return last
        for base_identity, group in self._groups.items():
            if shroud_identity(self._suite, base_identity, seed) == id_:
                return group
        raise RemoteProtocolError(Drop.SHROUD_UNKNOWN)

    def _unmask_untrusted(self, group: _Group, datagram: bytes) -> bytes:
        refusal = RemoteProtocolError(Drop.BAD_MASK)
        for record in group:
            try:
                inner = self._mask(record).unwrap(datagram)
            except RemoteProtocolError as error:
                refusal = error
                continue
            if without_domain(_source_flock(inner)) == record.flock:
                return inner
        raise refusal

    def _mask(self, record: _Record) -> Shroud:
        return record.mask.under(self._keys.secret(record.flock, record.identity))


def _source_flock(inner: bytes) -> FlockId:
    at = _MAGIC_BYTES if inner[:_MAGIC_BYTES] in MAGICS else _TRAFFIC_FLOCK_AT
    return FlockId(int.from_bytes(inner[at : at + _FLOCK_BYTES], "big"))
