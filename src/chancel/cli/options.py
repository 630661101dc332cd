"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigDir = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        metavar="DIR",
        help="Where configurations are (also CHANCEL_CONFIG_DIR).",
    ),
]

RuntimeDir = Annotated[
    Path | None,
    typer.Option(
        "--runtime-dir",
        metavar="DIR",
        help="Where control sockets are (also CHANCEL_RUNTIME_DIR).",
    ),
]
