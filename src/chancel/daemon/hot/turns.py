"""Turns of a process that never enter the interpreter: the accelerator's, or none.

There is no twin in Python: without them the loop calls the duty for each batch, as it does for each
batch that isn't ordinary. What a turn does with those it takes is what the duty would do, and its
books are merged with the duty's when it returns.
"""

from __future__ import annotations

from typing import Any

from chancel.daemon.hot import twins
from chancel.daemon.lane import CompiledLaneReader, CompiledLaneWriter, LaneReader, LaneWriter


def turns(kind: str, function: str, *ends: LaneReader | LaneWriter, copy: Any = None) -> Any:
    """The accelerator's class of this kind on these ends of lanes; ``None`` where Python does it.

    That is so unless the hot function is compiled as well, whose state a turn shares. ``copy`` is
    memory to copy batches to, for turns that need it.
    """
    compiled = twins.compiled(function) and twins.compiled("turn")
    if compiled is None:
        return None
    inner = [
        end.compiled for end in ends if isinstance(end, CompiledLaneReader | CompiledLaneWriter)
    ]
    if len(inner) != len(ends):
        return None
    return getattr(compiled, kind)(*inner, *([] if copy is None else [copy]))
