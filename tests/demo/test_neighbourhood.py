"""Places of the matrix in the lab: who is seen where, and who shares a router with whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chancel.demo.neighbourhood import Neighbourhood, Spot
from chancel.lab.lab import Host, Lab
from chancel.lab.namespace import LabError
from chancel.sim.places import NEIGHBOURS, PLACES, Place

PING = "chancel.lab.ping:ping"
SERVER = "203.0.113.1"


@pytest.fixture
def lab() -> Iterator[Lab]:
    try:
        built = Lab()
    except LabError as error:
        pytest.skip(str(error))
    with built:
        yield built


def settled(lab: Lab, *places: Place) -> list[tuple[Host, Spot]]:
    """A host in each of these places, and a server that all should reach."""
    around = Neighbourhood(lab)
    around.public.join(lab.host("server"), SERVER)
    hosts = [lab.host(f"h{number}") for number in range(len(places))]
    return [
        (host, around.settle(host, here, f"203.0.113.{50 + number}"))
        for number, (host, here) in enumerate(zip(hosts, places, strict=True))
    ]


def reaches(host: Host, address: str) -> bool:
    return bool(host.call(PING, address, 1, 0.0, 56, False, 1.0)["received"])


@pytest.mark.parametrize("name", ["public", "port-restricted", "carrier-grade", "no-udp"])
def test_a_place_alone(lab: Lab, name: str) -> None:
    ((host, spot),) = settled(lab, PLACES[name])
    assert spot.public == "203.0.113.50"
    assert (spot.address == spot.public) == (name == "public")
    assert reaches(host, SERVER), "ICMP passes, whatever is done to UDP"


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours(lab: Lab, name: str) -> None:
    here = NEIGHBOURS[name]
    (one, at_one), (other, at_other) = settled(lab, here, here)
    assert at_one.public == at_other.public == "203.0.113.50"
    assert at_one.address != at_other.address
    same_home = at_one.address.rpartition(".")[0] == at_other.address.rpartition(".")[0]
    assert same_home == (here.common == len(here.routers))
    assert reaches(one, SERVER)
    assert reaches(other, SERVER)
    if same_home:
        assert reaches(one, at_other.address)
