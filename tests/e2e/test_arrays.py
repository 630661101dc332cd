"""Which processes have numpy, a fifth of what a group weighs."""

from __future__ import annotations

import pytest

from tests.e2e.ends import Pair


@pytest.mark.parametrize("accelerator", ["on", "off"])
def test_numpy_is_where_python_carries_packets_and_else_nowhere(
    pair: Pair, accelerator: str
) -> None:
    pair.configure(0, "1422", f"accelerator {accelerator}")
    pair.start()
    for address, end in (("10.77.0.2", pair.left), ("10.77.0.1", pair.right)):
        assert end.ping(address) == 5
    pids = list(pair.left.processes().values())
    found = pair.left.host.call("tests.e2e.inside_memory:with_library", pids, "numpy")
    state = pair.left.ask({"do": "status"})["group"]["accelerator"]
    assert found == (0 if state == "on" else len(pids))
    assert pair.stop() == [0, 0]
