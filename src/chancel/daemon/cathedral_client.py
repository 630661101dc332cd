"""One tunnel's dealings with cathedrals, in the keeper: what joins its three machines.

``Registration`` talks to cathedrals, ``Whereabouts`` decides where to send, ``Exchange`` makes the
keys, from the secret that an ambry may bring. What they want of the world is done here: files are
written, tries of an address handed to heaven-rx, masks and addresses to purgatory.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chancel.crypto.suite import Suite
from chancel.daemon import replacing
from chancel.daemon.cathedral_board import CathedralBoard
from chancel.daemon.cathedral_log import CathedralLog
from chancel.daemon.masks import CathedralMaskKeys
from chancel.daemon.peers import Peers
from chancel.daemon.publish import earliest
from chancel.daemon.records import (
    IN_VAIN,
    NOWHERE,
    TROUBLES,
    ConfessRecord,
    HeavenTxRecord,
    unreadable,
)
from chancel.daemon.run import unpack_address
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.errors import VaultError
from chancel.protocol.cathedral_offers import COSK_BYTES
from chancel.protocol.exchange import Exchange
from chancel.protocol.messages import (
    Command,
    EraseKeys,
    InstallCathedralMask,
    InstallReceiveKey,
    InstallSendKey,
)
from chancel.protocol.path_trial import OPENER
from chancel.protocol.registration import Registration
from chancel.protocol.registration_events import (
    AmbryAdopted,
    AmbryNotKept,
    AmbryRefused,
    CathedralAnswers,
    CathedralInVain,
    CathedralSilent,
    Key,
    KeyUnavailable,
    RegistrationEvent,
)
from chancel.protocol.registration_types import (
    AdoptSecret,
    CathedralChosen,
    PeerAnnounced,
    Registrant,
    RegistrationCommand,
    StoreRemembrance,
)
from chancel.protocol.whereabouts import Whereabouts
from chancel.vault.ambries import beside, recall
from chancel.vault.files import SecretFile
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.drop import Drop
from chancel.wire.remembrance import TABLE_BYTES, RemembranceBody
from chancel.wire.types import Address, Spi

_AUTHENTIC = frozenset(
    {
        Drop.AMBRY_BAD_TAG,
        Drop.AMBRY_EXPIRED,
        Drop.AMBRY_REPEATED,
        Drop.AMBRY_TUNNEL,
        Drop.AMBRY_UNWANTED,
        Drop.REMEMBRANCE_UNWANTED,
    }
)
"""What a cathedral said all the same."""

_CLEARED_BY_ANSWER = frozenset({unreadable(Key.SECRET), unreadable(Key.COSK)})
_CLEARED_BY_AMBRY = frozenset(
    {unreadable(Key.KEK), *(word for word in TROUBLES if word.startswith("ambry-"))}
)

log = logging.getLogger("chancel.daemon")


class CathedralClient:
    """Beside the exchange of a tunnel; ``secret_changed`` is called when its file was replaced."""

    def __init__(
        self,
        settings: TunnelSettings,
        cathedral: CathedralSettings,
        suite: Suite,
        exchange: Exchange,
        peers: Peers,
        secret_changed: Callable[[], None],
        now: float,
        wall: float,
    ) -> None:
        self._settings = settings
        self._cathedral = cathedral
        self._exchange = exchange
        self._peers = peers
        self._secret_changed = secret_changed
        self._instance = exchange.instance
        registrant = _registrant(settings, cathedral)
        self._registration = Registration(
            suite, registrant, cathedral.addresses, now, wall, instance=self._instance
        )
        self._whereabouts = Whereabouts(
            settings.peer, now, mtu=settings.mtu, profile=settings.protocol, kept=peers.kept
        )
        self._masks = (
            CathedralMaskKeys(settings, cathedral, suite, now) if settings.shroud else None
        )
        self._hosts: dict[str, None] = {}
        self._know(cathedral.addresses)
        self._recall_ambries()
        self._recall(now)
        self._seen: dict[bytes, float] = {}
        self._acks = self._probed = 0
        self._has_send_key = False
        self._installed: Spi | None = None
        self._openers: list[tuple[bytes, Address]] = []
        self._registered_at: Address | None = None
        self._traffic_at = -math.inf
        self._board = CathedralBoard()
        self._log = CathedralLog(settings.instance)
        self._follow(self._registration.commands(), now)
        self._settle(now)

    @property
    def drops(self) -> Counter[Drop]:
        """What came from cathedrals and was refused."""
        return self._registration.drops

    @property
    def awaits_ambry(self) -> bool:
        """Whether the first ambry has yet to come."""
        return bool(self._cathedral.kek) and not self._registration.generation

    def receive(self, datagram: bytes, source: Address, now: float, wall: float) -> None:
        """Take one untrusted datagram of a cathedral's kind."""
        before = Counter(self.drops)
        self._registration.receive(datagram, source, now, wall)
        if (self.drops - before).keys() <= _AUTHENTIC:
            self._board.cathedral_heard_at = now
            self._board.recovers(_CLEARED_BY_ANSWER)

    def observe(self, source: Address, at: float) -> None:
        """An authentic offer of the peer came from there."""
        self._whereabouts.observe(source, at)

    def hear(
        self, confess: ConfessRecord | None, heaven_tx: HeavenTxRecord | None, now: float
    ) -> None:
        """Take what confess and heaven-tx have seen."""
        if confess:
            sources = (confess.other_at, confess.other), (confess.peer_at, confess.peer)
            for at, source in sorted(sources):
                if source != NOWHERE and at > self._seen.get(source, 0.0):
                    self._seen = {each: self._seen[each] for each in list(self._seen)[-1:]}
                    self._seen[source] = at
                    self._traffic_at = max(self._traffic_at, at)
                    self._board.recovers({IN_VAIN})
                    self._whereabouts.observe(unpack_address(source), at)
        if heaven_tx and heaven_tx.acks != self._acks:
            self._acks = heaven_tx.acks
            self._whereabouts.probe_answered(heaven_tx.ack_size, now)
        if heaven_tx and heaven_tx.probes != self._probed:
            self._probed = heaven_tx.probes
            self._whereabouts.probe_received()
        self._report_keys(Spi(confess.spi) if confess and confess.spi else self._installed, now)

    def resolved(self, cathedrals: Sequence[Address], now: float) -> None:
        """The configured cathedrals are at these addresses, as their names were looked up."""
        self._know(cathedrals)
        self._registration.resolved(cathedrals, now)

    def network_changed(self, now: float) -> None:
        """The machine's addresses or routes changed."""
        self._registration.network_changed(now)
        self._whereabouts.network_changed(now)

    def keys_changed(self, commands: Sequence[Command], now: float) -> None:
        """The exchange gave these commands."""
        for command in commands:
            match command:
                case InstallReceiveKey(spi, _, _):
                    self._installed = spi
                case InstallSendKey():
                    self._has_send_key = True
                    self._whereabouts.key_installed(now)
                case EraseKeys():
                    self._has_send_key = False
                    self._installed = None

    def peer_restarted(self, now: float) -> None:
        """The peer is another instance than before."""
        self._whereabouts.peer_restarted(now)

    def give_up(self, now: float) -> None:
        """The peer is unresponsive."""
        self._whereabouts.give_up(now)

    def wake_at(self) -> float | None:
        """When to be woken: the past means at once."""
        mask_at = self._masks.wake_at() if self._masks else None
        return earliest(self._registration.wake_at(), self._whereabouts.wake_at(), mask_at)

    def wake(self, now: float, wall: float) -> list[InstallCathedralMask]:
        """Let all go on; returns the mask that others have to use from now on."""
        if self._exchange.instance != self._instance:
            self._instance = self._exchange.instance
            self._registration.renew_instance(self._instance, now)
        self._registration.peer_heard(self._traffic_at)
        self._registration.wake(now, wall)
        self._follow(self._registration.commands(), now)
        self._whereabouts.wake(now)
        self._settle(now)
        if self._masks is None:
            return []
        self._masks.know(self._hosts)
        self._masks.wake(now)
        return self._masks.commands()

    def offers_to(self, now: float) -> tuple[Address, ...]:
        """Where offers of a key exchange go now; nowhere while no name can be resolved."""
        return self._whereabouts.offers_to(now)

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Drain what goes to cathedrals, and what opens our NAT for the peer."""
        openers, self._openers = self._openers, []
        return self._registration.datagrams() + openers

    def note_events(self, now: float, trace: Callable[[RegistrationEvent], None] | None) -> None:
        """Log what happened, and heed it."""
        while (event := self._registration.next_event()) is not None:
            if trace is not None:
                trace(event)
            self._log.tell(event, now)
            match event:
                case CathedralAnswers():
                    self._board.cathedral_silent_at = 0.0
                    self._exchange.cathedral_answers(True, now)
                case CathedralSilent(_, silent_s, _):
                    self._board.cathedral_silent_at = now - silent_s
                    self._exchange.cathedral_answers(False, now)
                case CathedralInVain():
                    self._board.was_left_in_vain(now)
                case KeyUnavailable(key, _):
                    self._board.suffers(unreadable(key), now)
                case AmbryRefused(_, reason):
                    self._board.suffers(str(reason), now)
                case AmbryNotKept():
                    self._board.suffers("ambry-not-kept", now)
                case AmbryAdopted():
                    self._board.ambry_at = now
                    self._board.recovers(_CLEARED_BY_AMBRY)

    def fields(self) -> dict[str, Any]:
        """Our part of the board's entry."""
        skew_s = self._registration.clock_skew_s
        return self._board.fields() | {
            "cathedrals": len(self._hosts),
            "generation": self._registration.generation,
            "cathedral_skew_s": math.nan if skew_s is None else skew_s,
        }

    def is_urgent(self) -> bool:
        """Whether others have to act on what the board's entry says now; drained."""
        urgent, self._board.is_urgent = self._board.is_urgent, False
        return urgent

    def _report_keys(self, active: Spi | None, now: float) -> None:
        """Tell which SPIs we receive under, or will after the next exchange: a cathedral that hears
        of one only when it is used relays nothing under it for seconds."""
        used_up = self._installed in (None, active)
        pending = self._exchange.next_spi if used_up else self._installed
        self._registration.report_keys(active, None if pending == active else pending, now)

    def _recall_ambries(self) -> None:
        """Read which ambries an earlier run had; without, an old one can't be told from a new."""
        if not self._cathedral.kek:
            return
        try:
            self._registration.recall_ambries(recall(Path(self._settings.secret)))
        except VaultError as error:
            log.warning(
                "ambries can't be recalled tunnel=%s error=%s", self._settings.instance, error
            )

    def _recall(self, now: float) -> None:
        """Read what an earlier run remembered, if there was one."""
        if not self._cathedral.remembrance:
            return
        try:
            table = replacing.read(self._cathedral.remembrance, TABLE_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning(
                "remembrance can't be read tunnel=%s error=%s", self._settings.instance, error
            )
            return
        if len(table) == TABLE_BYTES:
            remembered = RemembranceBody.decode_table_untrusted(table).cathedrals
            self._know(remembered)
            self._registration.remembered(remembered, now)

    def _follow(self, commands: Sequence[RegistrationCommand], now: float) -> None:
        for command in commands:
            match command:
                case AdoptSecret():
                    self._adopt(command, now)
                case StoreRemembrance(cathedrals, data):
                    self._know(cathedrals)
                    self._remember(data, now)
                case PeerAnnounced(address, at, _, proves):
                    self._board.announced_at = at
                    if not self._cathedral.peer_fixed:
                        self._whereabouts.announced(address, at, peer_proves=proves)
                case CathedralChosen(address, at, trusted):
                    if address != self._registered_at:
                        self._registered_at = address
                        self._board.cathedral_is(address, at)
                    self._know(() if address is None else (address,))
                    self._whereabouts.cathedral_is(address, at, trusted=trusted)

    def _adopt(self, command: AdoptSecret, now: float) -> None:
        try:
            replacing.replace(str(beside(Path(self._settings.secret))), command.history)
            with command.secret.reveal() as secret:
                replacing.replace(self._settings.secret, secret)
        except OSError as error:
            self._registration.not_adopted(f"{self._settings.secret}: {error.strerror}", now)
            return
        finally:
            command.secret.erase()
        self._registration.adopted(command.generation, now)
        self._exchange.secret_replaced(now)
        self._secret_changed()

    def _remember(self, data: bytes, now: float) -> None:
        if not self._cathedral.remembrance:
            return  # several are configured, and are asked to show that they live
        try:
            replacing.replace(self._cathedral.remembrance, data)
        except OSError as error:
            self._board.suffers("remembrance-not-kept", now)
            self._log.remembrance_not_kept(error, now)
        else:
            self._board.recovers({"remembrance-not-kept"})

    def _know(self, cathedrals: Sequence[Address]) -> None:
        """Remember the hosts of cathedrals, by which datagrams are masked."""
        for address in cathedrals:
            self._hosts.pop(address.host, None)
            self._hosts[address.host] = None
        while len(self._hosts) > InstallCathedralMask.MAX_HOSTS:
            del self._hosts[next(iter(self._hosts))]

    def _settle(self, now: float) -> None:
        """Put what the whereabouts say on the board, and keep what is worth it."""
        where = self._whereabouts
        if where.changed() or not self._board.target_at:
            self._log.path(where.address, now, direct=where.direct)
            self._board.target_at = now
        self._board.peer_is(where)
        probes, candidate = where.probes(), where.candidate
        if self._has_send_key:
            for payload in probes:
                self._board.has_to_try(self._settings.protocol.graces.decode_untrusted(payload))
        elif probes and candidate is not None:
            self._openers.append((OPENER, candidate))
        self._peers.keep_all(where.recent())


def _registrant(settings: TunnelSettings, cathedral: CathedralSettings) -> Registrant:
    return Registrant(
        identity=cathedral.identity,
        flocks=settings.flocks,
        tunnel=TunnelId(settings.spi_prefix),
        secret=SecretFile(Path(cathedral.secret)),
        cosk=SecretFile(Path(cathedral.cosk), COSK_BYTES),
        kek=SecretFile(Path(cathedral.kek)) if cathedral.kek else None,
        nat_port=cathedral.nat_port,
        remember=bool(cathedral.remembrance),
    )
