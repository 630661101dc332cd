"""The exceptions that stand for the reference's error codes."""

from __future__ import annotations

from libkyrka import constants

_UNNAMED = frozenset(
    (
        constants.KYRKA_ERROR_NO_CONTEXT,
        constants.KYRKA_ERROR_NO_COSK,
        constants.KYRKA_ERROR_TIMEOUT,
        constants.KYRKA_ERROR_SHROUD_NO_KEYS,
        constants.KYRKA_ERROR_MTU_SIZE,
    )
)
"""Codes that the reference's module has no constant for; programs know them as a text."""


def refusal(code: int) -> RuntimeError:
    """The exception for one code: its only argument is the code, or for some a text with it."""
    return RuntimeError(f"error '{code}' not found" if code in _UNNAMED else code)
