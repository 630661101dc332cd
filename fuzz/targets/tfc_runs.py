"""Runs filled to one size, and cut to the lengths they tell, are the packets done one by one.

Whatever is inside; runs fit their slot, and what can't be cut is counted, each packet once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.tfc import cut_run, filled
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run, decode_runs, encode_runs
from chancel.errors import RemoteProtocolError
from chancel.protocol.tfc import Tfc
from chancel.wire.drop import Drop
from fuzz.script import Script
from tests.daemon.naive import TAIL, Flow, fill, new_slot, packets_of

_MTU = 200
_SLOT_BYTES = 4096
_MOST_RUNS, _MOST_PACKETS = 4, 10
_FLOWS = (Flow(), Flow(protocol=17), Flow(version=6, source="fd00::1", destination="fd00::2"))
MOST_BYTES = 512


def check(data: bytes) -> None:
    script = Script(data)
    source, target = new_slot(16 * 1024), new_slot(_SLOT_BYTES)
    next_, packets, runs = script.pick((0, 0xFC)), [], []
    at = 0
    for _ in range(script.number() % _MOST_RUNS + 1):
        some = _packets(script)
        run = fill(source, [each + bytes(TAIL) for each in some], at, next=next_)
        runs.append(run)
        packets += some
        at = run.end
    tfc, came = Tfc(_MTU), []
    for run in filled(source, runs, target, _MTU, script.number() % 20 + 1):
        decode_runs(encode_runs([run]), _SLOT_BYTES)
        came += packets_of(target, [run])
    assert came == [tfc.fill(packet) + bytes((0, next_)) for packet in packets]
    _cut(source, runs, packets, next_)


def _cut(source: SlotView, runs: list[Run], packets: list[bytes], next_: int) -> None:
    tfc = Tfc(_MTU)
    expected: list[bytes] = []
    reasons: Counter[Drop] = Counter()
    for packet in packets:
        try:
            expected.append(tfc.cut_untrusted(packet) + bytes((0, next_)))
        except RemoteProtocolError as error:
            reasons[error.reason] += 1
    drops: Counter[Drop] = Counter()
    came: list[bytes] = []
    packing = Packing(
        lambda: new_slot(_SLOT_BYTES), lambda slot, its: came.extend(packets_of(slot, its))
    )
    for run in runs:
        for i in range(run.packets):  # as opening leaves them: each with its tail
            end = run.end if i == run.packets - 1 else run.offset + (i + 1) * run.size
            source.memory[end - 1] = next_
        cut_run(source, run, packing, drops)
    packing.finish()
    assert came == expected
    assert drops == reasons


def _packets(script: Script) -> list[bytes]:
    """Packets of one size, the last perhaps shorter, of which some tell false lengths."""
    size = script.number() % _MTU + 1
    some = []
    for _ in range(script.number() % _MOST_PACKETS + 1):
        packet = bytearray(script.pick(_FLOWS).packet(bytes(script.number())).ljust(_MTU, b"\0"))
        if script.flag():
            packet[script.number() % 8] = script.number()
        some.append(bytes(packet[:size]))
    some[-1] = some[-1][: max(1, size - script.number())]
    return some


def seeds() -> Iterator[bytes]:
    for flow in range(len(_FLOWS)):
        yield bytes((0, 1)) + bytes((199, 3) + (flow, 20, 0) * 4 + (0,)) * 2
        yield bytes((1, 0)) + bytes((99, 5) + (flow, 200, 0) * 6 + (30,))
    yield bytes((0, 0)) + bytes((199, 1) + (0, 20, 1, 3, 19) * 2 + (180,))
