"""The tables of each mode: what they promise, whatever they say in detail."""

from __future__ import annotations

import pytest

from chancel.daemon import topology
from chancel.daemon.config_types import LITURGY, PROCESSES, Mode
from chancel.daemon.topology import GUARDIAN, Wiring
from tests.daemon import wirings

HEAVEN = frozenset({"heaven-rx", "heaven-tx"})
PURGATORY = frozenset({"purgatory-rx", "purgatory-tx"})

modes = pytest.mark.parametrize("mode", Mode)


@modes
def test_everything_joins_processes_of_the_mode(mode: Mode) -> None:
    tables = topology.of(mode)
    members = {*PROCESSES[mode], GUARDIAN}
    for spec in tables.lanes.values():
        assert {spec.writer, spec.reader} <= members
    for link in tables.key_links.values():
        assert {*link} <= members
        assert link.writer == tables.keeper
    for board in tables.boards.values():
        assert {board.owner, *board.readers} <= members
    assert set(tables.add_order) == set(tables.duties) == set(PROCESSES[mode])
    for name, rung in tables.rings.items():
        assert {name, *rung} <= members


@modes
def test_no_lane_passes_by_bless_and_confess(mode: Mode) -> None:
    for spec in topology.of(mode).lanes.values():
        if spec.writer in HEAVEN or spec.reader in HEAVEN:
            assert {spec.writer, spec.reader} & {"bless", "confess"}
        if spec.writer in HEAVEN:
            assert spec.reader == "bless"
        if spec.reader in HEAVEN:
            assert spec.writer == "confess"


@modes
def test_traffic_keys_reach_only_who_uses_them(mode: Mode) -> None:
    for name, link in topology.of(mode).key_links.items():
        assert link.reader in (PURGATORY if name.endswith("mask") else {"bless", "confess"})


def test_a_one_way_group_has_no_way_back() -> None:
    pilgrim, shrine = topology.of(Mode.PILGRIM), topology.of(Mode.SHRINE)
    assert not {"purgatory-rx", "confess", "heaven-tx"} & {*pilgrim.duties}
    assert set(pilgrim.lanes) == {"bless", "purgatory", "offer"}
    assert not {"purgatory-tx", "bless", "heaven-rx"} & {*shrine.duties}
    assert set(shrine.lanes) == {"confess", "heaven", "keeper"}


@modes
def test_each_end_belongs_to_one_process(mode: Mode) -> None:
    wiring = Wiring.make(topology.of(mode))
    try:
        owners = {name: wiring.own_descriptors(name) for name in wiring.topology.duties}
        for lane, ends in wiring.lanes.items():
            spec = wiring.topology.lanes[lane]
            assert [name for name in owners if ends.writer.fileno() in owners[name]] == [
                spec.writer
            ]
            assert [name for name in owners if ends.reader.fileno() in owners[name]] == [
                spec.reader
            ]
            assert {name for name in owners if ends.memory in owners[name]} == {*spec[:2]}
    finally:
        wirings.close(wiring)


class TestLiturgy:
    """A group of tunnels with one process more."""

    TABLES = topology.of(Mode.TUNNEL, liturgy=True)
    PLAIN = topology.of(Mode.TUNNEL)

    def test_it_carries_nothing_and_has_no_key(self) -> None:
        assert self.TABLES.duties == (*self.PLAIN.duties, LITURGY)
        assert self.TABLES.lanes == self.PLAIN.lanes
        assert self.TABLES.key_links == self.PLAIN.key_links
        assert LITURGY not in self.TABLES.add_order

    def test_it_reads_no_board_and_the_guardian_alone_acts_on_its_own(self) -> None:
        boards = self.TABLES.boards
        assert [name for name, spec in boards.items() if LITURGY in spec.readers] == []
        assert boards[LITURGY].readers == ("control", GUARDIAN)
        assert self.TABLES.rings[LITURGY] == (GUARDIAN,)
        read = {name for name, spec in boards.items() if GUARDIAN in spec.readers}
        plain = {name for name, spec in self.PLAIN.boards.items() if GUARDIAN in spec.readers}
        assert read - plain == {"bless", "confess", LITURGY}
