"""The reference's recorded exchanges, played to ours packet by packet (sections 4 to 7)."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from chancel.crypto.kdf import Purpose, base_key
from chancel.crypto.system import SystemSuite
from chancel.protocol.exchange import Exchange
from chancel.protocol.states import State
from chancel.vault.secret import Secret
from chancel.wire.types import Address, FlockId, Flocks
from tests.protocol.recorded import RecordedSuite, as_recorded, bodies

VECTOR_FILES = Path(__file__).parents[1] / "vectors"
RECORDS = ["exchange", "exchange-id-order", "exchange-flock"]


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
        in_the_end = {slot: record["result"][f"{side}_{slot}"] for slot in ("rx", "tx")}
        assert dict(installed[side]) == in_the_end
        assert exchange.state is State.KEYED
        assert not exchange.drops
        base = base_key(SystemSuite(), Purpose.PEER_OFFER, secret, flocks[side])
        assert bodies(base, sent[side]) == bodies(base, originals[side])
