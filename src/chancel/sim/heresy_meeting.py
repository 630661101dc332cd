"""A meeting at cathedrals of which some are heretics, and all that must hold all the same."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.path_trial import AT_ONCE_S, OPENER
from chancel.protocol.registration_events import AmbryAdopted
from chancel.protocol.registration_pace import INFO_SPACING_S
from chancel.protocol.session import SessionEvent
from chancel.sim.cathedral_node import CathedralNode
from chancel.sim.heresies import VICTIMS, made
from chancel.sim.heretic import Heretic
from chancel.sim.ledger import Rule
from chancel.sim.machine import PLAINTEXT_MARK, Machine
from chancel.sim.meeting import BUNDLE_DAYS, Gathering, MeetingScenario
from chancel.sim.node import Node
from chancel.sim.tunnel_node import TunnelNode
from chancel.vault.secret import Secret
from chancel.wire.cathedral import CATHEDRAL, NAT
from chancel.wire.types import Address

HOLDS: Final = frozenset(
    {Rule.NONCE_TWICE, Rule.SEND_KEY_AGE, Rule.RECEIVE_KEY_AGE, Rule.REPEATED, Rule.PLAINTEXT}
)
"""The rules that hold whatever a cathedral does. It can have packets be lost, and keys unused."""

OLD_BUNDLES: Final = 3
"""A heretic has so many from before the devices began."""

ROUNDING: Final = 6
"""More datagrams than their rate allows: those of the first moment, and of another life."""


class Witness(Machine):
    """A machine that notes what it sends, what it gets, and which secrets it takes."""

    rolls: dict[int, int]
    """Which bundle each generation is of, as they were made."""
    keeps_files = True
    """Whether a restart is no excuse for taking an old one back."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.sent: set[bytes] = set()
        self.got: list[bytes] = []
        self.taken_back: list[str] = []
        self._adopted: list[int] = []

    def start(self) -> None:
        if not self.keeps_files:
            self._adopted = []
        super().start()

    def send(self, payload: bytes) -> bool:
        self.sent.add(payload)
        return super().send(payload)

    def _received(self, payload: bytes) -> None:
        super()._received(payload)
        self.got.append(payload.removeprefix(PLAINTEXT_MARK))

    def _happened(self, event: SessionEvent) -> None:
        super()._happened(event)
        if isinstance(event, AmbryAdopted):
            number = self.rolls[event.generation]
            is_other = number not in self._adopted[-1:]  # or it is that of before a restart
            if is_other and number in self._adopted and number < max(self._adopted):
                self.taken_back.append(f"bundle {number} after {max(self._adopted)}")
            self._adopted.append(number)


class WitnessNode(Witness, Node):
    """A session that is watched."""


class WitnessTunnelNode(Witness, TunnelNode):
    """A tunnel of the library that is watched."""

    keeps_files = False


class Suffered(Counter[str]):
    """What victims got of one device, by kind."""


class HeresyGathering(Gathering[Any]):
    """Two devices, and cathedrals that may be heretics: :meth:`corrupt` and :meth:`repent`."""

    def __init__(self, scenario: MeetingScenario, keep_trace: bool = False) -> None:
        self.bundles: list[Bundle] = []
        self.rolls: dict[int, int] = {}
        self.suffered: dict[str, Suffered] = {}
        self.leaks: list[str] = []
        self._secrets: list[bytes] = []
        super().__init__(scenario, keep_trace)
        for _ in range(OLD_BUNDLES if scenario.ambry else 0):
            self.roll()
        for node in self.cathedrals:
            node.make = functools.partial(self._heretic, node)
        for device in self.devices:
            device.rolls = self.rolls
        self.heretics: dict[Address, tuple[str, ...]] = {}
        self._note(self._shared, *[Secret(kek) for kek in self._keks])
        self.network.refuse = self._watch

    def corrupt(self, nodes: Collection[CathedralNode], names: Sequence[str]) -> None:
        """These have such heresies from now on, also after a restart."""
        for node in nodes:
            self.heretics[node.address] = tuple(names)
            if isinstance(node.cathedral, Heretic):
                node.cathedral.heresies = made(names, self.bundles)

    def repent(self) -> None:
        """All are honest from now on."""
        self.heretics.clear()
        for node in self.cathedrals:
            if isinstance(node.cathedral, Heretic):
                node.cathedral.repent()

    def problems(self) -> list[str]:
        """What must not be, in words."""
        found = [str(each) for each in self.ledger.violations if each.rule in HOLDS]
        found += self.leaks
        for device, peer in zip(self.devices, self.devices[::-1], strict=True):
            found += [f"{device.name} took back {each}" for each in device.taken_back]
            forged = [each for each in device.got if each not in peer.sent]
            if forged:
                found.append(f"{device.name} got {len(forged)} packets that its peer never sent")
            if len(device.got) != len(set(device.got)):
                found.append(f"{device.name} got a packet twice")
            found += self._excesses(device)
        return found

    def _excesses(self, device: Witness) -> list[str]:
        """Whether victims got more of a device than a lie may cost them."""
        suffered, seconds = self.suffered.get(device.address.host, Suffered()), self.clock.now
        beats, questions = seconds / AT_ONCE_S, 3 * seconds / INFO_SPACING_S
        most = {"heartbeats": beats, "questions": questions, "masked": beats + questions}
        return [
            f"victims got {count} {kind} of {device.name} in {seconds:.0f} s"
            for kind, count in suffered.items()
            if count > most.get(kind, -ROUNDING) + ROUNDING
        ]

    def _heretic(self, node: CathedralNode, *given: Any) -> Heretic:
        heresies = made(self.heretics.get(node.address, ()), self.bundles)
        return Heretic(*given, heresies=heresies, rng=self.rng)

    def _watch(self, datagram: bytes, source: Address, to: Address, _now: float) -> bool:
        """Look at what everybody sends, before it leaves; nothing is lost."""
        if any(secret in datagram for secret in self._secrets):
            self.leaks.append(f"a secret was readable from {source} to {to}")
        here = source.host
        if to.host in VICTIMS and here in {each.address.host for each in self.devices}:
            self.suffered.setdefault(here, Suffered())[self._kind(datagram)] += 1
        return False

    def _kind(self, datagram: bytes) -> str:
        if self.scenario.shroud:
            return "masked"
        if datagram[:8] in (CATHEDRAL.magic, NAT.magic):
            return "questions"
        return "heartbeats" if len(datagram) <= len(OPENER) else "others"

    def _bundle(self, secret: Secret) -> Bundle:
        self._note(secret)
        self.bundle_days = BUNDLE_DAYS + len(self.bundles)
        bundle = super()._bundle(secret)
        self.rolls[bundle.header.generation] = len(self.bundles)
        self.bundles.append(bundle)
        return bundle

    def _registrant(self, side: int) -> Any:
        registrant = super()._registrant(side)
        cosk = registrant.cosk()
        with cosk.reveal() as revealed:
            self._secrets.append(bytes(revealed[:32]))
        return registrant

    def _note(self, *secrets: Secret) -> None:
        for secret in secrets:
            with secret.reveal() as revealed:
                self._secrets.append(bytes(revealed))


class HeresyMeeting(HeresyGathering):
    """Two sessions."""

    node = WitnessNode


class HeresyTunnelMeeting(HeresyGathering):
    """Two programs with a tunnel of the library each, which keep no files."""

    node = WitnessTunnelNode
