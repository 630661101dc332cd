"""Release 0.9.20's recorded values: keys, an exchange, packets, encapsulation (section 15)."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from chancel.crypto.kdf import OfferKind, Purpose, offer_key
from chancel.crypto.kdf_legacy import base_key
from chancel.crypto.system import SystemSuite
from chancel.protocol.encapsulation import Encapsulation
from chancel.protocol.exchange import Exchange
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.protocol.offers import open_exchange_offer_untrusted
from chancel.protocol.opening import Opener
from chancel.protocol.profile import V0_9
from chancel.protocol.states import State
from chancel.protocol.tfc import Tfc
from chancel.protocol.traffic import Sealer
from chancel.vault.secret import Secret
from chancel.wire.types import NO_FLOCKS, Address, Salt, SessionKey, Spi
from tests.protocol.recorded import RecordedSuite, as_recorded, bodies

RECORD = json.loads(
    (Path(__file__).parents[1] / "vectors" / "legacy-0.9.20.json").read_text(encoding="utf-8")
)
SECRET = bytes.fromhex(RECORD["secret"])
WALL = float(RECORD["wall_clock"])
SUITE = SystemSuite()
OFFER = V0_9.layouts.offer

packets = pytest.mark.parametrize("vector", RECORD["packets"], ids=lambda vector: vector["name"])


def base(purpose: Purpose) -> bytes:
    return base_key(SUITE, purpose, SECRET, NO_FLOCKS)


def test_base_keys_and_offer_keys() -> None:
    assert base(Purpose.PEER_OFFER).hex() == RECORD["offer_base"]
    assert base(Purpose.TRAFFIC_RX).hex() == RECORD["traffic_base"]
    assert base(Purpose.TRAFFIC_TX).hex() == RECORD["traffic_base"]
    seed = bytes.fromhex(RECORD["seed"])
    for kind, name in ((OfferKind.EXCHANGE, "exchange"), (OfferKind.PILGRIM, "pilgrimage")):
        key = offer_key(SUITE, kind, base(Purpose.PEER_OFFER), seed)
        assert key.hex() == RECORD[f"offer_key_{name}"]


def test_sizes() -> None:
    assert (OFFER.offer_bytes, OFFER.header_bytes) == (
        RECORD["sizeof_offer"],
        RECORD["sizeof_header"],
    )


def test_the_recorded_exchange_leads_to_the_recorded_keys() -> None:
    sides = {
        side: Exchange(
            RecordedSuite(RECORD, side),
            lambda: Secret(SECRET),
            0.0,
            WALL,
            peer_configured=True,
            profile=V0_9,
        )
        for side in "AB"
    }
    commands: dict[str, list[tuple[str, dict[str, str]]]] = defaultdict(list)
    sent: dict[str, list[bytes]] = defaultdict(list)
    originals: dict[str, list[bytes]] = defaultdict(list)
    sides["A"].wake(0.0, WALL)
    for event in RECORD["events"]:
        if event["event"] == "packet":
            wire = bytes.fromhex(event["wire"])
            originals[event["from"]].append(wire)
            sides[event["to"]].receive(wire, Address("192.0.2.9", 1), 0.0, WALL)
        for side, exchange in sides.items():
            commands[side] += [as_recorded(command) for command in exchange.commands()]
            sent[side] += exchange.datagrams()
    for exchange in sides.values():
        exchange.wake(1.0, WALL + 1)
    for side, exchange in sides.items():
        sent[side] += exchange.datagrams()
        expected = {slot: RECORD["result"][f"{side}_{slot}"] for slot in ("rx", "tx")}
        assert dict(commands[side]) == expected
        assert exchange.state is State.KEYED
        assert not exchange.drops
        assert {len(datagram) for datagram in sent[side]} == {RECORD["sizeof_offer"]}
        key = base(Purpose.PEER_OFFER)
        assert bodies(key, sent[side], OFFER) == bodies(key, originals[side], OFFER)
    first = open_exchange_offer_untrusted(SUITE, base(Purpose.PEER_OFFER), originals["A"][0], OFFER)
    assert (first.timestamp, first.random) == (RECORD["wall_clock"], b"")


@packets
def test_packets_are_those_of_the_reference(vector: dict[str, Any]) -> None:
    spi = Spi(int(vector["spi"], 16))
    salt, key = Salt(bytes.fromhex(vector["salt"])), SessionKey(bytes.fromhex(vector["key"]))
    number, wire = int(vector["pn"], 16), bytes.fromhex(vector["wire"])
    payload = bytes.fromhex(vector["payload"])
    assert len(wire) == vector["udp_payload_length"]
    mtu = vector.get("tfc_tunnel_mtu")
    tfc = None if mtu is None else Tfc(mtu, V0_9.layouts.traffic.overhead_bytes)

    opener = Opener(NO_FLOCKS, SUITE, profile=V0_9)
    opener.execute(InstallReceiveKey(spi, salt, key), 0.0)
    opened = opener.open_untrusted(wire, 1.0)
    assert opened.next_ == vector["next"]
    assert (tfc.cut_untrusted(opened.payload) if tfc else opened.payload) == payload

    sealer = Sealer(NO_FLOCKS, SUITE, dataclasses.replace(V0_9, send_limit_packets=2**64))
    sealer.execute(InstallSendKey(spi, salt, key), 0.0)
    sealer.reserve(number - 1, 0.0)
    assert sealer.seal(tfc.fill(payload) if tfc else payload, vector["next"], 0.0) == wire


class FixedSuite(SystemSuite):
    """Draws what it is given."""

    def __init__(self, *drawn: bytes) -> None:
        super().__init__()
        self._drawn = list(drawn)

    def random(self, size: int) -> bytes:
        drawn = self._drawn.pop(0)
        assert len(drawn) == size
        return drawn


@packets
def test_encapsulated_packets_are_those_of_the_reference(vector: dict[str, Any]) -> None:
    wire = bytes.fromhex(vector["wire"])
    wrapped = bytes.fromhex(vector["encapsulated_wire"])
    key = bytes.fromhex(vector["tek"])
    assert Encapsulation(key, SUITE).unwrap(wrapped) == wire
    suite = FixedSuite(wrapped[:4], wrapped[16:32])
    count = int.from_bytes(wrapped[8:16], "big")
    assert Encapsulation(key, suite, count).wrap(wire, 1400) == wrapped
