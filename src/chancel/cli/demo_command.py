"""``chancel demo``: a tunnel at work, with a picture at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chancel import demo as demonstration


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the picture goes.")] = Path("out"),
) -> None:
    """Watch two devices behind NATs find each other, and outlive their cathedrals.

    \b
    Example:
      chancel demo --out /tmp
    """
    demonstration.run(out)
