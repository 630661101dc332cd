"""Ciphers and replay windows for keys whose hot function may run compiled.

A key passes into the compiled cipher once, which erases it when the last reference goes. Both
ciphers and both windows serve Python's twins as well; compiled twins want their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chancel.crypto.suite import KEY_BYTES, Aead
from chancel.crypto.system import SystemSuite
from chancel.daemon.hot import twins
from chancel.errors import LocalProtocolError
from chancel.protocol.traffic import SendKey
from chancel.protocol.window import ReplayWindow
from chancel.wire.types import Buffer, Salt, Spi


class _CompiledSuite(SystemSuite):
    """The suite of programs, with the accelerator's AES-256-GCM."""

    def __init__(self, accelerator: Any) -> None:
        super().__init__()
        self._make = accelerator.Aead

    def aead(self, key: Buffer) -> Aead:
        if len(key) != KEY_BYTES:
            raise LocalProtocolError(f"an AES-256-GCM key has {KEY_BYTES} bytes, not {len(key)}")
        made: Aead = self._make(key)
        return made


def suite_for(function: str) -> SystemSuite:
    """The suite for keys of a hot function: ``seal`` or ``open``."""
    compiled = twins.compiled(function)
    return _CompiledSuite(compiled) if compiled else SystemSuite()


def send_key_for(function: str) -> Callable[[Spi, Salt, Aead, bytes, float], SendKey]:
    """What counts packets under keys that are sent with, where turns are compiled as well."""
    compiled = twins.compiled(function) and twins.compiled("turn")
    return compiled.SendKey if compiled else SendKey


def window_for(function: str) -> Callable[[int], ReplayWindow]:
    """What makes the replay windows of such keys."""
    compiled = twins.compiled(function)
    return compiled.ReplayWindow if compiled else ReplayWindow
