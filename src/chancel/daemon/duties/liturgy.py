"""liturgy: asks a cathedral who else is there.

In: datagrams of cathedrals, on a socket of its own, and from the guardian where these are. Out:
questions, and a board that says which devices were named; the guardian makes the tunnels to them.
It reads the cathedral secret and the key that signs, writes a remembrance, and knows no other
secret, no traffic and no device. Whoever took it over can name devices from 1 to 254, and the
cathedral that new tunnels begin with; no more.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter
from functools import partial
from typing import Any, Final

from chancel.crypto.system import SystemSuite
from chancel.daemon import replacing
from chancel.daemon.cathedral_log import CathedralLog
from chancel.daemon.liturgy_board import LiturgyBoard
from chancel.daemon.liturgy_settings import LiturgySettings
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher, earliest
from chancel.daemon.records import LiturgyRecord
from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral_shroud import CathedralShroud
from chancel.protocol.liturgy import Liturgy, MemberCame, MemberLeft
from chancel.protocol.profile import CURRENT
from chancel.protocol.registration_types import CathedralChosen, StoreRemembrance
from chancel.wire.drop import Drop
from chancel.wire.remembrance import TABLE_BYTES, RemembranceBody
from chancel.wire.types import Address

MAX_DATAGRAMS: Final = 64
"""Taken at once; strangers who send more wait for their turn, as everybody does."""

_DATAGRAM_BYTES: Final = 2048
"""Longer ones are none of a cathedral's, and are cut."""

log = logging.getLogger("chancel.daemon")


class _Member:
    """Our part in one liturgy, and its socket."""

    def __init__(self, settings: LiturgySettings, udp: socket.socket, suite: SystemSuite) -> None:
        now, wall = time.monotonic(), time.time()
        registrant = settings.registrant
        self.settings = settings
        self.udp = udp
        self.machine = Liturgy(
            *(suite, registrant, settings.addresses, now, wall),
            group=settings.group,
            hidden=settings.hidden,
        )
        self.shroud = CathedralShroud(registrant, suite, now) if settings.shroud else None
        self.board = LiturgyBoard(cathedrals=len(settings.addresses))
        self._log = CathedralLog(settings.instance)
        self._drops: Counter[Drop] = Counter()
        self._recall(now)

    def snapshot(self) -> tuple[LiturgyRecord, Counter[Drop]]:
        """The board's entry."""
        return self.board.record(self.machine), self.machine.drops + self._drops

    def wake_at(self) -> float | None:
        """When the machine, or the mask, wants to be woken."""
        mask_at = self.shroud.keys.wake_at() if self.shroud else None
        return earliest(self.machine.wake_at(), mask_at)

    def receive(self) -> None:
        """Take what waits on the socket."""
        now, wall = time.monotonic(), time.time()
        for _ in range(MAX_DATAGRAMS):
            try:
                datagram, source = self.udp.recvfrom(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:  # told of something that was sent before, and lost
                continue
            try:
                bare = self.shroud.unwrap_untrusted(datagram) if self.shroud else datagram
            except RemoteProtocolError as refusal:
                self._drops[refusal.reason] += 1
            else:
                self.machine.receive(bare, Address(*source[:2]), now, wall)

    def advance(self, now: float) -> bool:
        """Let the machine go on; whether others have to act on what became of it."""
        if self.shroud is not None and now >= self.shroud.keys.wake_at():
            self.shroud.keys.wake(now)
            self.shroud.take()
            while self.shroud.keys.next_event() is not None:
                pass  # the machine reads the same file, and says what is wrong with it
        self.machine.wake(now, time.time())
        changed = self._obey(now)
        for datagram, to in self.machine.datagrams():
            self._send(datagram, to, now)
        return changed

    def note_events(self, now: float, trace: partial[None] | None) -> None:
        """Log what happened, and heed it."""
        while (event := self.machine.next_event()) is not None:
            if trace is not None:
                trace(event)
            self._log.tell(event, now)
            self.board.heed(event, now)

    def _obey(self, now: float) -> bool:
        changed = False
        for command in self.machine.commands():
            match command:
                case MemberCame() | MemberLeft():
                    changed = True
                case CathedralChosen():
                    self.board.chosen(command)
                    changed = True
                case StoreRemembrance(cathedrals, data):
                    self.board.cathedrals = max(self.board.cathedrals, len(cathedrals))
                    self._remember(data, now)
        return changed

    def _send(self, datagram: bytes, to: Address, now: float) -> None:
        wrapped: bytes | None = datagram
        if self.shroud is not None:
            wrapped = self.shroud.wrap(datagram, CURRENT.mtu_maximum, now)
        if wrapped is None:
            self._drops[Drop.NO_MASK] += 1
            return
        try:
            self.udp.sendto(wrapped, to)
        except OSError as error:  # the next question comes anyway
            self._drops[Drop.SEND_FAILED] += 1
            self.board.error = error.errno or 0
        else:
            self.board.questions += 1
            self.board.error = 0

    def _recall(self, now: float) -> None:
        """Read what an earlier run remembered, if there was one."""
        if not self.settings.remembrance:
            return
        try:
            table = replacing.read(self.settings.remembrance, TABLE_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning(
                "remembrance can't be read tunnel=%s error=%s", self.settings.instance, error
            )
            return
        if len(table) == TABLE_BYTES:
            remembered = RemembranceBody.decode_table_untrusted(table).cathedrals
            self.board.cathedrals = max(self.board.cathedrals, len(remembered))
            self.machine.remembered(remembered, now)

    def _remember(self, data: bytes, now: float) -> None:
        try:
            replacing.replace(self.settings.remembrance, data)
        except OSError as error:
            self.board.suffers("remembrance-not-kept", now)
            self._log.remembrance_not_kept(error, now)
        else:
            self.board.recovers(frozenset({"remembrance-not-kept"}))


class LiturgyDuty:
    """The duty of the process: one liturgy, under the number that the guardian gives it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._suite = SystemSuite()
        self._publisher = Publisher(process)
        self._liturgies: dict[int, _Member] = {}
        process.read_settings = LiturgySettings.from_json
        process.hear = self._heed

    def add(self, tunnel: int, settings: LiturgySettings, fds: list[int]) -> None:
        udp = socket.socket(fileno=fds[0])
        entry = self._liturgies[tunnel] = _Member(settings, udp, self._suite)
        self._publisher.add(tunnel, settings.instance, entry.snapshot)
        self._process.loop.add(udp, partial(self._receive, tunnel))

    def remove(self, tunnel: int) -> None:
        entry = self._liturgies.pop(tunnel)
        self._process.loop.remove(entry.udp)
        self._publisher.remove(tunnel)
        entry.udp.close()

    def wake_at(self) -> float | None:
        own = (entry.wake_at() for entry in self._liturgies.values())
        return earliest(self._publisher.wake_at(), *own)

    def wake(self, now: float) -> None:
        for tunnel, entry in self._liturgies.items():
            due = entry.wake_at()
            if due is not None and now >= due:
                self._advance(tunnel, entry, now)
        self._publisher.flush(now)

    def _heed(self, message: dict[str, Any], fds: list[int]) -> None:
        """The guardian says what it learnt of the world."""
        del fds
        now = time.monotonic()
        match message:
            case {"cathedrals": addresses, "tunnel": tunnel}:
                entry = self._liturgies[tunnel]
                entry.board.cathedrals = max(entry.board.cathedrals, len(addresses))
                entry.machine.resolved([Address(*each) for each in addresses], now)
                self._advance(tunnel, entry, now)
            case {"network": "changed"}:
                for tunnel, entry in self._liturgies.items():
                    entry.machine.network_changed(now)
                    self._advance(tunnel, entry, now)
            case _:
                raise ValueError(f"the guardian said {message!r}")

    def _receive(self, tunnel: int) -> None:
        entry = self._liturgies[tunnel]
        entry.receive()
        self._advance(tunnel, entry, time.monotonic())

    def _advance(self, tunnel: int, entry: _Member, now: float) -> None:
        changed = entry.advance(now)
        trace = self._process.trace
        entry.note_events(now, None if trace is None else partial(trace.event, tunnel))
        if changed:
            self._publisher.now(tunnel)
        else:
            self._publisher.later(tunnel)


make = LiturgyDuty
