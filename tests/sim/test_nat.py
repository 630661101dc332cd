"""NAT behaviours of RFC 4787, one by one, then the classic types as a table."""

from __future__ import annotations

import random

import pytest

from chancel.sim import nat
from chancel.sim.nat import NAT_TYPES, Dependence, Nat, NatModel, PortAllocation
from chancel.wire.types import Address

PUBLIC = "203.0.113.1"
INSIDE = Address("10.0.0.2", 4500)
PEER = Address("198.51.100.7", 500)
PEER_OTHER_PORT = Address("198.51.100.7", 501)
STRANGER = Address("192.0.2.99", 500)


def make(model: NatModel) -> Nat:
    return Nat(model, PUBLIC, random.Random(1))


def out(translator: Nat, destination: Address, now: float = 0.0, **kw: int) -> Address:
    public = translator.outbound(INSIDE, destination, now, **kw)
    assert public is not None
    return public


@pytest.mark.parametrize(
    ("name", "same_port_to", "answers_from"),
    [
        ("full-cone", {PEER_OTHER_PORT, STRANGER}, {PEER, PEER_OTHER_PORT, STRANGER}),
        ("restricted", {PEER_OTHER_PORT, STRANGER}, {PEER, PEER_OTHER_PORT}),
        ("port-restricted", {PEER_OTHER_PORT, STRANGER}, {PEER}),
        ("symmetric", set[Address](), {PEER}),
        ("symmetric-sequential", set[Address](), {PEER}),
    ],
)
def test_the_classic_types(
    name: str, same_port_to: set[Address], answers_from: set[Address]
) -> None:
    everyone = (PEER, PEER_OTHER_PORT, STRANGER)
    fresh = make(NAT_TYPES[name])
    public = out(fresh, PEER)
    assert {who for who in everyone if fresh.inbound(who, public, 1.0) == INSIDE} == answers_from
    assert {who for who in everyone[1:] if out(fresh, who) == public} == same_port_to


def test_address_dependent_mapping_depends_on_the_host_alone() -> None:
    translator = make(NatModel(mapping=Dependence.ADDRESS_DEPENDENT))
    assert out(translator, PEER) == out(translator, PEER_OTHER_PORT) != out(translator, STRANGER)


def test_ports_are_preserved_where_free_and_differ_where_not() -> None:
    translator = make(NatModel())
    assert out(translator, PEER).port == INSIDE.port
    twin = translator.outbound(Address("10.0.0.3", INSIDE.port), PEER, 0.0)
    assert twin == Address(PUBLIC, INSIDE.port + 1)


def test_sequential_ports_follow_each_other() -> None:
    translator = make(NAT_TYPES["symmetric-sequential"])
    first = out(translator, PEER)
    assert out(translator, STRANGER).port == first.port + 1


def test_random_ports_are_unlike_the_inner_one() -> None:
    translator = make(NatModel(allocation=PortAllocation.RANDOM))
    assert out(translator, PEER).port != INSIDE.port


def test_protocols_have_tables_of_their_own() -> None:
    translator = make(NatModel())
    udp = out(translator, PEER)
    assert translator.inbound(PEER, udp, 0.0, protocol=6) is None
    assert out(translator, PEER, protocol=6) == udp


def test_a_mapping_dies_unless_used_from_inside() -> None:
    translator = make(NatModel(lifetime_s=30.0))
    public = out(translator, PEER)
    assert out(translator, PEER, now=29.0) == public
    assert translator.inbound(PEER, public, 58.0) == INSIDE
    assert translator.inbound(PEER, public, 59.0) is None, "an outsider held it open"


def test_permission_to_answer_dies_with_its_own_destination() -> None:
    translator = make(NatModel(lifetime_s=30.0))
    public = out(translator, PEER)
    out(translator, STRANGER, now=20.0)
    assert translator.inbound(STRANGER, public, 40.0) == INSIDE
    assert translator.inbound(PEER, public, 40.0) is None


def test_hairpin_is_a_choice() -> None:
    for hairpin, expected in ((True, INSIDE), (False, None)):
        translator = make(NatModel(filtering=Dependence.ENDPOINT_INDEPENDENT, hairpin=hairpin))
        public = out(translator, PEER)
        neighbour = translator.outbound(Address("10.0.0.3", 9), public, 0.0)
        assert neighbour is not None
        assert translator.inbound(neighbour, public, 0.0) == expected


def test_a_power_cut_loses_every_mapping() -> None:
    translator = make(NAT_TYPES["full-cone"])
    public = out(translator, PEER)
    translator.forget()
    assert translator.inbound(PEER, public, 0.0) is None


def test_a_full_table_lets_nothing_new_out_until_something_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nat, "MAX_MAPPINGS", 2)
    translator = make(NatModel(lifetime_s=30.0))
    assert translator.outbound(Address("10.0.0.2", 1), PEER, 0.0) is not None
    assert translator.outbound(Address("10.0.0.2", 2), PEER, 10.0) is not None
    assert translator.outbound(Address("10.0.0.2", 3), PEER, 20.0) is None
    assert translator.outbound(Address("10.0.0.2", 3), PEER, 30.0) is not None


def test_the_destinations_of_one_mapping_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nat, "MAX_PEERS", 2)
    translator = make(NatModel())
    public = out(translator, PEER)
    out(translator, PEER_OTHER_PORT)
    out(translator, STRANGER)
    assert translator.inbound(PEER, public, 0.0) is None
    assert translator.inbound(STRANGER, public, 0.0) == INSIDE
