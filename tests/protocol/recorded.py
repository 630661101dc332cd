"""What one side of a recorded exchange drew, and what it said, to be compared with ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chancel.crypto.suite import EcdhKeyPair, KemKeyPair
from chancel.crypto.system import MlKem1024KeyPair, SystemSuite, X25519KeyPair
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.protocol.offers import ExchangeOffer, open_exchange_offer_untrusted
from chancel.wire.offer import CURRENT, ExchangeBody, OfferLayout
from chancel.wire.types import Buffer


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
            16: [state["random"] for state in (local, remote) if "random" in state],
        }
        self._ecdh = [(each["x25519_private"], each["x25519_public"]) for each in (local, remote)]
        self._seeds = [
            event["mlkem_seed"]
            for event in record["events"]
            if event["event"] == "offer created" and event["side"] == side
        ]

    def random(self, size: int) -> bytes:
        recorded = self._randoms.get(size)
        return bytes.fromhex(recorded.pop(0)) if recorded else super().random(size)

    def ecdh_key_pair(self) -> EcdhKeyPair:
        private, public = map(bytes.fromhex, self._ecdh.pop(0))
        pair = X25519KeyPair(X25519PrivateKey.from_private_bytes(private))
        assert pair.public == public
        return pair

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


def as_recorded(command: object) -> tuple[str, dict[str, str]]:
    assert isinstance(command, InstallReceiveKey | InstallSendKey)
    slot = "rx" if isinstance(command, InstallReceiveKey) else "tx"
    sa = {"spi": f"{command.spi:08x}", "salt": command.salt.hex(), "key": command.key.hex()}
    return slot, sa


def bodies(
    base: bytes, datagrams: Iterable[bytes], layout: OfferLayout = CURRENT
) -> dict[tuple[int, int], object]:
    """What each fragment said, but for the time: (header's SPI, random, body)."""
    said: dict[tuple[int, int], object] = {}
    for datagram in datagrams:
        offer: ExchangeOffer = open_exchange_offer_untrusted(SystemSuite(), base, datagram, layout)
        body: ExchangeBody = offer.body
        said[body.state, body.fragment] = (offer.spi, offer.random, body)
    return said
