"""The invariants: a ledger of each key's every use, kept beside the protocol, not by it.

The ledger sees what goes through the suite (a key derived, a packet sealed, a packet opened) and
knows from the network which packets arrived undamaged and for the first time. What must hold is
written in :class:`Rule`. A *life* is one node between start and stop: all its keys die with it, so
packets under keys from before a restart may be refused, and nothing else may.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque
from typing import NamedTuple

from chancel.sim.clock import HostClock, VirtualClock
from chancel.sim.used_keys import UsedKeys

SEND_KEY_LIMIT_S = 3600.0
RECEIVE_KEY_LIMIT_S = 3620.0

SILENCE_LIMIT_S = 15.5
"""A heartbeat leaves every 15 s while there is a key to send with; half a second for rounding."""

MAX_RECENT_KEYS = 16
"""For so many of a life's newest keys at most, and only while they may be used, it is known which
packets were opened."""

ECHO_S = 20.0
"""Offers of an ended life are answered for up to this long (15 s of repeats, 10 s of validity)."""


class Rule(enum.StrEnum):
    """What a run must never do."""

    NONCE_TWICE = "a nonce was used twice under one key"
    SEND_KEY_AGE = "a sending key was used for longer than 3600 s"
    RECEIVE_KEY_AGE = "a receiving key was used for longer than 3620 s"
    REFUSED = "a packet that arrived was refused because of a rekey"
    KEYS_DIFFER = "a packet was sealed under a key that the receiver never derived"
    SILENT = "a running tunnel had no key to send with"
    NOT_UP = "a tunnel that can exist did not come up within its bound"
    NOT_DIRECT = "a tunnel that can be direct stayed relayed"
    REPEATED = "a packet was opened twice"
    PLAINTEXT = "a payload was readable on the network"


class Violation(NamedTuple):
    """One broken rule: when (virtual seconds), at which node, and the particulars."""

    at: float
    node: str
    rule: Rule
    detail: str

    def __str__(self) -> str:
        return f"{self.at:.3f} s, {self.node}: {self.rule} ({self.detail})"


@dataclasses.dataclass(slots=True, eq=False)
class KeyRecord:
    """A traffic key as one life derived it; ``born`` on the host's clock, ``born_at`` virtual."""

    key: bytes
    born: float
    born_at: float
    opened: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """Each nonce, with the number of the datagram it was last opened from (see ``Life``)."""


class Ledger:
    """The whole simulation's record."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.recoveries: list[float] = []
        self.longest_silence_s = 0.0
        self._violations: list[Violation] = []
        self._offer_keys = UsedKeys()
        self.nonces: dict[bytes, bytes] = {}
        self.sealed_under: dict[bytes, KeyRecord] = {}
        self.waiting_since: float | None = None
        self._calm_since = math.inf
        self._heard: set[str] = set()

    def broken(self, node: str, rule: Rule, detail: str) -> None:
        """Record a violation, now."""
        self._violations.append(Violation(self.clock.now, node, rule, detail))

    @property
    def violations(self) -> list[Violation]:
        """What was broken so far: nothing, after a good run."""
        self._repeated("one end", self._offer_keys.settle())
        return self._violations

    def offered(self, node: str, key: bytes) -> None:
        """An offer was sealed; its nonce is fixed, so its key must be new."""
        self._repeated(node, self._offer_keys.use(key))

    def _repeated(self, node: str, times: int) -> None:
        for _ in range(times):
            self.broken(node, Rule.NONCE_TWICE, "an offer's seed was repeated")

    def disturbed(self) -> None:
        """A node goes down: until :meth:`expect_up` is met, silence is no violation."""
        self._calm_since = math.inf
        self.waiting_since = None

    def expect_up(self, bound_s: float) -> None:
        """From now on the tunnel can exist: within the bound both ends must hear each other."""
        self._calm_since = math.inf
        self.waiting_since = self.clock.now
        self._heard.clear()
        self.clock.call_at(self.clock.now + bound_s, self._check_up, self.clock.now)

    def heard(self, life: Life) -> None:
        """One end opened a packet under a key younger than the start that is waited for."""
        self._heard.add(life.node)
        if len(self._heard) == 2 and self.waiting_since is not None:
            self.recoveries.append(self.clock.now - self.waiting_since)
            self.waiting_since = None
            self._calm_since = self.clock.now

    def silent(self, life: Life, since: float) -> None:
        """A life sealed nothing from ``since`` until now."""
        if since >= self._calm_since:
            silence_s = self.clock.now - since
            self.longest_silence_s = max(self.longest_silence_s, silence_s)
            if silence_s > SILENCE_LIMIT_S:
                self.broken(life.node, Rule.SILENT, f"for {silence_s:.1f} s")

    def _check_up(self, since: float) -> None:
        if self.waiting_since == since:
            missing = sorted(self._heard) or ["neither end"]
            detail = f"after {self.clock.now - since:.0f} s; heard so far: {', '.join(missing)}"
            self.broken("tunnel", Rule.NOT_UP, detail)


class Life:
    """One node from start to stop: what its suite did."""

    def __init__(
        self, ledger: Ledger, node: str, clock: HostClock, receive_limit_s: float | None
    ) -> None:
        self.node = node
        self.opens = 0
        self._datagram = 0
        self._ledger = ledger
        self._clock = clock
        self._receive_limit_s = receive_limit_s
        self._started_at = ledger.clock.now
        self._erased_at = -math.inf
        self._last_seal_at: float | None = None
        self._keys: dict[bytes, KeyRecord] = {}
        self._recent: deque[KeyRecord] = deque()

    def derived(self, key: bytes) -> None:
        """A traffic key came out of key derivation."""
        record = KeyRecord(key, self._clock.monotonic(), self._ledger.clock.now)
        self._keys[key] = record
        recent = self._recent
        recent.append(record)
        while len(recent) > MAX_RECENT_KEYS or recent[0].born < record.born - RECEIVE_KEY_LIMIT_S:
            recent.popleft().opened.clear()

    def record(self, key: bytes) -> KeyRecord | None:
        """The traffic key's record, or ``None`` where ``key`` is for an offer."""
        return self._keys.get(key)

    def offered(self, key: bytes) -> None:
        """An offer was sealed."""
        self._ledger.offered(self.node, key)

    def sealed(self, record: KeyRecord, nonce: bytes, header: bytes) -> None:
        """A traffic packet was sealed. Nonces of a key must rise, which is stricter than differ."""
        ledger = self._ledger
        now = ledger.clock.now
        if nonce <= ledger.nonces.get(record.key, b""):
            ledger.broken(self.node, Rule.NONCE_TWICE, nonce.hex())
        ledger.nonces[record.key] = nonce
        ledger.sealed_under[header[:4]] = record
        age_s = self._clock.monotonic() - record.born
        if age_s > SEND_KEY_LIMIT_S:
            ledger.broken(self.node, Rule.SEND_KEY_AGE, f"{age_s:.3f} s")
        if self._last_seal_at is not None:
            ledger.silent(self, self._last_seal_at)
        self._last_seal_at = now

    def arrived(self) -> None:
        """Another datagram arrived: what is opened from now on is opened from this one."""
        self._datagram += 1

    def opened(self, record: KeyRecord, nonce: bytes) -> None:
        """A traffic packet was opened. A batch may look into one, and leave it to be opened again:
        that is no repetition while no other datagram came."""
        self.opens += 1
        opened_from = record.opened.get(nonce)
        if opened_from is not None and (opened_from < self._datagram or not self._datagram):
            self._ledger.broken(self.node, Rule.REPEATED, nonce.hex())
        record.opened[nonce] = self._datagram
        age_s = self._clock.monotonic() - record.born
        if self._receive_limit_s is not None and age_s > self._receive_limit_s:
            self._ledger.broken(self.node, Rule.RECEIVE_KEY_AGE, f"{age_s:.3f} s")
        since = self._ledger.waiting_since
        if since is not None and record.born_at >= since:
            self._ledger.heard(self)

    def refused(self, datagram: bytes) -> None:
        """A traffic packet, undamaged and for the first time here, was not opened. Judge why."""
        ledger = self._ledger
        sent_under = ledger.sealed_under.get(datagram[:4])
        if sent_under is None:
            ledger.broken(self.node, Rule.KEYS_DIFFER, f"SPI {datagram[:4].hex()} is nobody's")
            return
        ours = self._keys.get(sent_under.key)
        if ours is None:
            if sent_under.born_at > self._started_at + ECHO_S:
                ledger.broken(self.node, Rule.KEYS_DIFFER, f"SPI {datagram[:4].hex()}")
            return
        expired = self._clock.monotonic() - ours.born >= RECEIVE_KEY_LIMIT_S
        if not expired and ours.born_at >= self._erased_at:
            age_s = ledger.clock.now - ours.born_at
            ledger.broken(
                self.node, Rule.REFUSED, f"SPI {datagram[:4].hex()}, key of {age_s:.1f} s"
            )

    def erased(self) -> None:
        """The protocol gave the peer up and erased its keys, as it must after 120 s of silence."""
        self._erased_at = self._ledger.clock.now

    def slept(self) -> None:
        """A suspend ended: its silence is no violation."""
        self._last_seal_at = None

    def end(self) -> None:
        """The node stops, or the run is over: the last silence counts too."""
        if self._last_seal_at is not None:
            self._ledger.silent(self, self._last_seal_at)
