"""Which offers are worth the work of opening them, by what came of earlier ones from there.

What succeeds costs its source nothing, so that any number of clients may share one address behind a
carrier's NAT. What fails is a debt of its source, which time pays back; a source in too much debt
is refused before any key is involved. Refusals that cost nothing (an unknown flock or client) are
no debt.

Sources can be forged. So an address at which a client is registered has a debt of its own, which
its neighbours, and strangers who name its host, can't run up; and what strangers cost altogether is
limited, so that a flood from everywhere leaves the time for whoever is registered. A stranger who
forges the very address of a client, and knows its flock and identity, can keep that one out for as
long as he goes on: he saw its packets, and could have dropped them.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from chancel.errors import RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.types import Address

MAX_SOURCES: Final = 4096
"""Sources in debt: half a megabyte. The one that failed the longest ago is forgotten first."""

MAX_DEBT: Final = 2048.0
DEBT_PER_S: Final = 512.0
"""What a source may owe, and what is paid back: a device whose clock is wrong has 2 refused offers
for each of its tunnels every 5 seconds, so that 160 of its tunnels still get the true reason."""

MAX_DEBT_OF_STRANGERS: Final = 4096.0
STRANGERS_PER_S: Final = 4096.0
"""The same for all together that are not registered: 512 signatures a second, some 7% of a core, as
a cathedral may not have a whole one. Refusing what exceeds it costs 7 microseconds each."""

FORGED: Final = 1.0
"""What a bad tag costs: two derivations of keys, a dozen microseconds."""

REFUSED: Final = 8.0
"""What an offer costs that is refused later: a signature was checked, a hundred microseconds."""


class Registered:
    """Addresses at which somebody is registered, and how often."""

    def __init__(self) -> None:
        self._counts: Counter[Address] = Counter()

    def __contains__(self, address: Address) -> bool:
        return address in self._counts

    def add(self, address: Address) -> None:
        """Somebody more is there."""
        self._counts[address] += 1

    def remove(self, address: Address) -> None:
        """One of those is gone."""
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]


class _Debt:
    """An amount that time pays back."""

    __slots__ = ("_amount", "_at", "_per_s")

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._amount = 0.0
        self._at = now

    def amount(self, now: float) -> float:
        self._amount = max(0.0, self._amount - max(0.0, now - self._at) * self._per_s)
        self._at = now
        return self._amount

    def add(self, cost: float, now: float) -> None:
        self._amount = self.amount(now) + cost


class Admission:
    """Decides before an offer is opened, and learns what it cost."""

    def __init__(self, registered: Registered, now: float) -> None:
        self._registered = registered
        self._debts: dict[Address | str, _Debt] = {}
        self._strangers = _Debt(STRANGERS_PER_S, now)

    def admit(self, source: Address, now: float) -> None:
        """Raise ``RemoteProtocolError`` (``SOURCE_LIMIT``) where too much came to nothing."""
        known = source in self._registered
        if not known and self._strangers.amount(now) >= MAX_DEBT_OF_STRANGERS:
            raise RemoteProtocolError(Drop.SOURCE_LIMIT)
        debt = self._debts.get(source if known else source.host)
        if debt is not None and debt.amount(now) >= MAX_DEBT:
            raise RemoteProtocolError(Drop.SOURCE_LIMIT)

    def failed(self, source: Address, cost: float, now: float) -> None:
        """An offer from there, which was admitted, came to nothing."""
        known = source in self._registered
        if not known:
            self._strangers.add(cost, now)
        key = source if known else source.host
        debt = self._debts.pop(key, None) or _Debt(DEBT_PER_S, now)
        debt.add(cost, now)
        self._debts[key] = debt
        if len(self._debts) > MAX_SOURCES:
            del self._debts[next(iter(self._debts))]
