"""Stories of two ends, and how the library's tunnels play them in the simulator."""

from __future__ import annotations

import dataclasses
import enum
import random
from collections import defaultdict

from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.events import Event
from chancel.protocol.session import SessionSettings
from chancel.sim.clock import VirtualClock
from chancel.sim.ledger import Ledger
from chancel.sim.models import LinkModel
from chancel.sim.network import Network
from chancel.sim.trace import Trace
from chancel.sim.tunnel_node import TunnelNode
from chancel.vault.secret import Secret
from chancel.wire.types import Address
from tests.e2e.protocol_steps import Line, lines_of

LEFT, RIGHT = "left", "right"

LINK = LinkModel(latency_s=0.02)


class Act(enum.Enum):
    """What happens to the ends from outside."""

    START_LEFT = enum.auto()
    START_RIGHT = enum.auto()
    KILL_LEFT = enum.auto()
    CUT = enum.auto()
    MEND = enum.auto()


@dataclasses.dataclass(frozen=True)
class Story:
    """Two ends, and what happens to them when, in seconds; it is over ``rest_s`` after the last
    act.

    ``calls``: whether left and right know the other's address, and don't wait to be called.
    ``right_skew_s``: by how much right's wall clock is ahead. ``library``: in the lab, too, right
    is a tunnel of the library, and no daemon. ``endless``: the ends go on, so only what they did
    until then is compared.
    """

    number: int
    acts: tuple[tuple[float, Act], ...]
    rest_s: float = 5.0
    calls: tuple[bool, bool] = (True, True)
    right_skew_s: float = 0.0
    one_secret: bool = True
    library: bool = False
    endless: bool = False

    @property
    def network(self) -> str:
        """A network of its own."""
        return f"192.168.{210 + self.number}.0/24"

    @property
    def addresses(self) -> tuple[Address, Address]:
        """Left's and right's."""
        left, right = (Address(f"192.168.{210 + self.number}.{end}", 2300) for end in (1, 2))
        return left, right

    def configured(self, side: int) -> Address | None:
        """Where an end (0: left) calls its peer, if it does."""
        return self.addresses[1 - side] if self.calls[side] else None


_BOTH = ((0.0, Act.START_LEFT), (0.4, Act.START_RIGHT))

STORIES = {
    "both begin": Story(0, _BOTH),
    "right begins late": Story(1, ((0.0, Act.START_LEFT), (5.4, Act.START_RIGHT))),
    "right waits to be called": Story(
        2, ((0.0, Act.START_RIGHT), (0.4, Act.START_LEFT)), calls=(True, False)
    ),
    "left calls before right waits": Story(3, _BOTH, calls=(True, False)),
    "the secrets differ": Story(4, _BOTH, rest_s=20.0, one_secret=False, endless=True),
    "right's clock is wrong": Story(
        5, _BOTH, rest_s=20.0, right_skew_s=43.0, library=True, endless=True
    ),
    "right is of the library": Story(6, _BOTH, library=True),
    "left is killed and comes back": Story(
        7, (*_BOTH, (4.0, Act.KILL_LEFT), (6.0, Act.START_LEFT))
    ),
    "the network is silent, and is back": Story(8, (*_BOTH, (4.0, Act.CUT), (38.6, Act.MEND))),
}


class _Events(Trace):
    def __init__(self) -> None:
        super().__init__()
        self.happened: dict[str, list[Event]] = defaultdict(list)

    def record(self, at: float, node: str, event: object) -> None:
        super().record(at, node, event)
        assert isinstance(event, Event)
        self.happened[node].append(event)


class _Stage:
    """Two machines of the simulator."""

    def __init__(self, story: Story, behaviour: Behaviour, link: LinkModel, seed: int) -> None:
        self.clock, self.events = VirtualClock(), _Events()
        self.ledger = Ledger(self.clock)
        self._rng = random.Random(seed)
        self._network = Network(self.clock, self._rng)
        self._secrets = [Secret(self._rng.randbytes(32)) for _ in range(2)]
        self._link, self._behaviour = link, behaviour
        self.left, self.right = (self._machine(story, side) for side in (0, 1))

    def perform(self, act: Act) -> None:
        match act:
            case Act.START_LEFT:
                self.left.start()
            case Act.START_RIGHT:
                self.right.start()
            case Act.KILL_LEFT:
                self.left.stop()
            case Act.CUT:
                self._network.refuse = lambda *_: True
            case Act.MEND:
                self._network.refuse = None

    def _machine(self, story: Story, side: int) -> TunnelNode:
        peer = story.configured(side)
        secret = self._secrets[0 if story.one_secret else side]
        return TunnelNode(
            (LEFT, RIGHT)[side],
            self._network,
            self.ledger,
            self.events,
            self._rng,
            address=story.addresses[side],
            settings=SessionSettings(peer, behaviour=self._behaviour),
            secret=lambda: secret,
            uplink=dataclasses.replace(self._link),
            skew_s=story.right_skew_s if side == 1 else 0.0,
            deliver=lambda _: None,
        )


def play(
    story: Story, behaviour: Behaviour = CHANCEL, link: LinkModel = LINK, seed: int = 1
) -> dict[str, list[Line]]:
    """The lines of each end's trace."""
    stage = _Stage(story, behaviour, link, seed)
    begin, end = (limit(at for at, _ in story.acts) for limit in (min, max))
    for at, act in story.acts:
        stage.clock.call_at(at - begin, stage.perform, act)
    stage.clock.run_until(end - begin + story.rest_s)
    for machine in (stage.left, stage.right):
        machine.stop()
    assert not stage.ledger.violations
    return {name: lines_of(stage.events.happened[name]) for name in (LEFT, RIGHT)}
