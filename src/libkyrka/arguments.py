"""Arguments as the reference's C code takes them: what is accepted, and what is raised otherwise.

The annotations say what a program should hand over; these functions say so to one that doesn't.
"""

from __future__ import annotations

from chancel.wire.types import Buffer


def buffer(value: Buffer) -> memoryview:
    """A view of the bytes of any contiguous buffer; raises ``TypeError``."""
    return memoryview(value).cast("B")


def text(value: str) -> str:
    """A C string. Raises ``TypeError``, and ``ValueError`` for a NUL inside."""
    if not isinstance(value, str):
        raise TypeError(f"a str is needed, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError("embedded null character")
    return value


def require_callable(value: object) -> None:
    """Raises ``RuntimeError`` in the reference's words, which mean the opposite."""
    if not callable(value):
        raise RuntimeError("object is a function")
