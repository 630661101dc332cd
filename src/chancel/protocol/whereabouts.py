"""Where the peer is, where there is a cathedral: relay first, direct once that is proved.

A tunnel without a cathedral has a ``Path``, which follows the peer's newest packet. Here nothing is
risked: the cathedral relays whatever we send, so traffic stays there while an address of the peer,
the *candidate*, is only tried. The candidate is what the cathedral announces, or the source of
something authentic that isn't a cathedral. Traffic moves to it when both directions are proved
(``path_trial``); then the path in use is watched, and given up for the relay when it is lost, while
the tries go on. A peer that turns up elsewhere is tried there, too, before we follow.

The reference believes its cathedral and moves at once (cathedral section 2.6). What holds here as
there: for ten seconds after a direct sign of the peer nothing that is relayed moves us; and a peer
of a fixed address isn't moved by what a cathedral says.
"""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from chancel.protocol.choice import is_a_host
from chancel.protocol.graces import discovery_sizes
from chancel.protocol.path_trial import AT_ONCE_S, LOST_S, Trial, Watch
from chancel.protocol.profile import CURRENT, Profile
from chancel.wire.remembrance import SLOTS
from chancel.wire.types import Address

HOLD_S: Final = 10.0
"""For so long after a direct sign nothing relayed moves us off the path (section 2.6)."""
AFTERMATH_S: Final = 1.0
"""Packets of the old path that come so soon after the first of a new one were only overtaken."""
MAX_KEPT: Final = 4
"""Addresses of the peer that are remembered: one for each place where a device usually is."""
MAX_RELAYS: Final = SLOTS + 1
"""Cathedrals that are known as such by their host: all that a remembrance names, and one more."""
PROBE_SIZES: Final = 8
"""Path probes have one of so many sizes in turn, so that a late acknowledgement of another
candidate's proves nothing."""


class Whereabouts:
    """One tunnel's peer. The clock is that of ``now``; events of other processes may come late.

    ``fixed`` is a configured address of the peer. ``mtu`` is the largest payload that is ever sent.
    ``kept`` are the last known addresses of the peer, the newest first (:meth:`recent`).

    :meth:`wake` when :meth:`wake_at` has come, which may be at once after any call; then take
    :meth:`probes`, graces to be sealed and sent to :attr:`candidate`. Without a key one ``OPENER``
    goes there instead, and :meth:`key_installed` makes good for the rest.
    """

    def __init__(
        self,
        fixed: Address | None,
        now: float,
        *,
        mtu: int = CURRENT.mtu_maximum,
        profile: Profile = CURRENT,
        kept: Sequence[Address] = (),
    ) -> None:
        self._fixed = fixed
        self._profile = profile
        self._sizes = _path_probe_sizes(mtu, profile)
        self._size = 0
        self._cathedral: Address | None = None
        self._asked: Address | None = None
        self._relays: deque[str] = deque(maxlen=MAX_RELAYS)
        self._path: Watch | None = None
        self._trial: Trial | None = None
        self._announced: Address | None = None
        self._announced_at = -math.inf
        self._kept: deque[Address] = deque(kept, maxlen=MAX_KEPT)
        self._acknowledges = False
        self._said_to_prove = False
        self._heard_at = -math.inf if kept else now
        self._relayed_at = -math.inf
        self._tried_at = -math.inf
        self._probes: list[bytes] = []
        self._told: Address | None = None
        if fixed is not None:
            self._path = self._watch(fixed, now)
        self._told = self.address

    def __repr__(self) -> str:
        how = "directly" if self.direct else "relayed"
        tried = "" if self._trial is None else f", trying {self._trial.address}"
        return f"<Whereabouts {how} {self.address or 'nowhere'}{tried}>"

    @property
    def address(self) -> Address | None:
        """Where to send: the peer's own address when direct, else the cathedral, if any."""
        return self._cathedral if self._path is None else self._path.address

    @property
    def direct(self) -> bool:
        """Whether we send to an address of the peer's own."""
        return self._path is not None

    @property
    def candidate(self) -> Address | None:
        """Where probes go: the address that is tried, else the path in use, to watch it."""
        if self._trial is not None:
            return self._trial.address
        return None if self._path is None else self._path.address

    def is_relay(self, address: Address) -> bool:
        """Whether a cathedral of ours is there, the current one or an earlier one, or one that is
        only asked. Ports are not compared: a cathedral has two."""
        if address.host in self._relays:
            return True
        asked, path = self._asked, self._path
        # The path was proved to lead to the peer, which no word of a cathedral changes.
        on_path = path is not None and path.address.host == address.host
        return asked is not None and asked.host == address.host and not on_path

    def offers_to(self, now: float) -> tuple[Address, ...]:
        """Where offers of a key exchange go: they must arrive before anything can be proved.

        That is :attr:`address`; the address that is tried, once something authentic came from it;
        and after a long silence wherever the peer is known to have been.
        """
        targets = dict.fromkeys([self.address])
        trial = self._trial
        if trial is not None and now < trial.heard_at + LOST_S:
            targets[trial.address] = None
        if now >= self._heard_at + LOST_S:
            targets |= dict.fromkeys(self._kept)
        return tuple(target for target in targets if target is not None)

    def acknowledgements_to(self) -> tuple[Address, ...]:
        """Where acknowledgements go: also to an address that is tried and has spoken, as the relay
        may be dead."""
        targets, trial = dict.fromkeys([self.address]), self._trial
        if trial is not None and trial.heard_at > -math.inf:
            targets[trial.address] = None
        return tuple(target for target in targets if target is not None)

    def recent(self) -> tuple[Address, ...]:
        """The peer's last addresses that were proved, the newest first."""
        return tuple(self._kept)

    def cathedral_is(self, address: Address | None, now: float, *, trusted: bool = True) -> None:
        """This is the current cathedral from now on; ``None``: there is none.

        Unless it is ``trusted`` it is only asked: it may be a victim, or the peer itself, and what
        is for the peer goes where it went before.
        """
        self._asked = None if trusted else address
        if not trusted:
            return
        before, self._cathedral = self._cathedral, address
        if address is None:
            return
        if address.host not in self._relays:
            self._relays.append(address.host)
        trial = self._trial
        if trial is not None and self.is_relay(trial.address):
            self._trial = None
        elif trial is not None and address != before:
            trial.at_once(now)  # the relay may be gone with the last one
        if self._path is not None and self._fixed is None and self.is_relay(self._path.address):
            self._path = None

    def announced(self, address: Address, now: float, *, peer_proves: bool = False) -> None:
        """The cathedral says where to send: an address of the peer, or the cathedral's own; and
        whether the peer is one that proves paths, too, so that its acknowledgements can be awaited.

        It may lie. What it names gets no more than a heartbeat a second until the peer speaks from
        there, and what no peer can have as its address gets nothing.
        """
        self._said_to_prove = peer_proves
        if self._fixed is not None:
            return
        path, trial = self._path, self._trial
        if address.host in self._relays:
            self._announced = None
        elif self._is_possible(address):
            self._announced = address
        else:
            return
        self._announced_at = now
        if path is not None:
            if address != path.address and now >= path.heard_at + HOLD_S:
                self._back_to_relay(now)
        elif self._announced is not None and (
            trial is None or (trial.address != address and now >= trial.heard_at + HOLD_S)
        ):
            self._try(address, now)

    def observe(self, source: Address, at: float) -> None:
        """Something authentic came from this address at ``at``, traffic or an offer of a key."""
        self._heard_at = max(self._heard_at, at)
        path, trial = self._path, self._trial
        if path is not None and source == path.address:
            path.heard_at = max(path.heard_at, at)
            if trial is not None and at >= trial.since + AFTERMATH_S:
                self._trial = None  # it is back, or was never gone
            return
        if source.host in self._relays:
            if trial is not None and at > trial.since:
                trial.elsewhere()
            self._relayed_at = max(self._relayed_at, at)
            if path is not None and self._is_refuted(path, at):
                self._back_to_relay(at)
            return
        if trial is None or trial.address != source:
            if trial is not None and at < trial.heard_at:
                return  # older news than what we go by
            trial = self._try(source, at)
        trial.heard(at)
        self._judge(trial, at)

    def probe_answered(self, size: int, now: float) -> bool:
        """An acknowledgement of this size came, from wherever; whether it was of a path probe, and
        says nothing of the MTU."""
        self._acknowledges = True
        trial, path = self._trial, self._path
        if trial is not None and size == trial.size:
            trial.answered_at = now
            self._judge(trial, now)
        elif path is not None and size == path.size:
            path.answered(now)
        return size in self._sizes

    def probe_received(self) -> None:
        """The peer sent a probe of its own, so it is one that acknowledges ours."""
        self._acknowledges = True

    def key_installed(self, now: float) -> None:
        """There is a new sending key: what was tried without any was in vain."""
        if self._trial is not None:
            self._trial.burst(now)

    def network_changed(self, now: float) -> None:
        """Our own address may be another one: see at once whether anything still passes."""
        if self._trial is not None:
            self._trial.burst(now)
        elif self._path is not None:
            self._path.doubt()

    def peer_restarted(self, now: float) -> None:
        """The peer is another instance. If it speaks through the relay, it is elsewhere, or has
        forgotten where we are: the path that was proved of the last one says nothing."""
        path = self._path
        if path is not None and self._fixed is None and self._relayed_at > path.heard_at:
            self._back_to_relay(now)

    def give_up(self, now: float) -> None:
        """The peer is unresponsive: back to the cathedral, or to the fixed address."""
        if self._fixed is not None:
            self._path, self._trial = self._watch(self._fixed, now), None
        elif self._path is not None:
            self._back_to_relay(now)

    def changed(self) -> bool:
        """Whether :attr:`address` is another than at the last call."""
        before, self._told = self._told, self.address
        return self._told != before

    def probes(self) -> list[bytes]:
        """Drain the payloads to seal with ``NEXT_GRACE`` and to send to :attr:`candidate`."""
        probes, self._probes = self._probes, []
        return probes

    def wake_at(self) -> float | None:
        """When to be woken: the past means at once."""
        at = self._lost_at()
        if self._trial is not None:
            at = min(at, self._trial.next_at)
        elif self._path is not None and self._path.address != self._fixed:
            at = min(at, self._path.next_at(self._acknowledges))
        return None if at == math.inf else at

    def wake(self, now: float) -> None:
        """Give up a path that is lost, and make the probes that are due."""
        if now >= self._lost_at():
            self._back_to_relay(now)
        trial, path = self._trial, self._path
        if trial is not None:
            if now >= trial.next_at:
                self._tried_at = now
                self._probes = trial.wake(now)
                self._judge(trial, now)
        elif path is not None and path.address != self._fixed:
            self._probes += path.wake(self._acknowledges, now)

    def _is_possible(self, address: Address) -> bool:
        """Whether a peer can have this address: not that of many, nor one on this very machine
        where the cathedral isn't on it, too."""
        if not is_a_host(address):
            return False
        here = self._cathedral
        return not ipaddress.ip_address(address.host).is_loopback or (
            here is not None and ipaddress.ip_address(here.host).is_loopback
        )

    def _lost_at(self) -> float:
        """When the path is given up. A fixed address never is for silence."""
        path, trial = self._path, self._trial
        if path is None or path.address == self._fixed:
            return math.inf
        at = path.lost_at(self._acknowledges)
        if trial is None:
            return at
        return min(at, max(path.heard_at, trial.since) + HOLD_S)

    def _is_refuted(self, path: Watch, at: float) -> bool:
        """Whether something relayed, that came at ``at``, shows that a path leads nowhere.

        Who acknowledges nothing moves to a path at the first packet of ours that comes by it. So
        one that goes on by the relay doesn't hear us, and it takes an acknowledgement to go there
        again. Its own packets may come directly all the while, and show nothing.
        """
        if path.guessed and at >= path.since + AFTERMATH_S:
            self._acknowledges = True
            return True
        return at >= path.heard_at + HOLD_S

    def _judge(self, trial: Trial, now: float) -> None:
        """Take the path if it is proved by now."""
        if not trial.proved(self._acknowledges or self._said_to_prove, now):
            return
        guessed = trial.answered_at == -math.inf
        self._path = self._watch(trial.address, now, trial.size, guessed=guessed)
        self._trial = None
        if trial.address in self._kept:
            self._kept.remove(trial.address)
        self._kept.appendleft(trial.address)

    def _back_to_relay(self, now: float) -> None:
        """The path is lost: try what was announced since, else the same address, or go on."""
        path, self._path = self._path, None
        assert path is not None, "only a path can be lost"
        if self._trial is not None:
            self._trial.burst(now)
            return
        fresh = self._announced if self._announced_at > path.heard_at else None
        self._try(fresh or path.address, now)

    def _try(self, address: Address, now: float) -> Trial:
        begin = max(now, self._tried_at + AT_ONCE_S)
        self._trial = Trial(address, self._next_size(), now, begin, self._profile)
        return self._trial

    def _watch(
        self, address: Address, now: float, size: int | None = None, *, guessed: bool = False
    ) -> Watch:
        return Watch(address, size or self._next_size(), now, self._profile, guessed=guessed)

    def _next_size(self) -> int:
        self._size = (self._size + 1) % len(self._sizes)
        return self._sizes[self._size]


def _path_probe_sizes(mtu: int, profile: Profile) -> tuple[int, ...]:
    """The smallest sizes that a peer acknowledges and discovery of the MTU doesn't use."""
    used = set(discovery_sizes(mtu, profile))
    smallest = profile.mtu_minimum
    odd = [size for size in range(smallest, mtu + 1) if size not in used]
    return tuple(odd[:PROBE_SIZES]) or (smallest,)
