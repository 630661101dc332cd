"""What is remembered of offers, and of our own SPIs, is what must not come again, and no more."""

from __future__ import annotations

import pytest

from chancel.errors import RemoteProtocolError
from chancel.protocol.admission import MAX_REMEMBERED, Admission
from chancel.protocol.behaviour import CHANCEL
from chancel.protocol.liveness import Liveness
from chancel.protocol.messages import ReceiveReport
from chancel.protocol.profile import CURRENT
from chancel.wire.drop import Drop
from chancel.wire.offer import HEADER_BYTES, SEED_BYTES
from chancel.wire.types import Spi

VALIDITY_S = 10
WALL = 1_000_000.0


def offer(number: int) -> bytes:
    return bytes(HEADER_BYTES - SEED_BYTES) + number.to_bytes(SEED_BYTES, "big")


def remembers(admission: Admission, number: int) -> bool:
    try:
        admission.admit_untrusted(offer(number), known_source=True, now=0.0)
    except RemoteProtocolError as error:
        return error.reason is Drop.OFFER_ALREADY_DONE
    return False


@pytest.mark.parametrize(("later_s", "remembered"), [(VALIDITY_S, True), (VALIDITY_S + 1, False)])
def test_a_repeat_is_refused_while_its_time_is_valid(later_s: int, remembered: bool) -> None:
    admission = Admission(0.0, VALIDITY_S)
    admission.taken(offer(1), int(WALL), WALL)
    assert remembers(admission, 1)
    admission.taken(offer(2), int(WALL) + later_s, WALL + later_s)
    assert remembers(admission, 1) is remembered
    assert remembers(admission, 2)


def test_what_is_behind_a_valid_one_waits() -> None:
    admission = Admission(0.0, VALIDITY_S)
    admission.taken(offer(1), int(WALL) + VALIDITY_S, WALL)
    admission.taken(offer(2), int(WALL) - VALIDITY_S, WALL)
    admission.taken(offer(3), int(WALL) + VALIDITY_S, WALL + VALIDITY_S)
    assert [remembers(admission, number) for number in (1, 2, 3)] == [True] * 3


def test_of_too_many_the_oldest_is_forgotten() -> None:
    admission = Admission(0.0, VALIDITY_S)
    for number in range(MAX_REMEMBERED + 1):
        admission.taken(offer(number), int(WALL), WALL)
    assert not remembers(admission, 0)
    assert all(remembers(admission, number) for number in range(1, MAX_REMEMBERED + 1))


def test_an_spi_is_taken_if_it_is_one_of_those_that_are() -> None:
    live = Liveness(CURRENT, CHANCEL)
    for spi in (1, 2):
        live.issued(Spi(spi))
    live.erased(0.0)
    live.issued(Spi(3))
    live.observe(ReceiveReport(active_spi=4, packets=1, installed_at=0.0, alive_at=0.0))
    assert live.taken_spis == {0, 1, 2, 3, 4}
    assert [spi for spi in range(6) if live.is_taken(Spi(spi))] == sorted(live.taken_spis)
