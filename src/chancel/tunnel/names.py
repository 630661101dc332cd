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

    ``tell`` is called with all addresses that are known by now, after each lookup of a host that
    had any. One that has none keeps those that it had: that it can't be asked says nothing of them.
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
        self._found: dict[tuple[str, int], list[Address]] = {
            (host, port): [Address(host, port)] if is_numeric(host) else []
            for host, port in targets
        }
        self._wanted = asyncio.Event()

    def look(self) -> None:
        """Look again now: something that answered before doesn't."""
        self._wanted.set()

    async def run(self) -> None:
        """Look up again and again; at once where no host is a name."""
        names = [target for target in self._found if not is_numeric(target[0])]
        while names:
            self._wanted.clear()
            # All at the same time: a server of one domain that is silent holds up no other.
            missing = list(filter(None, await asyncio.gather(*map(self._look_up, names))))
            self.problem = f"{missing[0]} has no IPv4 address" if missing else None
            try:
                async with asyncio.timeout(RETRY_S if missing else LOOK_AGAIN_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _look_up(self, target: tuple[str, int]) -> str | None:
        """Look up one and tell of it; the host, if it has no address."""
        host, port = target
        loop = asyncio.get_running_loop()
        try:
            places = await loop.getaddrinfo(
                host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM
            )
        except (OSError, UnicodeError):  # no such name, no DNS, or no name at all
            return host
        self._found[target] = [Address(str(place[0]), port) for *_, place in places][:MAX_ADDRESSES]
        self._tell(tuple(dict.fromkeys(itertools.chain.from_iterable(self._found.values()))))
        return None
