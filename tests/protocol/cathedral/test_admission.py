"""Which sources are listened to, and what neighbours and forgers can do to each other."""

from __future__ import annotations

import pytest

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.admission import (
    DEBT_PER_S,
    FORGED,
    MAX_DEBT,
    MAX_DEBT_OF_STRANGERS,
    MAX_SOURCES,
    REFUSED,
    Admission,
    Registered,
)
from chancel.wire.drop import Drop
from chancel.wire.types import Address

CLIENT = Address("192.0.2.1", 1)
NEIGHBOUR = Address("192.0.2.1", 2)
ELSEWHERE = Address("192.0.2.3", 3)


def admitted(admission: Admission, source: Address, now: float = 0.0) -> bool:
    try:
        admission.admit(source, now)
    except RemoteProtocolError as error:
        return error.reason is not Drop.SOURCE_LIMIT
    return True


def indebt(admission: Admission, source: Address, now: float = 0.0) -> None:
    for _ in range(int(MAX_DEBT / REFUSED)):
        admission.failed(source, REFUSED, now)


def test_what_succeeds_costs_nothing() -> None:
    admission = Admission(Registered(), 0.0)
    assert all(admitted(admission, CLIENT) for _ in range(100_000))
    assert admission._debts == {}


def test_failures_are_a_debt_that_time_pays_back() -> None:
    admission = Admission(Registered(), 0.0)
    indebt(admission, CLIENT)
    assert not admitted(admission, CLIENT)
    assert not admitted(admission, NEIGHBOUR), "a stranger is known by the host alone"
    assert admitted(admission, ELSEWHERE)
    assert admitted(admission, CLIENT, REFUSED / DEBT_PER_S)
    admission.failed(CLIENT, 100 * DEBT_PER_S, 10.0)
    assert not admitted(admission, CLIENT, 95.0)
    assert admitted(admission, CLIENT, 107.0)


def test_neighbours_cant_keep_a_registered_client_out() -> None:
    registered = Registered()
    registered.add(CLIENT)
    admission = Admission(registered, 0.0)
    indebt(admission, NEIGHBOUR)
    assert not admitted(admission, NEIGHBOUR)
    assert admitted(admission, CLIENT)
    indebt(admission, CLIENT)
    assert not admitted(admission, CLIENT)


def test_strangers_from_everywhere_cant_keep_registered_clients_out() -> None:
    registered = Registered()
    registered.add(CLIENT)
    admission = Admission(registered, 0.0)
    for number in range(int(MAX_DEBT_OF_STRANGERS / REFUSED)):
        admission.failed(Address(f"10.0.{number >> 8}.{number & 255}", 5), REFUSED, 0.0)
    assert not admitted(admission, ELSEWHERE)
    assert admitted(admission, CLIENT)
    assert admitted(admission, ELSEWHERE, 1.0)


def test_no_number_of_sources_takes_more_memory_than_allowed() -> None:
    admission = Admission(Registered(), 0.0)
    for number in range(3 * MAX_SOURCES):
        admission.failed(
            Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5), FORGED, 0.0
        )
    assert len(admission._debts) == MAX_SOURCES


def test_who_failed_lately_is_not_forgotten() -> None:
    admission = Admission(Registered(), 0.0)
    indebt(admission, CLIENT)
    for number in range(MAX_SOURCES - 1):
        admission.failed(Address(f"10.0.{number >> 8}.{number & 255}", 5), FORGED, 0.0)
        if number % 1000 == 0:
            admission.failed(CLIENT, FORGED, 0.0)
    assert not admitted(admission, CLIENT)


def test_an_address_is_registered_as_often_as_somebody_is_there() -> None:
    registered = Registered()
    registered.add(CLIENT)
    registered.add(CLIENT)
    registered.remove(CLIENT)
    assert CLIENT in registered
    registered.remove(CLIENT)
    assert CLIENT not in registered


def test_a_clock_that_stands_still_pays_nothing_back() -> None:
    admission = Admission(Registered(), 5.0)
    indebt(admission, CLIENT, 5.0)
    with pytest.raises(RemoteProtocolError):
        admission.admit(CLIENT, 4.0)
