"""cathedral: relays for clients and tells them of each other.

In: the UDP sockets, and files: the settings, the bundles they name, the keys of clients. Out: the
main socket, and news to control. It decides nothing itself: that is ``protocol.cathedral``. It has
the keys that clients share with it, and none that opens their traffic.

SIGUSR1 zeroes the counters of what was relayed.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from chancel.cathedrald.journal import Journal
from chancel.cathedrald.keys import KeyDirectory
from chancel.cathedrald.news import CathedralSettings, News, news
from chancel.cathedrald.records import CathedralRecord
from chancel.cathedrald.relay import Relay
from chancel.cathedrald.settings import LOOK_INTERVAL_S, SettingsFile
from chancel.crypto.system import SystemSuite
from chancel.daemon.link import MessageLink
from chancel.daemon.loop import Woken
from chancel.daemon.offloads import NONE, Offload
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher, earliest
from chancel.errors import LinkClosed
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.vault.files import SecretFile
from chancel.wire.drop import Drop

log = logging.getLogger("chancel.daemon")


class Nave:
    """One cathedral: its brain, its files, and its sockets, of which the first one sends."""

    def __init__(self, number: int, settings: CathedralSettings, fds: list[int]) -> None:
        telling, *sockets = fds
        self.number = number
        self.sockets = [socket.socket(fileno=fd) for fd in sockets]
        self._link = MessageLink(socket.socket(fileno=telling))
        self._file = SettingsFile(Path(settings.settings), settings.announced)
        self._taken_wall: float | None = None
        self._told: News = {}
        self._next_look = 0.0
        self.wake_at = 0.0
        """When to be woken: looked at after each train, so it is not worked out there."""
        now, wall = time.monotonic(), time.time()
        self._journal = Journal(now)
        keys = KeyDirectory(Path(settings.secretdir))
        secret = SecretFile(Path(settings.secret))
        options = settings.options
        self.brain = Cathedral(SystemSuite(), options, keys, secret, self._file.settings, now)
        main = self.sockets[0]
        self._gso = settings.gso
        self.relay = Relay(self.brain, main, gso=settings.gso, shroud=settings.shroud)
        self.relay.sender.on_gso_broken = self._journal.gso_broken
        self.look(now, wall)

    def wake(self, now: float, wall: float) -> None:
        """Do what is due."""
        self.brain.wake(now, wall)
        self.relay.send()
        if now >= self._next_look:
            self.look(now, wall)
        self.write(now)
        self._wind()

    def write(self, now: float) -> None:
        """Write down what has happened."""
        self._journal.take(self.brain, now)

    def _wind(self) -> None:
        self.wake_at = min(self.brain.wake_at(), self._next_look, self._journal.wake_at())

    def look(self, now: float, wall: float) -> None:
        """Look whether the files have changed, and take what they say."""
        self._next_look = now + LOOK_INTERVAL_S
        found = self._file.look(wall)
        for problem in found.problems:
            log.error("not taken, what was before stays in force: %s", problem)
        if found.changed:
            self._taken_wall = wall
            self.brain.reconfigure(self._file.settings, now)
            self.relay.send()
            log.info("settings taken flocks=%d", len(self._file.settings.flocks))
            self.write(now)
        self._tell()
        self._wind()

    def snapshot(self) -> tuple[CathedralRecord, Counter[Drop]]:
        """The board's entry."""
        relay, sender, found = self.relay, self.relay.sender, self.brain.statistics()
        record = CathedralRecord(
            found.tunnels_local,
            found.tunnels_federated,
            found.liturgies_local,
            found.liturgies_federated,
            found.traffic_in,
            found.traffic_out,
            found.traffic_octets,
            found.offers_in,
            found.offers_out,
            found.offers_octets,
            relay.datagrams,
            relay.octets,
            relay.calls,
            sender.datagrams,
            sender.bytes,
            sender.calls,
            sender.error,
            Offload.GSO if self._gso and not sender.gso else NONE,
        )
        return record, self.brain.drops + Counter(sender.drops)

    def _tell(self) -> None:
        """Tell control what is new; if it doesn't listen just now, with the next look."""
        found = news(self._file, self._taken_wall)
        if found != self._told:
            with contextlib.suppress(LinkClosed):
                self._link.send(found)
                self._told = found

    def close(self) -> None:
        """Let go of the sockets."""
        for each in self.sockets:
            each.close()
        self._link.close()


class CathedralDuty:
    """The duty of the process ``cathedral``."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._loop = process.loop
        self._publisher = Publisher(process)
        self._nave: Nave | None = None
        self._wake_at: float | None = None
        self._is_news = False
        """Whether the board is behind, and will be written when that is due."""
        process.read_settings = CathedralSettings.from_json
        process.hear = self._hear
        signal.set_wakeup_fd(-1)  # that was the guardian's, and is closed here
        signal.signal(signal.SIGUSR1, lambda *_: self._reset())

    def add(self, number: int, settings: Any, fds: list[int]) -> None:
        nave = self._nave = Nave(number, settings, fds)
        self._publisher.add(number, settings.instance, nave.snapshot)
        self._wind()
        for each in nave.sockets:
            self._loop.add(each, partial(self._receive, nave, each))
        if nave.relay.shorten(nave.sockets):
            self._process.shorten(partial(self._turn, nave))

    def remove(self, number: int) -> None:
        if self._nave is None:
            return
        self._process.shorten(None)
        for each in self._nave.sockets:
            self._loop.remove(each)
        self._publisher.remove(number)
        self._nave.close()
        self._nave = None
        self._wind()

    def wake_at(self) -> float | None:
        return self._wake_at

    def wake(self, now: float) -> None:
        nave = self._nave
        if nave is not None and now >= nave.wake_at:
            nave.wake(now, time.time())
            self._publisher.later(nave.number)
        self._publisher.flush(now)
        self._wind()

    def _receive(self, nave: Nave, udp: socket.socket) -> None:
        given = nave.relay.given
        nave.relay.receive(udp)
        self._settle(nave, given)

    def _turn(self, nave: Nave, epoll: int, deadline: float) -> Woken:
        """Wait and relay without Python (``loop.Turns``)."""
        given, calls = nave.relay.given, nave.relay.calls
        woken = nave.relay.turn(epoll, deadline, self._publisher.books)
        if nave.relay.calls != calls:
            self._settle(nave, given)
        return woken

    def _settle(self, nave: Nave, given: int) -> None:
        """After something was received: write down what the brain says to what it was given."""
        if nave.relay.given != given:
            nave.write(time.monotonic())
        if not self._is_news:
            self._publisher.later(nave.number)
            self._wind()

    def _wind(self) -> None:
        """Find out when to be woken: not for each train, as that takes longer than what is due."""
        publish_at = self._publisher.wake_at()
        self._is_news = publish_at is not None
        self._wake_at = earliest(publish_at, self._nave.wake_at if self._nave else None)

    def _hear(self, message: dict[str, Any], _fds: list[int]) -> None:
        """The guardian passes on that somebody wants the files looked at now."""
        if self._nave is not None and "look" in message:
            self._nave.look(time.monotonic(), time.time())
            self._publisher.later(self._nave.number)
            self._wind()

    def _reset(self) -> None:
        if self._nave is not None:
            self._nave.brain.reset_statistics()


make = CathedralDuty
