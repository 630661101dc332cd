"""The matrix of NATs as a picture: a grid of pairs, coloured by how they meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from xml.sax.saxutils import escape

from chancel.sim.nat_matrix import Summary
from chancel.sim.nat_page import Pair, chosen
from chancel.sim.places import NEIGHBOURS, PLACES

_CELL_W: Final = 40
_CELL_H: Final = 24
_LEFT: Final = 190
_TOP: Final = 150
_GAP: Final = 40
_COLOURS: Final = {"direct": "#7bc67e", "relayed": "#f5d76e", "no path": "#c9ced6"}
_RULES: Final = "".join(f".{kind.replace(' ', '-')}{{fill:{to}}}" for kind, to in _COLOURS.items())
_STYLE: Final = (
    "text{font:11px system-ui,sans-serif;fill:#1c2430}"
    ".n{font-size:10px;text-anchor:middle}.r{text-anchor:end}.b{fill:#ffffff}" + _RULES
)


def draw(found: Mapping[Pair, Summary]) -> str:
    """The picture of one kind of ends, as SVG; a number is the seconds to the first direct path,
    or to a relayed one."""
    lefts = chosen([*PLACES], [left for left, _ in found])
    rights = chosen([*PLACES], [right for _, right in found])
    both = chosen([*NEIGHBOURS], [left for left, _ in found])
    width = _LEFT + max(len(rights), 8) * _CELL_W + 20
    below = _TOP + len(lefts) * _CELL_H + _GAP
    height = below + (len(both) * _CELL_H if both else 0) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img"><style>{_STYLE}</style>',
        f'<rect class="b" width="{width}" height="{height}"/>',
    ]
    for column, right in enumerate(rights):
        at = _LEFT + column * _CELL_W + _CELL_W // 2 + 4
        parts.append(f'<text transform="translate({at} {_TOP - 8}) rotate(-50)">{right}</text>')
    for row, left in enumerate(lefts):
        top = _TOP + row * _CELL_H
        cells = [(column, (left, right)) for column, right in enumerate(rights)]
        parts += _row(left, top, cells, found)
    for row, name in enumerate(both):
        parts += _row(name, below - _GAP // 2 + row * _CELL_H, [(0, (name, name))], found)
    parts += _legend(height - 14)
    return "\n".join([*parts, "</svg>", ""])


def _row(
    name: str, top: int, cells: Iterable[tuple[int, Pair]], found: Mapping[Pair, Summary]
) -> list[str]:
    middle = top + _CELL_H // 2 + 4
    parts = [f'<text class="r" x="{_LEFT - 8}" y="{middle}">{escape(name)}</text>']
    for column, pair in cells:
        if pair in found:
            kind, seconds = _kind(found[pair])
            x = _LEFT + column * _CELL_W
            said = f"{' and '.join(dict.fromkeys(pair))}: {kind}"
            parts.append(
                f'<rect class="{kind.replace(" ", "-")}" x="{x + 1}" y="{top + 1}"'
                f' width="{_CELL_W - 2}" height="{_CELL_H - 2}"><title>{escape(said)}</title>'
                f'</rect><text class="n" x="{x + _CELL_W // 2}" y="{middle}">{seconds}</text>'
            )
    return parts


def _kind(summary: Summary) -> tuple[str, str]:
    """The colour's name, and the seconds to that."""
    if summary.direct_s is not None:
        return "direct", f"{summary.direct_s:.1f}"
    if summary.up_s is not None:
        return "relayed", f"{summary.up_s:.1f}"
    return "no path", ""


def _legend(y: int) -> list[str]:
    parts = []
    words = {"direct": "direct, after so many seconds", "relayed": "relayed", "no path": "no path"}
    x = _LEFT
    for kind, said in words.items():
        parts.append(
            f'<rect class="{kind.replace(" ", "-")}" x="{x}" y="{y - 10}" width="12" height="12"/>'
            f'<text x="{x + 17}" y="{y}">{said}</text>'
        )
        x += 190 if kind == "direct" else 90
    return parts
