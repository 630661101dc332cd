"""The map of a network for a terminal: each machine, and what leads away from it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from chancel.cli import status_words as words
from chancel.cli.map_network import Line, Network, Way

_STYLE = {Way.DIRECT: "green", Way.RELAY: "yellow", Way.NONE: "red"}
_STROKE = {Way.DIRECT: "───", Way.RELAY: "╌╌╌", Way.NONE: "   "}


def render(network: Network) -> RenderableType:
    """Draw it."""
    if not network.lines:
        return Text("no tunnel is running")
    trees: list[RenderableType] = []
    for machine in network.machines:
        tree = Tree(Text(machine, "bold"))
        for line in network.lines:
            if line.left == machine:
                tree.add(_branch(line))
        trees.append(tree)
    relaying = [line for line in network.lines if line.way is Way.RELAY]
    direct = [line for line in network.lines if line.way is Way.DIRECT]
    trees.append(
        Text(
            f"{len(direct)} direct, {len(relaying)} relayed,"
            f" {len(network.lines) - len(direct) - len(relaying)} down;"
            f" cathedrals: {', '.join(network.cathedrals) or 'none'}",
            "dim",
        )
    )
    return Group(*trees)


def _branch(line: Line) -> Text:
    said = {
        Way.DIRECT: "direct",
        Way.RELAY: f"through {line.via or 'a cathedral'}",
        Way.NONE: "not up",
    }[line.way]
    branch = Text.assemble(
        (_STROKE[line.way], _STYLE[line.way]),
        " ",
        (line.right, "bold"),
        "  ",
        (said, _STYLE[line.way]),
        f"  {', '.join(line.tunnels)}",
    )
    if line.way is not Way.NONE:
        sent, received = (
            words.scaled(line.sent_bps, "bit/s"),
            words.scaled(line.received_bps, "bit/s"),
        )
        branch.append(f"  ↑ {sent}  ↓ {received}", "dim")
    return branch
