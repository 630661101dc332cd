"""Both twins seal runs to the same bytes, at the same places.

Protocol section 3.2. Inner packets and graces, few and many, of any size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from chancel.daemon.hot.ciphers import suite_for
from chancel.daemon.hot.filling import GROWTH_BYTES
from chancel.daemon.hot.seal import sealing
from chancel.daemon.run import Run, decode_runs, encode_runs
from chancel.protocol.messages import InstallSendKey
from chancel.protocol.profile import CURRENT, V0_9
from chancel.protocol.traffic import Sealer
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import FlockId, Flocks, Salt, SessionKey, Spi
from fuzz import twinned
from fuzz.script import Script
from tests.daemon.naive import new_slot, packets_of

_KEY = Spi(7), Salt(b"salt"), SessionKey(bytes(range(32)))
_FLOCKS = Flocks(FlockId(0x0102030405060708), FlockId(0))
_NOISE = random.Random(0).randbytes(64 * 1024)
_SOURCE, _TARGET = new_slot(64 * 1024), new_slot(64 * 1024)
_SOURCE.memory[:] = _NOISE
_MOST_RUNS, _MOST_PACKETS, _MOST_BYTES = 4, 20, 300
_STARTS = (1, 2**32 - 3, 2**33)
MOST_BYTES = 64


def check(data: bytes) -> None:
    script = Script(data)
    profile, first = script.pick((CURRENT, V0_9)), script.pick(_STARTS)
    runs, at = [], script.number()
    for _ in range(script.number() % _MOST_RUNS + 1):
        size = script.number(2) % _MOST_BYTES + 2
        packets = script.number() % _MOST_PACKETS + 1
        last = size - script.number(2) % (size - 1)
        next_ = script.pick((NEXT_INNER, NEXT_GRACE))
        run = Run(5, next_, packets, size, last, at, bytes(18))
        runs.append(run)
        at = run.end
    offset = script.number()
    room = sum(run.end - run.offset + run.packets * GROWTH_BYTES + 16 for run in runs)
    assert at <= len(_SOURCE.memory)
    assert offset + room <= len(_TARGET.memory)

    def seal() -> tuple[list[Run], list[bytes]]:
        sealer = Sealer(_FLOCKS, suite_for("seal"), profile)
        sealer.execute(InstallSendKey(*_KEY), 0.0)
        sealer.reserve(first, 0.0)
        keys = sealer.reserve(sum(run.packets for run in runs), 0.0)
        assert keys is not None
        sealed = sealing()(keys, _SOURCE, runs, _TARGET, offset)
        decode_runs(encode_runs(sealed), len(_TARGET.memory))
        return sealed, packets_of(_TARGET, sealed)

    twinned.compare(seal)
    assert bytes(_SOURCE.memory) == _NOISE


def seeds() -> Iterator[bytes]:
    for profile in (0, 1):
        for count in (0, 2, 5, 6, 19):
            yield bytes((profile, 0, 0, 1)) + bytes((0, 100, count, 0, 30, 0)) * 2
            yield bytes((profile, 1, 3, 3)) + bytes((1, 20, count, 0, 0, 1)) * 4
