"""Where machines stand in the lab: the public network, and places behind routers of the matrix."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

from chancel.lab.lab import Host, Lab, Network
from chancel.sim.models import LinkModel
from chancel.sim.places import Place

PUBLIC: Final = "203.0.113.0/24"
MAX_NETWORKS: Final = 255
"""Behind all routers together: each is a 10.n.0.0/24."""


class Spot(NamedTuple):
    """Where a machine is: its own address, the one that others see, and its interface there."""

    address: str
    public: str
    interface: str


class _Inside:
    """What is behind a router: a network, and how many joined it."""

    def __init__(self, network: Network, number: int, public: str) -> None:
        self.network = network
        self.public = public
        self._number = number
        self._members = 1

    def next_address(self) -> str:
        self._members += 1
        return f"10.{self._number}.0.{self._members}"


class Neighbourhood:
    """A lab's public network and the networks behind it. ``model`` is that of all wires."""

    def __init__(self, lab: Lab, model: LinkModel | None = None) -> None:
        self.public = lab.network(PUBLIC, model)
        self._lab = lab
        self._model = model
        self._count = 0
        self._shared: dict[Hashable, _Inside] = {}

    def settle(self, host: Host, here: Place, public: str, model: LinkModel | None = None) -> Spot:
        """Put a host into a place, whose outermost router, or itself, gets the public address;
        ``model``: of the last wire to it, if another than everywhere."""
        if not here.routers:
            return Spot(public, public, self.public.join(host, public))
        inside = None
        for depth in range(len(here.routers)):
            inside = self._inside(here, depth, inside, public, model)
        assert inside is not None
        address = inside.next_address()
        return Spot(address, inside.public, inside.network.join(host, address))

    def _inside(
        self,
        here: Place,
        depth: int,
        outside: _Inside | None,
        public: str,
        model: LinkModel | None,
    ) -> _Inside:
        """What is behind the router at this depth, which is set up unless neighbours share it."""
        key = here, depth
        if depth < here.common and key in self._shared:
            return self._shared[key]
        self._count += 1
        number = self._count
        last = depth == len(here.routers) - 1
        network = self._lab.network(f"10.{number}.0.0/24", (last and model) or self._model)
        if outside is None:
            leg = self.public, public
        else:
            leg, public = (outside.network, outside.next_address()), outside.public
        self._lab.router((network, f"10.{number}.0.1"), leg, here.routers[depth])
        made = _Inside(network, number, public)
        if depth < here.common:
            self._shared[key] = made
        return made
