"""The pictures of ``chancel map`` and ``chancel top`` in the documentation, of made-up answers.

``python -m tests.docs.pictures`` writes them anew.
"""

from __future__ import annotations

import copy
import json
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from chancel.cli import map_svg
from chancel.cli.map_network import chart
from chancel.cli.top_view import HISTORY, History, render
from chancel.daemon.health import state

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((ROOT / "tests" / "cli" / "recorded.json").read_text())
RELAY = "192.0.2.1:4500"
HOMES = ("home", "garden", "phone", "office")
LINES = (
    (0, 1, 812e6, False),
    (0, 2, 3.1e6, True),
    (0, 3, 41e6, False),
    (1, 2, 0.2e6, True),
    (1, 3, 5.6e6, False),
    (2, 3, 96e3, False),
)
COLUMNS = 118


def tunnel(name: str, number: int, bits_per_s: float, relayed: bool, far: bool) -> dict[str, Any]:
    """One end of a tunnel; ``far`` is that of the second machine."""
    made: dict[str, Any] = copy.deepcopy(RECORDED["tunnels"][0])
    spis = [f"{number:04x}0001", f"{number:04x}0002"]
    made |= {
        "instance": name,
        "descr": "",
        "peer": RELAY if relayed else f"203.0.113.{number + 7}:{40000 + number}",
        "path": "relay" if relayed else "direct",
        "cathedral": {"address": RELAY},
        "drops": {"duplicate": 3 * number},
    }
    made["tx"]["spi"], made["rx"]["spi"] = reversed(spis) if far else spis
    made["rates"] |= {"tx_bps": bits_per_s, "rx_bps": bits_per_s / 30}
    return made | {"state": state(made)}


def answers() -> dict[str, dict[str, Any]]:
    """What each of the four machines says of its tunnels."""
    said: dict[str, dict[str, Any]] = {
        name: {"tunnels": [], "cathedrals": [], "groups": [{}], "silent": []} for name in HOMES
    }
    for number, (left, right, rate, relayed) in enumerate(LINES):
        for own, peer, far in ((left, right, False), (right, left, True)):
            name = f"{HOMES[own]}-{HOMES[peer]}"
            said[HOMES[own]]["tunnels"].append(tunnel(name, number, rate, relayed, far))
    return said


def drawn_map() -> str:
    """The network of all four."""
    return map_svg.draw(chart(answers()), "tunnels of home, garden, phone, office")


def drawn_top() -> str:
    """The screen of the first, with some history."""
    answer, history = answers()["home"], History()
    for moment in range(HISTORY):
        for number, each in enumerate(answer["tunnels"]):
            each["rates"]["tx_bps"] = LINES[number][2] * (1 + (moment * (number + 2)) % 7) / 7
        history.add(answer["tunnels"])
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(render(answer, history, "rate", 20))
    return console.export_svg(title="chancel top", unique_id="top")


PICTURES = {"map.svg": drawn_map, "top.svg": drawn_top}

if __name__ == "__main__":
    for file, draw in PICTURES.items():
        (ROOT / "docs" / file).write_text(draw())
