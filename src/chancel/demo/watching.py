"""Who watches: threads that fill the timeline while the story is told.

Each has a source of its own: the pinger, both ends of the transfer, the network interface of a
device (which path is taken), its status and its secret's file (when keys are new).
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from chancel.daemon import ctl, places
from chancel.demo.parish import Device, Parish, Seat
from chancel.demo.talk import Talk
from chancel.demo.timeline import Echo, Flow, Keys, Rekey, State, Timeline
from chancel.errors import LinkClosed
from chancel.lab.lab import Task
from chancel.lab.namespace import LabError

PING_INTERVAL_S = 0.05
PING_SIZE = 56
PING_PATIENCE_S = 0.5
ENDLESS = 1_000_000

TALK_INTERVAL_S = 0.25
WINDOW = 4
"""Intervals of talk that are looked at together: a second."""
KEYS_INTERVAL_S = 0.25

Status = dict[str, Any]


class Watcher:
    """Fills a timeline. ``broken`` has what ended before its time; at the lab's end all does."""

    def __init__(self, timeline: Timeline) -> None:
        self.broken: list[LabError] = []
        self._timeline = timeline
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def close(self) -> None:
        """Ask no daemon any more."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def ping(self, device: Device, other: Device) -> None:
        """Ping through the tunnel until the lab is over."""
        shape = ENDLESS, PING_INTERVAL_S, PING_SIZE, True, PING_PATIENCE_S
        self.follow(device.host.start("chancel.lab.ping:ping", other.inner, *shape), self._on_echo)

    def paths(self, parish: Parish) -> None:
        """See which way each device's datagrams take."""
        relays = frozenset(each.address for each in parish.cathedrals)
        for device, other in (parish.devices, parish.devices[::-1]):
            route = Route(self._timeline, device.name, other.public, relays)
            talking = device.host.start("chancel.demo.talk:talk", TALK_INTERVAL_S)
            self.follow(talking, route.take)

    def keys(self, parish: Parish) -> None:
        """See when devices have new keys."""
        thread = threading.Thread(target=self._poll_keys, args=(parish.devices,))
        thread.start()
        self._threads.append(thread)

    def follow(self, task: Task, handler: Callable[[Any], None]) -> threading.Thread:
        """Hand all progress of a task to ``handler``."""

        def read() -> None:
            try:
                for value in task.progress:
                    handler(value)
            except LabError as error:
                self.broken.append(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def on_sample(self, sample: dict[str, Any]) -> None:
        """Bulk data arrived."""
        timeline = self._timeline
        until = sample["at"] - timeline.start
        since = timeline.flows[-1].to_s if timeline.flows else until
        timeline.flows.append(Flow(since, until, sample["bytes"]))

    def _on_echo(self, echo: dict[str, Any]) -> None:
        self._timeline.echoes.append(Echo(echo["sent_at"] - self._timeline.start, echo["rtt_s"]))

    def _poll_keys(self, devices: tuple[Device, ...]) -> None:
        looks = [(device, Keys.EXCHANGE, send_spi) for device in devices]
        looks += [(device, Keys.AMBRY, fingerprint) for device in devices]
        before: dict[tuple[str, Keys], str] = {}
        while not self._over.wait(KEYS_INTERVAL_S):
            for device, kind, look in looks:
                found = look(device)
                if found is not None and before.get((device.name, kind)) != found:
                    before[device.name, kind] = found
                    self._timeline.rekeys.append(Rekey(self._timeline.now(), device.name, kind))


class Route:
    """Which way a device's datagrams take: that of most of them, within a second."""

    def __init__(self, timeline: Timeline, actor: str, peer: str, relays: frozenset[str]) -> None:
        self._timeline = timeline
        self._actor = actor
        self._peer = peer
        self._relays = relays
        self._recent: deque[tuple[int, int]] = deque(maxlen=WINDOW)

    def take(self, talk: Talk) -> None:
        """Look at one more interval."""
        counts = {
            remote: count["packets_in"] + count["packets_out"]
            for remote, count in talk["remotes"].items()
        }
        relayed = sum(counts.get(relay, 0) for relay in self._relays)
        self._recent.append((counts.get(self._peer, 0), relayed))
        direct, relayed = (sum(each) for each in zip(*self._recent, strict=True))
        if direct or relayed:
            state = State.DIRECT if direct > relayed else State.RELAYED
            at_s = talk["at"] - self._timeline.start - WINDOW * TALK_INTERVAL_S / 2
            self._timeline.enter(self._actor, state, max(at_s, 0.0))


def status(seat: Seat) -> Status | None:
    """What the daemon says about its tunnel; None while nobody answers."""
    with contextlib.suppress(LinkClosed):
        socket = seat.runtime / f"{seat.name}{places.CONTROL_SUFFIX}"
        tunnels: list[Status] = ctl.ask(socket, {"do": "status"})["tunnels"]
        return tunnels[0] if tunnels else None
    return None


def send_spi(device: Device) -> str | None:
    """What its newest key is called by the peer."""
    said = status(device)
    return None if said is None else said["tx"]["spi"]


def fingerprint(device: Device) -> str | None:
    """Of the shared secret; None while there is none."""
    with contextlib.suppress(FileNotFoundError):
        return hashlib.sha256(device.secret.read_bytes()).hexdigest()
    return None
