"""What chapel, pilgrim and shrine have in common: a keeper's conversation with its neighbours.

The machine that makes the keys differs (``chancel.protocol.keeper``), and what a mode has no
process for isn't there: a pilgrim has no lane of offers that come, a shrine none of offers that go.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from chancel.crypto.system import SystemSuite
from chancel.daemon import image, masks
from chancel.daemon.cathedral_client import CathedralClient
from chancel.daemon.exchange_log import tell
from chancel.daemon.lane import LaneReader
from chancel.daemon.peers import Peers
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher, earliest
from chancel.daemon.records import (
    EXCHANGE_REASONS,
    EXCHANGE_STATES,
    NOWHERE,
    ConfessRecord,
    HeavenTxRecord,
    KeeperRecord,
    current_peer,
)
from chancel.daemon.run import Run, pack_address, unpack_address
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.events import (
    Event,
    ExchangePaused,
    ExchangeStarted,
    OfferReceived,
    OffersSent,
    PeerRestarted,
    PeerUnresponsive,
    ReceiveKeyInstalled,
    SecretUnavailable,
    SendKeyInstalled,
)
from chancel.protocol.exchange import Exchange
from chancel.protocol.keeper import Keeper, Mode
from chancel.protocol.mask_keys import MaskKeys
from chancel.protocol.messages import (
    Command,
    EraseKeys,
    InstallCathedralMask,
    InstallMask,
    InstallSendKey,
    ReceiveReport,
)
from chancel.protocol.tfc import Tfc
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.drop import Drop
from chancel.wire.types import Address

MakeMachine = Callable[[TunnelSettings, SystemSuite, SecretSource, float, float], Keeper]
"""Makes the machine of one tunnel: with its settings, the source of its secret, now and wall."""

GUESS_S = 30.0
"""For how long a peer of unknown address is sought where it was in an earlier run. After that time
a peer that lives has noticed the silence, and calls (protocol section 7.4)."""


class _Tunnel:
    def __init__(
        self, settings: TunnelSettings, suite: SystemSuite, make: MakeMachine, peers: Peers
    ) -> None:
        now, wall = time.monotonic(), time.time()
        self.settings = settings
        self.peers = peers
        self.guess_until = now + GUESS_S if peers.kept else now
        secret, self.mask_keys = masks.sources(settings, suite, now)
        self.machine = make(settings, suite, secret, now, wall)
        self.client: CathedralClient | None = None
        if settings.cathedral is not None:
            assert isinstance(self.machine, Exchange), "only tunnels have cathedrals"
            self.client = CathedralClient(
                settings,
                settings.cathedral,
                suite,
                self.machine,
                peers,
                partial(_secret_changed, self.mask_keys),
                now,
                wall,
            )
        profile = settings.protocol
        # Key offers are of one size anyway, and a shrine insists on it.
        filled = (
            settings.tfc
            and settings.mode is Mode.TUNNEL
            and (profile.tfc_fills_bare_offers or masks.is_masked(settings))
        )
        overhead = profile.layouts.traffic.overhead_bytes
        self.tfc = Tfc(settings.mtu, overhead) if filled else None
        self.paused = False
        self.reason = 0
        self.completed = 0
        self.completed_at = 0.0
        self.trying_since = 0.0
        self.offers = 0
        self.forgotten_at = 0.0
        self.peer = NOWHERE
        self.peer_at = 0.0
        self.target = settings.peer
        """Where traffic goes."""
        self.machine.path_known(bool(self.offers_to(now)), now)  # or it never wants to be woken

    def snapshot(self) -> tuple[KeeperRecord, Counter[Drop]]:
        """The board's entry."""
        skew_s = self.machine.clock_skew_s
        state = "paused" if self.paused else self.machine.state.value
        record = KeeperRecord(
            state=EXCHANGE_STATES.index(state),
            reason=self.reason,
            completed=self.completed,
            completed_at=self.completed_at,
            skew_s=math.nan if skew_s is None else skew_s,
            forgotten_at=self.forgotten_at,
            peer_at=self.peer_at,
            peer=self.peer,
            trying_since=self.trying_since,
            offers=self.offers,
        )
        if self.client is None:
            return record, self.machine.drops
        record = dataclasses.replace(record, **self.client.fields())
        return record, self.machine.drops + self.client.drops

    def wake_at(self) -> float | None:
        """When the machine, the mask or the client wants to be woken."""
        mask_at = self.mask_keys.wake_at() if self.mask_keys else None
        client_at = self.client.wake_at() if self.client else None
        return earliest(self.machine.wake_at(), mask_at, client_at)

    def receive(self, offer: bytes, source: Address, now: float, wall: float) -> None:
        """Take one untrusted offer, the peer's or a cathedral's."""
        if self.client is not None and offer.startswith(CATHEDRAL.magic):
            self.client.receive(offer, source, now, wall)
        else:
            self.machine.receive(offer, source, now, wall)

    def hear(
        self, confess: ConfessRecord | None, heaven_tx: HeavenTxRecord | None, now: float
    ) -> None:
        """Take what confess and heaven-tx have seen."""
        if self.client is not None:
            self.client.hear(confess, heaven_tx, now)
        if confess:
            self.machine.report(
                ReceiveReport(
                    confess.spi, confess.packets, confess.installed_at, confess.alive_at or None
                ),
                now,
            )
        self.target = current_peer(self.settings.peer, confess, self.snapshot()[0])
        if self.client is None and self.target is not None and self.settings.peer is None:
            self.peers.keep(self.target)
        self.machine.path_known(bool(self.offers_to(now)), now)

    def offers_to(self, now: float) -> tuple[Address | None, ...]:
        """Where offers go; ``None`` stands for wherever traffic goes."""
        if self.client is not None:
            return self.client.offers_to(now)
        if self.target is not None:
            return (None,)
        return self.peers.kept if now < self.guess_until else ()

    def wake(self, now: float) -> list[Command]:
        """Let the machine, and the mask's key, go on; returns what others have to carry out."""
        if self.mask_keys is not None:
            self.mask_keys.wake(now)
        wall = time.time()
        self.machine.wake(now, wall)
        commands = self.machine.commands()
        towards_cathedrals: list[InstallCathedralMask] = []
        if self.client is not None:
            self.client.keys_changed(commands, now)
            towards_cathedrals = self.client.wake(now, wall)
        mask = [] if self.mask_keys is None else self.mask_keys.commands()
        return [*mask, *towards_cathedrals, *commands]

    def note_events(self, now: float, trace: Callable[[Any], None] | None) -> bool:
        """Log what happened; whether the board's entry changed because of it."""
        changed = False
        if self.client is not None:
            self.client.note_events(now, trace)
            changed = self.client.is_urgent()
        while (event := self._next_event()) is not None:
            if trace is not None:
                trace(event)
            if isinstance(event, OffersSent | OfferReceived) or self._is_expected(event):
                continue
            tell(self.settings.instance, event, now)
            changed = True
            match event:
                case ExchangeStarted(reason, _):
                    self.reason = EXCHANGE_REASONS.index(reason.value)
                    self.paused = False
                    if not self.trying_since:
                        self.trying_since, self.offers = now, 0
                case ExchangePaused():
                    self.paused = True
                case SendKeyInstalled():
                    self._completed(now)
                case ReceiveKeyInstalled() if self.settings.mode is Mode.SHRINE:
                    self._completed(now)
                case PeerUnresponsive():
                    self._forget_peer(now)
                case PeerRestarted() if self.client is not None:
                    self.client.peer_restarted(now)
        return changed

    def note_peer(self) -> bool:
        """Take the source of the last good offer; whether it is a new address."""
        seen = self.machine.peer_seen()
        if seen is None:
            return False
        if self.client is not None:
            self.client.observe(seen.address, seen.at)
        peer = pack_address(seen.address)
        moved = peer != self.peer
        self.peer, self.peer_at = peer, seen.at
        return moved

    def _is_expected(self, event: Event) -> bool:
        """Whether it only says that there is no secret before the first ambry."""
        return (
            isinstance(event, SecretUnavailable)
            and self.client is not None
            and self.client.awaits_ambry
            and not Path(self.settings.secret).exists()
        )

    def _forget_peer(self, now: float) -> None:
        if self.settings.peer is None:
            self.forgotten_at = now
        if self.client is not None:
            self.client.give_up(now)

    def _next_event(self) -> Event | None:
        event = self.machine.next_event()
        if event is None and self.mask_keys is not None:
            return self.mask_keys.next_event()
        return event

    def _completed(self, now: float) -> None:
        self.completed += 1
        self.completed_at = now
        self.trying_since = 0.0


def _secret_changed(mask_keys: MaskKeys | None) -> None:
    """An ambry brought another secret: the mask's key is derived from it.

    No method of the tunnel: its client would refer to it, and a tunnel that was removed would keep
    its keys until the cycle collector comes by, which may take hundreds of others.
    """
    if mask_keys is not None:
        mask_keys.look(time.monotonic())


class KeeperDuty:
    """The duty of a keeper."""

    def __init__(self, process: Process, *, machine: MakeMachine) -> None:
        self._process = process
        self._suite = SystemSuite()
        self._machine = machine
        self._bell = process.bell
        self._out = process.writers.get("offer")
        self._links = process.key_links
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        self._due: dict[int, float] = {}
        """When each tunnel wants to be woken, as it said when it was advanced last: asking hundreds
        of them at each turn would cost more than their turns do."""
        process.loop.add(self._bell, self._look)
        process.hear = self._heed
        if "keeper" in process.readers:
            lane = process.readers["keeper"]
            process.loop.add(lane, partial(self._receive, lane))

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        peers = Peers(fds[0] if fds else None, settings.instance)
        entry = self._tunnels[tunnel] = _Tunnel(settings, self._suite, self._machine, peers)
        self._publisher.add(tunnel, settings.instance, entry.snapshot)
        self._note_due(tunnel, entry)

    def remove(self, tunnel: int) -> None:
        self._publisher.remove(tunnel)
        self._due.pop(tunnel, None)
        self._tunnels.pop(tunnel).peers.close()

    def wake_at(self) -> float | None:
        return earliest(self._publisher.wake_at(), min(self._due.values(), default=None))

    def wake(self, now: float) -> None:
        for tunnel in [tunnel for tunnel, due in self._due.items() if now >= due]:
            self._advance(tunnel, self._tunnels[tunnel], now)
        self._publisher.flush(now)

    def _note_due(self, tunnel: int, entry: _Tunnel) -> None:
        due = entry.wake_at()
        if due is None:
            self._due.pop(tunnel, None)
        else:
            self._due[tunnel] = due

    def _heed(self, message: dict[str, Any], fds: list[int]) -> None:
        """The guardian says what it learnt of the world."""
        del fds
        now = time.monotonic()
        match message:
            case {"cathedrals": addresses, "tunnel": tunnel}:
                entry = self._tunnels[tunnel]
                if entry.client is not None:
                    entry.client.resolved([Address(*each) for each in addresses], now)
                    self._advance(tunnel, entry, now)
            case {"network": "changed"}:
                for tunnel, entry in self._tunnels.items():
                    if entry.client is not None:
                        entry.client.network_changed(now)
                        self._advance(tunnel, entry, now)
            case _:
                raise ValueError(f"the guardian said {message!r}")

    def _look(self) -> None:
        """Somebody rang: a key is in use, the peer is elsewhere, or it acknowledged a probe."""
        self._bell.quiet()
        now = time.monotonic()
        for tunnel in self._process.changed("confess", "heaven-tx"):
            if tunnel in self._tunnels:
                self._advance(tunnel, self._tunnels[tunnel], now)

    def _receive(self, lane: LaneReader) -> None:
        batch = lane.receive()
        if batch is None:
            return
        now, wall = time.monotonic(), time.time()
        touched: dict[int, _Tunnel] = {}
        for run in batch.runs:
            entry = self._tunnels.get(run.tunnel)
            if entry is None:
                continue  # removed while its last offer was on the way
            offer = bytes(batch.memory[run.offset : run.end])  # the writer can change its own
            entry.receive(offer, unpack_address(run.source), now, wall)
            touched[run.tunnel] = entry
        lane.release(batch)
        for tunnel, entry in touched.items():
            self._advance(tunnel, entry, now)
            self._publisher.later(tunnel)

    def _advance(self, tunnel: int, entry: _Tunnel, now: float) -> None:
        """Let the machine go on, and pass on what it wants: keys first, then offers."""
        trace = self._process.trace
        entry.machine.traced = trace is not None
        moved = entry.note_peer()
        heaven_tx = None if entry.client is None else self._process.record("heaven-tx", tunnel)
        entry.hear(self._process.record("confess", tunnel), heaven_tx, now)
        for command in entry.wake(now):
            for name in _takers(command):
                if name in self._links:
                    self._links[name].send(tunnel, command)
        before = entry.completed
        changed = entry.note_events(now, None if trace is None else partial(trace.event, tunnel))
        if moved or changed:
            self._publisher.now(tunnel)
        offers = entry.machine.datagrams()
        if offers:
            entry.offers += len(offers)
            self._publisher.later(tunnel)
        for to in entry.offers_to(now):
            self._send(tunnel, entry, offers, to)
        if entry.client is not None:
            for offer, address in entry.client.datagrams():
                self._send(tunnel, entry, [offer], address)
        if entry.completed != before:
            image.rest()
        self._note_due(tunnel, entry)

    def _send(self, tunnel: int, entry: _Tunnel, offers: list[bytes], to: Address | None) -> None:
        """Hand offers, which have one size, to purgatory-tx; ``None``: for wherever the peer is."""
        if not offers or self._out is None:
            return
        if entry.tfc is not None:
            offers = [entry.tfc.fill_offer(offer, self._suite) for offer in offers]
        _, memory = self._out.wait_slot()
        data = b"".join(offers)
        memory[: len(data)] = data
        size = len(offers[0])
        packed = NOWHERE if to is None else pack_address(to)
        self._out.send([Run(tunnel, 0, len(offers), size, size, 0, packed)])


def _takers(command: Command) -> tuple[str, ...]:
    """The links on which a command goes out, in a mode that has them."""
    match command:
        case InstallMask() | InstallCathedralMask():
            return "send-mask", "receive-mask"
        case InstallSendKey():
            return ("send-keys",)
        case EraseKeys():
            return "send-keys", "receive-keys"
        case _:
            return ("receive-keys",)
