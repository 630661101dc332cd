"""The reference's recorded exchanges, played to ours packet by packet (sections 4 to 7)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chancel.crypto.kdf import Purpose, base_key
from chancel.crypto.suite import EcdhKeyPair, KemKeyPair
from chancel.crypto.system import MlKem1024KeyPair, SystemSuite, X25519KeyPair
from chancel.protocol.exchange import Exchange
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.protocol.offers import ExchangeOffer, open_exchange_offer_untrusted
from chancel.protocol.states import State
from chancel.vault.secret import Secret
from chancel.wire.offer import ExchangeBody
from chancel.wire.types import Address, Buffer, FlockId, Flocks

VECTOR_FILES = Path(__file__).parents[1] / "vectors"
RECORDS = ["exchange", "exchange-id-order", "exchange-flock"]


class RecordedSuite(SystemSuite):
    """Draws what one side of the reference drew, and encapsulates to what it encapsulated to."""

    def __init__(self, record: dict[str, Any], side: str) -> None:
        super().__init__()
        state = record[f"state_{side}"]
        local, remote = state["local"], state["remote"]
        self._remote = {name: bytes.fromhex(value) for name, value in remote.items()}
        self._local_shared = bytes.fromhex(local["mlkem_ss"])
        self._randoms: dict[int, list[str]] = {
            8: [record[f"id_{side}"]],
            4: [local["spi"], local["salt"]],
            16: [local["random"], remote["random"]],
        }
        self._ecdh = [local["x25519_private"], remote["x25519_private"]]
        self._seeds = [
            event["mlkem_seed"]
            for event in record["events"]
            if event["event"] == "offer created" and event["side"] == side
        ]

    def random(self, size: int) -> bytes:
        recorded = self._randoms.get(size)
        return bytes.fromhex(recorded.pop(0)) if recorded else super().random(size)

    def ecdh_key_pair(self) -> EcdhKeyPair:
        private = bytes.fromhex(self._ecdh.pop(0))
        return X25519KeyPair(X25519PrivateKey.from_private_bytes(private))

    def kem_key_pair(self) -> KemKeyPair:
        seed = bytes.fromhex(self._seeds.pop(0))
        return CheckedKemKeyPair(MLKEM1024PrivateKey.from_seed_bytes(seed), self._local_shared)

    def kem_encapsulate(self, peer_public: Buffer) -> tuple[bytes, bytes]:
        assert bytes(peer_public) == self._remote["mlkem_ek"]
        return self._remote["mlkem_ct"], self._remote["mlkem_ss"]


class CheckedKemKeyPair(MlKem1024KeyPair):
    """Decapsulates, and compares with what the reference got."""

    def __init__(self, private: MLKEM1024PrivateKey, expected: bytes) -> None:
        super().__init__(private)
        self._expected = expected

    def decapsulate(self, ciphertext: Buffer) -> bytes:
        shared = super().decapsulate(ciphertext)
        assert shared == self._expected
        return shared


@pytest.mark.parametrize("name", RECORDS)
def test_a_recorded_exchange_leads_to_the_recorded_keys(name: str) -> None:
    record = json.loads((VECTOR_FILES / f"{name}.json").read_text())
    wall, secret = float(record["wall_clock"]), bytes.fromhex(record["secret"])
    left = Flocks(FlockId(int(record["A_flock_src"], 16)), FlockId(int(record["A_flock_dst"], 16)))
    flocks = {"A": left, "B": Flocks(left.peer, left.own)}
    sides = {}
    for side, own_flocks in flocks.items():
        sides[side] = Exchange(
            RecordedSuite(record, side),
            lambda: Secret(secret),
            0.0,
            wall,
            peer_configured=True,
            flocks=own_flocks,
            spi_prefix=record[f"{side}_spi_prefix"],
        )
    installed: dict[str, list[tuple[str, dict[str, str]]]] = defaultdict(list)
    recorded: dict[str, list[tuple[str, dict[str, str]]]] = defaultdict(list)
    sent: dict[str, list[bytes]] = defaultdict(list)
    originals: dict[str, list[bytes]] = defaultdict(list)
    sides["A"].wake(0.0, wall)
    for event in record["events"]:
        match event["event"]:
            case "packet":
                wire = bytes.fromhex(event["wire"])
                originals[event["from"]].append(wire)
                sides[event["to"]].receive(wire, Address("192.0.2.9", 1), 0.0, wall)
            case "key installed":
                recorded[event["side"]].append((event["slot"], event["sa"]))
        for side, exchange in sides.items():
            installed[side] += [as_recorded(command) for command in exchange.commands()]
            sent[side] += exchange.datagrams()
    for exchange in sides.values():
        exchange.wake(1.0, wall + 1)
    assert installed == recorded
    for side, exchange in sides.items():
        assert exchange.state is State.KEYED
        assert not exchange.drops
        base = base_key(SystemSuite(), Purpose.PEER_OFFER, secret, flocks[side])
        assert bodies(base, sent[side]) == bodies(base, originals[side])


def as_recorded(command: object) -> tuple[str, dict[str, str]]:
    assert isinstance(command, InstallReceiveKey | InstallSendKey)
    slot = "rx" if isinstance(command, InstallReceiveKey) else "tx"
    sa = {"spi": f"{command.spi:08x}", "salt": command.salt.hex(), "key": command.key.hex()}
    return slot, sa


def bodies(base: bytes, datagrams: Iterable[bytes]) -> dict[tuple[int, int], object]:
    """What each fragment said, but for the time: (header's SPI, random, body)."""
    said: dict[tuple[int, int], object] = {}
    for datagram in datagrams:
        offer: ExchangeOffer = open_exchange_offer_untrusted(SystemSuite(), base, datagram)
        body: ExchangeBody = offer.body
        said[body.state, body.fragment] = (offer.spi, offer.random, body)
    return said
