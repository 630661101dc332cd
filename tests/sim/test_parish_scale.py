"""The formulas of docs/scale.md: against a simulation, and against themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from chancel.sim.network_costs import measure
from chancel.sim.network_report import per_cathedral
from chancel.sim.network_run import run
from chancel.sim.network_scale import (
    BENCH_INFO_S,
    DATAGRAM_BYTES,
    HEADERS_BYTES,
    Costs,
    Demand,
    Machine,
    federated_ends,
    fits,
    largest_mesh,
    lay_out,
    load,
)
from chancel.sim.network_scale_page import SIZES
from chancel.sim.network_scenario import NetworkScenario
from chancel.sim.parish_plan import MAX_FLOCK

COSTS = Costs(info_s=160e-6, probe_s=140e-6, federated_s=160e-6, passed_on_s=40e-6)


@pytest.mark.parametrize("cathedrals", [1, 3])
def test_the_formula_counts_what_a_simulation_counts(cathedrals: int) -> None:
    scenario = NetworkScenario(
        hours=0.15, devices=12, cathedrals=cathedrals, place="public", flash=True
    )
    found = per_cathedral(run(scenario).loads, scenario.hours * 3600.0)
    # Simulated sizes are without the headers below UDP; all traffic is direct.
    planned = load(Demand(12, tunnels=1.0, relayed=0.0), cathedrals, COSTS)
    wire = HEADERS_BYTES / DATAGRAM_BYTES
    assert found["infos_per_s"] == pytest.approx(planned.infos, rel=0.08)
    assert found["probes_per_s"] == pytest.approx(planned.infos, rel=0.08)
    assert found["federated_per_s"] == pytest.approx(planned.federated, rel=0.08)
    assert found["federated_out_per_s"] == pytest.approx(planned.federated_out, rel=0.08)
    for way in ("in", "out"):
        bytes_s = found[f"octets_{way}_per_s"] / (1 - wire)
        assert bytes_s == pytest.approx(getattr(planned, f"{way}_bytes"), rel=0.08)


def test_costs_are_measured_in_proportion_to_the_bench() -> None:
    costs = measure()
    assert costs.info_s == BENCH_INFO_S
    # Each message is opened and its signature verified: they can't differ by much.
    assert 0.3 < costs.probe_s / costs.info_s < 3.0
    assert 0.3 < costs.federated_s / costs.info_s < 3.0


def test_a_layout_is_the_smallest_that_fits() -> None:
    machine = Machine()
    for size in SIZES:
        layout = lay_out(Demand(size), 2, COSTS, machine)
        assert fits(layout.load, machine)
        fewer = dataclasses.replace(Demand(size), devices=-(-size // (layout.pools - 1)))
        assert not fits(load(fewer, 2, COSTS), machine)
        assert layout.worst.cores < machine.cores


def test_federation_does_not_add_capacity_but_pools_do() -> None:
    two, many = (federated_ends(count, COSTS) for count in (2, 32))
    assert many < 2 * two
    one, ten = (lay_out(Demand(size), 2, COSTS, Machine()).pools for size in (10**5, 10**6))
    assert ten == pytest.approx(10 * one, rel=0.1)
    assert lay_out(Demand(10**5), 8, COSTS, Machine()).price(Machine()) > lay_out(
        Demand(10**5), 2, COSTS, Machine()
    ).price(Machine())


def test_a_mesh_is_limited_by_cores_and_then_by_numbers() -> None:
    assert largest_mesh(COSTS, 100.0) == MAX_FLOCK
    devices = largest_mesh(COSTS, 1.0)
    for count, bears in ((devices, True), (devices + 1, False)):
        mesh = Demand(count, tunnels=count - 1, relayed=0.0)
        assert (load(mesh, 1, COSTS).cores <= 1.0) is bears


def test_the_page_is_there_with_its_picture() -> None:
    docs = Path(__file__).parents[2] / "docs"
    text = (docs / "scale.md").read_text()
    assert "](scale.svg)" in text
    assert (docs / "scale.svg").is_file()
    for size in SIZES:
        assert f"{size:,} devices" in text
