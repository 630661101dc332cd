"""Run one Python function and hand its result over: ``python -m chancel.lab.call MODULE:FUNCTION``.

Arguments come as a JSON list on standard input. Each line of standard output is one JSON object:
``{"progress": ...}`` for each value a generator function yields, then ``{"result": ...}``. What the
function prints itself goes to standard error, where an exception's traceback goes too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Generator
from typing import Any, TextIO


def _run(outcome: Any, out: TextIO) -> Any:
    """The result, after the progress of a generator has been written."""
    if not isinstance(outcome, Generator):
        return outcome
    while True:
        try:
            progress = next(outcome)
        except StopIteration as stop:
            return stop.value
        _write(out, "progress", progress)


def _write(out: TextIO, word: str, value: Any) -> None:
    print(json.dumps({word: value}), file=out, flush=True)


def main(target: str) -> None:
    """Call ``target``; its exceptions pass through."""
    module, _, name = target.partition(":")
    arguments = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        function = getattr(importlib.import_module(module), name)
        _write(out, "result", _run(function(*arguments), out))


if __name__ == "__main__":
    main(sys.argv[1])
