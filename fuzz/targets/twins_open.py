"""Both twins open the same of what arrives, and remember the same of it, whoever made it.

Protocol section 3.3. Payloads, their order, drops, and the replay window are equal.
"""

from __future__ import annotations

from collections.abc import Iterator

from chancel.daemon.hot.ciphers import suite_for, window_for
from chancel.daemon.hot.open import opening
from chancel.daemon.run import decode_runs, encode_runs
from chancel.protocol.behaviour import CHANCEL, REFERENCE
from chancel.protocol.messages import InstallReceiveKey
from chancel.protocol.opening import Opener
from chancel.protocol.profile import CURRENT
from chancel.wire.types import NO_FLOCKS
from fuzz import twinned
from fuzz.script import Script
from fuzz.targets import opening as packets
from tests.daemon.naive import fill, new_slot, packets_of

_SOURCE, _TARGET = new_slot(64 * 1024), new_slot(64 * 1024)
_MOST_PACKETS = 12
_MOST_RUNS = 3
MOST_BYTES = 1024

Step = tuple[InstallReceiveKey | None, float, list[list[bytes]]]
"""A key that comes, the time, and the runs of a batch."""


def check(data: bytes) -> None:
    script = Script(data)
    behaviour = script.pick((CHANCEL, REFERENCE))
    steps: list[Step] = []
    now, number = 0.0, 1
    while script.more():
        key = script.pick(packets.KEYS) if script.flag() else None
        now += script.number() / 4
        batch = []
        for _ in range(script.number() % _MOST_RUNS + 1):
            size, run = script.number() % 100, []
            for _ in range(script.number() % _MOST_PACKETS + 1):
                number = max(1, number + script.number() - script.pick((0, 0, 1, 100)))
                run.append(packets.datagram(script, number, size))
            run[-1] = run[-1][: max(1, len(run[-1]) - script.number() % 60)]
            batch.append(run)
        steps.append((key, now, batch))

    def open_all() -> list[object]:
        opener = Opener(NO_FLOCKS, suite_for("open"), behaviour, CURRENT, window_for("open"))
        return [_step(opener, step) for step in steps]

    twinned.compare(open_all)


def _step(opener: Opener, step: Step) -> object:
    """All that can be seen after a batch."""
    key, now, batch = step
    if key is not None:
        opener.execute(key, now)
    opener.wake(now)
    runs, at = [], 0
    for datagrams in batch:
        run = fill(_SOURCE, datagrams, at)._replace(source=bytes(18))
        runs.append(run)
        at = run.end
    opened = opening().open_runs(opener, _SOURCE, runs, _TARGET, 0, now)
    decode_runs(encode_runs(opened), len(_TARGET.memory))
    drops = {reason: count for reason, count in opener.drops.items() if count}
    windows = [
        (slot.spi, slot.window.highest, slot.window.bitmap, slot.packets, slot.expires_at)
        for slot in opener._slots
    ]
    state = drops, windows, opener.report(), repr(opener), opener.wake_at()
    return opened, packets_of(_TARGET, opened), state


def seeds() -> Iterator[bytes]:
    for kept in packets.seeds():
        yield b"\0" + kept[:3] + b"\0" + kept[3:]
        yield b"\1" + kept[:3] + b"\1" + kept[3:] + kept[3:]
