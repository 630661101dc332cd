"""A run as JSON: every sample, and enough to lay the page out again without measuring anew."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.result import Figure, LeftOut, Measured, Ratio, Result, Target
from chancel.errors import ChancelError


class Run(NamedTuple):
    """One run of the bench.

    ``machine``: where, and with which versions, by what they are called. ``command``: how to do it
    again. ``whole``: all sections ran, at a pace whose figures may be quoted.
    """

    machine: Mapping[str, str]
    command: str
    whole: bool
    results: Mapping[str, Sequence[Result]]


def dumps(run: Run) -> str:
    """The run as JSON. For readers who don't know us each figure has its median and its verdict."""
    sections = {name: [_written(item) for item in items] for name, items in run.results.items()}
    return json.dumps({**run._asdict(), "results": sections}, indent=1, ensure_ascii=False)


def _written(item: Result) -> dict[str, Any]:
    kind = {"kind": type(item).__name__}
    if isinstance(item, LeftOut):
        return {**kind, **dataclasses.asdict(item)}
    median = item.median if math.isfinite(item.median) else None
    derived = {"median": median, "met": item.met, "won": item.won}
    return {**kind, **dataclasses.asdict(item), **derived}


class KeptRunError(ChancelError):
    """A file isn't a run that was kept; the message says why not."""


def load(path: Path) -> Run:
    """The run that was kept there. Raises :class:`KeptRunError`."""
    try:
        return loads(path.read_text())
    except OSError as error:
        raise KeptRunError(
            f"{path}: {error.strerror} (a run of all sections writes out/benchmarks.json)"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise KeptRunError(f"{path}: no run of the bench as JSON ({detail})") from None


def loads(text: str) -> Run:
    """The run that :func:`dumps` wrote."""
    run = json.loads(text)
    results = {name: [_read(item) for item in items] for name, items in run["results"].items()}
    return Run(run["machine"], run["command"], run["whole"], results)


def _read(fields: dict[str, Any]) -> Result:
    kind = fields.pop("kind")
    if kind == LeftOut.__name__:
        return LeftOut(**fields)
    for derived in ("median", "met", "won"):
        del fields[derived]
    for name in ("target", "race"):
        fields[name] = None if fields[name] is None else Target(*fields[name])
    made: Measured = Ratio(**fields) if kind == Ratio.__name__ else Figure(**fields)
    return made
