"""Looking up the names of cathedrals, for as long as a tunnel runs."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Final

from chancel.tunnel.cathedrals import is_numeric
from chancel.wire.types import Address

LOOK_AGAIN_S: Final = 60.0
"""Between two lookups: an operator who moves a cathedral waits no longer."""
RETRY_S: Final = 5.0
"""After one in which some name had no address."""
MAX_ADDRESSES: Final = 8
"""Of one name. Whoever answers for it could name any number."""


class Names:
    """Looks up hosts, and tells their addresses in the order of the hosts.

    ``tell`` is called with all addresses that are known by now, after each lookup.
    """

    def __init__(
        self,
        targets: tuple[tuple[str, int], ...],
        tell: Callable[[tuple[Address, ...]], None],
    ) -> None:
        self.problem: str | None = None
        """Why a name had no address at the last lookup, for people."""
        self._targets = targets
        self._tell = tell
        self._wanted = asyncio.Event()

    def look(self) -> None:
        """Look again now: something that answered before doesn't."""
        self._wanted.set()

    async def run(self) -> None:
        """Look up again and again; at once where no host is a name."""
        if all(is_numeric(host) for host, _ in self._targets):
            return
        while True:
            self._wanted.clear()
            found = {target: await self._lookup(*target) for target in self._targets}
            missing = [host for (host, _), addresses in found.items() if not addresses]
            self.problem = f"{missing[0]} has no address" if missing else None
            self._tell(tuple(dict.fromkeys(itertools.chain.from_iterable(found.values()))))
            try:
                async with asyncio.timeout(RETRY_S if missing else LOOK_AGAIN_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _lookup(self, host: str, port: int) -> list[Address]:
        if is_numeric(host):
            return [Address(host, port)]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM
            )
        except (OSError, UnicodeError):  # no such name, no DNS, or no name at all
            return []
        return [Address(str(place[0]), port) for *_, place in found][:MAX_ADDRESSES]
