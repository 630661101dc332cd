"""``chancel top``: a frame, its orders, and the screen under a terminal."""

from __future__ import annotations

import copy
import json
import os
import pty
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chancel.cli.main import main
from chancel.cli.top_view import HISTORY, SORTS, History, render
from chancel.daemon.health import state

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
UP, PENDING = (each | {"state": state(each)} for each in RECORDED["tunnels"])


def answer(*tunnels: dict[str, Any]) -> dict[str, Any]:
    return {"tunnels": list(tunnels), "cathedrals": [], "groups": [{}], "silent": ["x is dead"]}


def busy(name: str, bits_per_s: float, drops: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(UP) | {"instance": name, "drops": {"bad-tag": drops}}
    made["rates"] |= {"tx_bps": bits_per_s, "rx_bps": 0.0}
    return made


def drawn(shown: dict[str, Any], sort: str = "rate", rows: int = 40) -> str:
    history = History()
    history.add(shown["tunnels"])
    console = Console(file=StringIO(), width=160)
    console.print(render(shown, history, sort, rows))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def order(shown: dict[str, Any], sort: str) -> list[str]:
    lines = drawn(shown, sort).splitlines()
    names = {tunnel["instance"] for tunnel in shown["tunnels"]}
    return [line.split()[0] for line in lines if line.split() and line.split()[0] in names]


def test_a_frame() -> None:
    text = drawn(answer(UP, PENDING))
    assert "1 groups, 2 tunnels: 1 up, 0 relayed" in text
    assert "office" in text
    assert "pending" in text
    assert "x is dead" in text
    assert "none" in text


def test_orders() -> None:
    shown = answer(busy("a", 1, 5), busy("b", 9, 1), busy("c", 5, 9), PENDING)
    assert order(shown, "rate") == ["b", "c", "a", "lab"]
    assert order(shown, "name") == ["a", "b", "c", "lab"]
    assert order(shown, "drops")[:2] == ["c", "a"]
    assert order(shown, "state")[0] == "lab"
    assert set(SORTS) == {"rate", "name", "drops", "state"}


def test_a_small_screen_shows_the_first() -> None:
    shown = answer(*(busy(f"t{n:02}", n) for n in range(20)))
    text = drawn(shown, rows=10)
    assert "16 more" in text
    assert "t19" in text
    assert "t00" not in text


def test_rates_of_late_as_bars() -> None:
    history = History()
    for rate in range(HISTORY + 5):
        history.add([busy("a", float(rate))])
    bars = history.bars("a")
    assert len(bars) == HISTORY
    assert bars[-1] == "█"
    assert list(bars) == sorted(bars)
    history.add([busy("b", 0.0)])
    assert history.bars("a") == ""
    assert history.bars("b") == " "


def test_an_order_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--sort", "colour"]) == 2
    assert "expected one of rate, name, drops, state" in capsys.readouterr().err


def test_one_frame_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", "--once", "--runtime-dir", str(tmp_path)]) == 0
    assert "0 tunnels" in capsys.readouterr().out


def test_the_screen_takes_keys_and_is_put_back(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        command = ["-m", "chancel.cli.main", "top", "--runtime-dir", str(tmp_path)]
        os.execv(sys.executable, [sys.executable, *command])
    seen = b""
    for key, awaited in ((b"s", b"sorted by rate"), (b"q", b"sorted by name")):
        while awaited not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, key)
    try:
        while data := os.read(terminal, 4096):
            seen += data
    except OSError:
        pass  # the other end is closed: EIO
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"\x1b[?1049h" in seen
    assert seen.rstrip().endswith((b"\x1b[?1049l", b"\x1b[?25h"))
