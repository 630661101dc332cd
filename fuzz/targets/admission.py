"""No offer is admitted twice while it could be valid, and memory and work have their limits.

Protocol section 7.6. An offer is known by the seed in its header.
"""

from __future__ import annotations

from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.protocol.admission import MAX_FORGERIES_PER_S, MAX_REMEMBERED, Admission
from chancel.wire.drop import Drop
from chancel.wire.offer import HEADER_BYTES, OFFER_BYTES, SEED_BYTES
from fuzz.script import Script

_VALIDITY_S = 10
_WALL = 1_760_000_000.0
_PLACE = HEADER_BYTES - SEED_BYTES


def check(data: bytes) -> None:
    script = Script(data)
    now = 0.0
    admission = Admission(now, _VALIDITY_S)
    taken: dict[bytes, int] = {}
    forged_in: dict[int, int] = {}
    while script.more():
        now += script.number() / 16
        offer = bytes(_PLACE) + script.take(2).ljust(OFFER_BYTES - _PLACE, b"\0")
        known = script.flag()
        try:
            admission.admit_untrusted(offer, known, now)
        except RemoteProtocolError as error:
            assert error.reason in (Drop.OFFER_ALREADY_DONE, Drop.OFFER_LIMIT)
            assert error.reason is Drop.OFFER_ALREADY_DONE or not known
            continue
        made = taken.get(offer)
        assert made is None or made + _VALIDITY_S < int(_WALL + now) or len(taken) > MAX_REMEMBERED
        if script.flag():
            for _ in range(script.number()):
                admission.forged()
            second = int(now)
            forged_in[second] = forged_in.get(second, 0) + (not known)
            assert forged_in[second] <= 2 * MAX_FORGERIES_PER_S
        else:
            timestamp = int(_WALL + now) + script.number() % (2 * _VALIDITY_S + 1) - _VALIDITY_S
            admission.taken(offer, timestamp, _WALL + now)
            taken[offer] = timestamp


def seeds() -> Iterator[bytes]:
    yield bytes((0, 0, 1, 0, 0, 5)) * 3
    yield bytes((1, 0, 1, 0, 1, 255, 0, 0, 2, 0, 1, 255))
    yield bytes((160, 0, 1, 0, 0, 20)) * 4
