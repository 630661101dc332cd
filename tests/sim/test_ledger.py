"""The ledger notices each broken rule, and only those."""

from __future__ import annotations

import dataclasses
import hashlib
import random

import pytest
from cryptography.exceptions import InvalidTag

from chancel.crypto.kdf import TRAFFIC_LABEL
from chancel.protocol.behaviour import CHANCEL
from chancel.sim.clock import HostClock, VirtualClock
from chancel.sim.ledger import Ledger, Life, Rule
from chancel.sim.pair import Pair
from chancel.sim.scenario import Scenario
from chancel.sim.suite import FastSuite
from chancel.sim.used_keys import BATCH, UsedKeys
from chancel.sim.watched import WatchedSuite

HEADER = b"\x00\x00\x00\x01".ljust(32, b"\0")


class Watched:
    """Two lives that share one traffic key, and their suites."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ledger = Ledger(self.clock)
        self.sender, self.sending = self.life("sender")
        self.receiver, self.receiving = self.life("receiver")

    def life(self, name: str) -> tuple[Life, WatchedSuite]:
        life = Life(self.ledger, name, HostClock(self.clock), receive_limit_s=3620.0)
        return life, WatchedSuite(FastSuite(random.Random(1)), life)

    def derive(self, *suites: WatchedSuite) -> bytes:
        for suite in suites:
            key = suite.kmac256(b"base", b"inputs", 32, TRAFFIC_LABEL)
        return key

    def rules(self) -> list[Rule]:
        return [violation.rule for violation in self.ledger.violations]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def nonce(number: int) -> bytes:
    return b"salt" + number.to_bytes(8, "big")


def test_a_packet_sealed_and_opened_breaks_nothing(watched: Watched) -> None:
    key = watched.derive(watched.sending, watched.receiving)
    sealed = watched.sending.aead(key).encrypt(nonce(1), b"payload", HEADER)
    assert watched.receiving.aead(key).decrypt(nonce(1), sealed, HEADER) == b"payload"
    buffer = bytearray(len(sealed))
    watched.sending.aead(key).encrypt_into(nonce(2), b"payload", HEADER, buffer)
    watched.receiving.aead(key).decrypt_into(nonce(2), buffer, HEADER, bytearray(7))
    assert watched.receiver.opens == 2
    assert watched.rules() == []


def test_a_nonce_used_twice_is_noticed_even_by_a_new_cipher_of_the_same_key(
    watched: Watched,
) -> None:
    key = watched.derive(watched.sending)
    watched.sending.aead(key).encrypt(nonce(7), b"", HEADER)
    watched.sending.aead(key).encrypt(nonce(7), b"", HEADER)
    assert watched.rules() == [Rule.NONCE_TWICE]


def test_an_offer_key_used_twice_is_noticed(watched: Watched) -> None:
    for _ in range(2):
        watched.sending.aead(b"k" * 32).encrypt(nonce(1), b"", b"")
    assert watched.rules() == [Rule.NONCE_TWICE]


@pytest.mark.parametrize("later", [1, BATCH, 10 * BATCH])
def test_an_offer_key_is_remembered_for_the_whole_run(watched: Watched, later: int) -> None:
    keys = [hashlib.sha256(bytes((n >> 8, n & 0xFF))).digest() for n in range(later + 1)]
    for key in keys:
        watched.ledger.offered("sender", key)
    assert watched.rules() == []
    watched.ledger.offered("sender", keys[0])
    watched.ledger.offered("sender", keys[later])
    assert watched.rules() == [Rule.NONCE_TWICE] * 2
    assert watched.rules() == [Rule.NONCE_TWICE] * 2


def test_a_repetition_is_noticed_while_the_run_goes_on() -> None:
    used = UsedKeys()
    keys = [hashlib.sha256(bytes((n >> 8, n & 0xFF))).digest() for n in range(3 * BATCH)]
    assert sum(used.use(key) for key in keys) == 0
    assert sum(used.use(key) for key in (keys[0], *reversed(keys[1:BATCH]))) == BATCH


def test_packets_are_remembered_while_their_key_may_be_used(watched: Watched) -> None:
    key = watched.derive(watched.sending, watched.receiving)
    sealed = watched.sending.aead(key).encrypt(nonce(1), b"", HEADER)
    watched.receiving.aead(key).decrypt(nonce(1), sealed, HEADER)
    record = watched.receiver.record(key)
    assert record is not None
    for age_s, remembered in ((3620.0, 1), (3620.1, 0)):
        watched.clock.run_until(age_s)
        watched.receiving.kmac256(b"base", b"%f" % age_s, 32, TRAFFIC_LABEL)
        assert len(record.opened) == remembered


@pytest.mark.parametrize(("age_s", "broken"), [(3600.0, []), (3600.1, [Rule.SEND_KEY_AGE])])
def test_an_old_sending_key_is_noticed(watched: Watched, age_s: float, broken: list[Rule]) -> None:
    cipher = watched.sending.aead(watched.derive(watched.sending))
    watched.clock.run_until(age_s)
    cipher.encrypt(nonce(1), b"", HEADER)
    assert watched.rules() == broken


@pytest.mark.parametrize(("age_s", "broken"), [(3620.0, []), (3620.1, [Rule.RECEIVE_KEY_AGE])])
def test_an_old_receiving_key_is_noticed(
    watched: Watched, age_s: float, broken: list[Rule]
) -> None:
    key = watched.derive(watched.sending, watched.receiving)
    sealed = watched.sending.aead(key).encrypt(nonce(1), b"", HEADER)
    watched.clock.run_until(age_s)
    watched.receiving.aead(key).decrypt(nonce(1), sealed, HEADER)
    assert watched.rules() == broken


def test_a_packet_opened_twice_is_noticed(watched: Watched) -> None:
    key = watched.derive(watched.sending, watched.receiving)
    sealed = watched.sending.aead(key).encrypt(nonce(1), b"", HEADER)
    for _ in range(2):
        watched.receiving.aead(key).decrypt(nonce(1), sealed, HEADER)
    assert watched.rules() == [Rule.REPEATED]


def test_what_does_not_open_is_no_use_of_a_key(watched: Watched) -> None:
    key = watched.derive(watched.receiving)
    watched.clock.run_until(4000.0)
    with pytest.raises(InvalidTag):
        watched.receiving.aead(key).decrypt(nonce(1), bytes(16), HEADER)
    assert watched.receiver.opens == 0
    assert watched.rules() == []


def test_a_refused_packet_is_a_violation_while_its_key_lives(watched: Watched) -> None:
    key = watched.derive(watched.sending, watched.receiving)
    watched.sending.aead(key).encrypt(nonce(1), b"", HEADER)
    watched.receiver.refused(HEADER)
    assert watched.rules() == [Rule.REFUSED]


def test_a_refused_packet_is_excused_once_keys_were_erased_or_expired(watched: Watched) -> None:
    key = watched.derive(watched.sending, watched.receiving)
    watched.sending.aead(key).encrypt(nonce(1), b"", HEADER)
    watched.clock.run_until(1.0)
    watched.receiver.erased()
    watched.receiver.refused(HEADER)
    assert watched.rules() == []


def test_a_restart_excuses_packets_under_older_keys_and_no_others(watched: Watched) -> None:
    key = watched.derive(watched.sending)
    watched.sending.aead(key).encrypt(nonce(1), b"", HEADER)
    watched.clock.run_until(30.0)
    reborn, _ = watched.life("receiver")
    reborn.refused(HEADER)
    assert watched.rules() == []
    watched.clock.run_until(60.0)
    watched.derive(watched.sending)
    watched.sending.aead(key).encrypt(nonce(2), b"", HEADER)
    reborn.refused(HEADER)
    assert watched.rules() == [Rule.KEYS_DIFFER]


def test_a_packet_of_nobody_is_noticed(watched: Watched) -> None:
    watched.receiver.refused(HEADER)
    assert watched.rules() == [Rule.KEYS_DIFFER]


def test_a_tunnel_is_up_when_both_ends_heard_each_other_under_new_keys(watched: Watched) -> None:
    watched.clock.run_until(100.0)
    watched.ledger.expect_up(bound_s=5.0)
    key = watched.derive(watched.sending, watched.receiving)
    sealed = watched.sending.aead(key).encrypt(nonce(1), b"", HEADER)
    watched.receiving.aead(key).decrypt(nonce(1), sealed, HEADER)
    watched.clock.run_until(105.0)
    assert watched.rules() == [Rule.NOT_UP]
    watched.sending.aead(key).decrypt(nonce(1), sealed, HEADER)
    assert watched.ledger.recoveries == [5.0]


def test_silence_of_a_running_tunnel_is_noticed_and_a_power_failure_is_not(
    watched: Watched,
) -> None:
    cipher = watched.sending.aead(watched.derive(watched.sending))
    watched.ledger.expect_up(bound_s=5.0)
    watched.ledger.heard(watched.sender)
    watched.ledger.heard(watched.receiver)
    cipher.encrypt(nonce(5), b"", HEADER)
    watched.clock.run_until(15.0)
    cipher.encrypt(nonce(6), b"", HEADER)
    assert watched.rules() == []
    watched.clock.run_until(31.0)
    cipher.encrypt(nonce(7), b"", HEADER)
    assert watched.rules() == [Rule.SILENT]
    watched.ledger.disturbed()
    watched.clock.run_until(131.0)
    cipher.encrypt(nonce(8), b"", HEADER)
    assert watched.rules() == [Rule.SILENT]


@pytest.mark.parametrize(
    ("weakness", "noticed_as"),
    [
        ({}, set[Rule]()),
        ({"straggler_s": 0.0}, {Rule.REFUSED}),
        ({"keep_window_on_promotion": False}, {Rule.REPEATED}),
    ],
)
def test_a_weaker_protocol_is_noticed_at_a_key_change_under_traffic(
    weakness: dict[str, float], noticed_as: set[Rule]
) -> None:
    rules = set[Rule]()
    for seed in range(6):
        pair = Pair(Scenario(seed=seed, reorder=0.4, duplicate=0.4, payload_every_s=5.0))
        for node in pair.nodes:
            behaviour = dataclasses.replace(CHANCEL, **weakness)  # type: ignore[arg-type]
            node.settings = dataclasses.replace(node.settings, behaviour=behaviour)
        pair.start()
        pair.clock.run_until(3490.0)
        pair.scenario = dataclasses.replace(pair.scenario, payload_every_s=0.01)
        pair.clock.run_until(3503.0)
        rules |= {violation.rule for violation in pair.report().violations}
    assert rules == noticed_as
