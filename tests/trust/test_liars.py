"""A device that lies in every field of every message leaves honest ones unharmed."""

from __future__ import annotations

import dataclasses
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.protocol.cathedral.settings import Allow
from chancel.sim.cathedral_node import CathedralNode
from chancel.sim.clock import EPOCH_S
from chancel.sim.heresy import REPENT_S
from chancel.sim.heresy_meeting import HeresyMeeting
from chancel.sim.liar import BODIES, DATA, HEAD, MESSAGES, TRAFFIC, Liar, fields_of
from chancel.sim.meeting import DEVICES, FLOCK, NAT_PORT, OUTSIDE, PORT, MeetingScenario
from chancel.sim.models import LinkModel
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire import ambry, info, liturgy, offer, peer_info, remembrance
from chancel.wire.cathedral_fields import CathedralId, encode_address
from chancel.wire.traffic import CURRENT as TRAFFIC_LAYOUT
from chancel.wire.types import Address

LIAR = 0x0C
LIAR_AT = Address("198.51.100.66", PORT)
LIES_S = 20.0
TURN_S = 0.1

RELAYED = MeetingScenario(1, ("symmetric", "symmetric"), cathedrals=2, ambry=True)
DIRECT = MeetingScenario(1, (None, "port-restricted"), cathedrals=1, ambry=True)


class Gathering(HeresyMeeting):
    """Two honest devices, and a client of the same flock that lies."""

    def __init__(self, scenario: MeetingScenario) -> None:
        super().__init__(scenario)
        rng = random.Random(f"liar {scenario.seed}")
        seed, secret = rng.randbytes(32), rng.randbytes(32)
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self._keys.add(CathedralId(LIAR), Secret(secret), public)
        flock = FLOCK.to_bytes(8, "big")
        spis = [(own << 24 | peer << 16 | 1).to_bytes(4, "big") for own, peer in pairs()]
        tunnels = [bytes(pair) for pair in pairs()]
        hosts = [encode_address(Address(host, PORT)) for host in OUTSIDE]
        self.liar = Liar(
            FastSuite(rng),
            *(rng, FLOCK, CathedralId(LIAR), secret, seed + public),
            truth={
                "own": flock,
                "peer": flock,
                "spi": LIAR.to_bytes(4, "big"),
                "tunnel": bytes((LIAR, DEVICES[0])),
                "instance": b"\1" * 8,
                "id": bytes([LIAR]),
                "receiving": bytes((LIAR, DEVICES[0], 0, 1)),
            },
            honest={
                1: [bytes((device,)) for device in DEVICES],
                2: tunnels,
                6: hosts,
                8: [flock],
                4: [*spis, *(device.to_bytes(4, "big") for device in DEVICES)],
            },
        )
        self._number = 0
        self._host = self.network.host(LIAR_AT, LinkModel(latency_s=0.01), self._heard)
        self.heard: list[bytes] = []

    def _cathedrals(self) -> list[CathedralNode]:
        made = super()._cathedrals()
        for node in made:
            flocks = node._settings.flocks
            allows = (*flocks[FLOCK].allows, Allow(CathedralId(LIAR), LIAR, 0))
            mine = dataclasses.replace(flocks[FLOCK], allows=allows)
            node._settings = dataclasses.replace(node._settings, flocks={FLOCK: mine})
        return made

    def _heard(self, datagram: bytes, _source: Address, _pristine: bool) -> None:
        self.heard.append(datagram)

    def tell(self, message: str, lie: str | None = None) -> None:
        """Say it to everybody."""
        said = self.liar.say(message, EPOCH_S + self.clock.now, lie)
        for cathedral in self.cathedrals:
            for port in (PORT, NAT_PORT):
                self._say(said, Address(cathedral.address.host, port))
        for host in OUTSIDE:
            self._say(said, Address(host, PORT))

    def _say(self, said: bytes, to: Address) -> None:
        self.network.send(self._host, said, to)

    def lie(self, message: str) -> None:
        """About each field in turn, while the honest ones talk."""
        fields = fields_of(message)
        turns = 0
        until = self.clock.now + LIES_S
        while self.clock.now < until or turns < len(fields):
            if turns % 5 == 0:
                self.tell("info")  # so that it stays registered, at the second's first word
            self.tell(message, fields[turns % len(fields)])
            turns += 1
            self._number += 1
            for device in self.devices:
                device.send(b"%s %d" % (device.name.encode(), self._number))
            self.run(TURN_S)


def pairs() -> list[tuple[int, int]]:
    one, two = DEVICES
    return [(one, two), (two, one), (LIAR, one), (one, LIAR)]


@pytest.mark.parametrize("scenario", [RELAYED, DIRECT], ids=["relayed", "direct"])
@pytest.mark.parametrize("message", MESSAGES)
def test_a_device_that_lies_in_every_field_harms_nobody(
    message: str, scenario: MeetingScenario
) -> None:
    meeting = Gathering(scenario)
    meeting.start()
    meeting.run(15.0)
    assert meeting.direct() == (scenario is DIRECT)
    before, sent = len(meeting.delivered), sum(len(each.sent) for each in meeting.devices)
    meeting.lie(message)
    meeting.run(2.0)
    sent = sum(len(each.sent) for each in meeting.devices) - sent
    assert len(meeting.delivered) - before == sent > 2 * LIES_S / TURN_S - 10
    assert meeting.problems() == []
    assert meeting.direct() == (scenario is DIRECT)
    for node in meeting.cathedrals:
        assert node.cathedral is not None
        counts = node.cathedral.statistics()
        assert counts.tunnels_local + counts.tunnels_federated <= len(DEVICES) + 2 * len(DEVICES)
        assert sum(node.cathedral.drops.values()) > 0


@pytest.mark.parametrize("scenario", [RELAYED, DIRECT], ids=["relayed", "direct"])
def test_a_peer_that_lies_in_every_field_costs_no_more_than_its_tunnel(
    scenario: MeetingScenario,
) -> None:
    """It has the secret of the tunnel, so that all of its offers are authentic."""
    meeting = Gathering(dataclasses.replace(scenario, ambry=False))
    with meeting._shared.reveal() as shared:
        meeting.liar = dataclasses.replace(meeting.liar, shared=bytes(shared))
    meeting.start()
    meeting.run(15.0)
    refused = [sum(node.session.drops.values()) for node in meeting.devices if node.session]
    for _ in range(10):
        meeting.lie("exchange")
    for node, before in zip(meeting.devices, refused, strict=True):
        assert node.session is not None
        assert sum(node.session.drops.values()) > before
    begin = meeting.clock.now
    while meeting.exchange(1) != 2:
        assert meeting.clock.now < begin + REPENT_S
    assert meeting.problems() == []


def test_what_it_says_truly_is_believed() -> None:
    """So a lie is refused for what it says, not for how."""
    meeting = Gathering(RELAYED)
    meeting.start()
    meeting.run(15.0)
    cathedral = meeting.cathedrals[0].cathedral
    assert cathedral is not None
    meeting.tell("info")
    meeting.run(1.0)
    meeting.tell("liturgy")
    meeting.run(1.0)
    assert LIAR in {end.device for end in cathedral._tunnels}
    counts = cathedral.statistics()
    assert counts.liturgies_local + counts.liturgies_federated == 1
    assert meeting.heard, "the liturgy is answered"


def test_every_byte_of_every_message_is_lied_about() -> None:
    sizes = {
        "ambry": 2 + ambry.HEADER_BYTES + ambry.WRAPPED_BYTES,
        "info": info._INFO.size,
        "liturgy": liturgy._LITURGY.size,
        "remembrance": remembrance.TABLE_BYTES,
        "exchange": offer.BODY_BYTES,
        "peer info": peer_info._PEER_INFO.size,
    }
    found = {name: sum(fields.values()) for name, (_, fields) in BODIES.items()}
    assert found == sizes
    assert sum(HEAD.values()) == offer.HEADER_BYTES
    assert sum(DATA.values()) == offer.DATA_BYTES - offer.BODY_BYTES
    assert sum(TRAFFIC.values()) - TRAFFIC["payload"] == TRAFFIC_LAYOUT.header_bytes
