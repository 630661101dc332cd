"""numpy is loaded where Python's twins run, and nowhere else; what does without gives the same."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.system import SystemSuite
from chancel.daemon import arrays
from chancel.daemon.hot import tfc, twins
from chancel.daemon.hot.masking import RunShroud
from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run
from chancel.protocol.shroud import Shroud
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_INNER, TAIL_BYTES

MTU = 200
SLOT_BYTES = 8192

POSTPONED = """
import sys
from chancel.daemon import arrays
arrays.postpone()
import numpy as np
import numpy
assert not arrays.are_loaded() and "numpy._core" not in sys.modules
{use}
assert arrays.are_loaded()
assert np is numpy and np.arange(4).sum() == 6 and np.linalg.norm([3.0, 4.0]) == 5.0
"""

DAEMON = """
import sys
import chancel.daemon.__main__
from chancel.daemon import accelerator, arrays, guardian
from chancel.daemon.config_types import Mode
for mode in Mode:
    guardian.load_duties(mode, liturgy=mode is Mode.TUNNEL)
accelerator.twins.use(accelerator.twins.NAMES)
heavy = ("numpy._core", "pyroute2", "pyseccomp", "argparse", "asyncio", "ssl", "email")
assert not arrays.are_loaded()
print([name for name in heavy if name in sys.modules])
accelerator.engage(wanted=False)
assert arrays.are_loaded()
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "use", ["np.uint8", "import numpy.typing", "from numpy import ndarray", "arrays.load()"]
)
def test_the_first_use_loads_it_for_all_who_imported_it(use: str) -> None:
    run(POSTPONED.format(use=use))


def test_what_all_processes_share_has_none_of_the_heavy_libraries_beside_compiled_twins() -> None:
    assert run(DAEMON) == "[]"


def test_commands_have_no_threads() -> None:
    """Arrays bring some, and who has threads can't enter a namespace of users."""
    program = "import chancel.cli.main, chancel.daemon.lane, chancel.daemon.process, os, sys"
    told = "print('numpy' in sys.modules, len(os.listdir('/proc/self/task')))"
    assert run(f"{program}\n{told}") == "False 1"


@given(
    st.lists(
        st.tuples(
            st.integers(1, 9), st.integers(20, MTU), st.integers(0, 180), st.binary(max_size=6)
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 7),
)
def test_packets_are_filled_and_cut_the_same_without_it(
    shapes: list[tuple[int, int, int, bytes]], room: int
) -> None:
    outcomes = []
    for loaded in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arrays, "are_loaded", lambda loaded=loaded: loaded)
            outcomes.append(filled_and_cut(shapes, room))
    assert outcomes[0] == outcomes[1]


def filled_and_cut(
    shapes: list[tuple[int, int, int, bytes]], room: int
) -> tuple[list[bytes], list[tuple[list[Run], bytes]], Counter[Drop]]:
    source, runs = SlotView(memoryview(bytearray(SLOT_BYTES))), []
    end = 0
    for packets, payload, shorter, head in shapes:
        size = payload + TAIL_BYTES
        last = max(20, payload - shorter) + TAIL_BYTES
        if packets == 1:
            last = size
        run = Run(0, NEXT_INNER, packets, size, last, end, b"")
        for at in range(run.offset, run.end, size):
            stop = min(at + size, run.end) - TAIL_BYTES
            data = b"\x45\0" + (stop - at).to_bytes(2, "big") + bytes(range(4, stop - at))
            source.memory[at:stop] = (head + data[len(head) :])[: stop - at]
        runs.append(run)
        end = run.end
    target = SlotView(memoryview(bytearray(SLOT_BYTES)))
    sent: list[tuple[list[Run], bytes]] = []
    packing = Packing(
        lambda: SlotView(memoryview(bytearray(SLOT_BYTES))),
        lambda slot, runs: sent.append((runs, bytes(slot.memory[: runs[-1].end]))),
    )
    drops: Counter[Drop] = Counter()
    texts = []
    for run in tfc.filled(source, runs, target, MTU, room):
        texts.append(bytes(target.memory[run.offset : run.end]))
        tfc.cut_run(target, run._replace(next=NEXT_INNER), packing, drops)
    packing.finish()
    return texts, sent, drops


@pytest.mark.skipif(
    twins.module() is None,
    reason="needs cargo: `make setup` builds chancel_accel where it is found",
)
def test_a_lone_datagram_is_masked_the_same_without_it() -> None:
    before = twins.used()
    twins.use()
    try:
        compiled = RunShroud(bytes(32), SystemSuite())
    finally:
        twins.use(before)
    plain, datagram = Shroud(bytes(32), SystemSuite()), bytes(range(200))
    assert plain.unwrap(compiled.wrap(datagram, 1400)) == datagram
    assert compiled.unwrap(plain.wrap(datagram, 1400)) == datagram
