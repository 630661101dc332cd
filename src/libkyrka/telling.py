"""What a context says: by callbacks, and by the code of its last error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from libkyrka.arguments import require_callable
from libkyrka.constants import KYRKA_ERROR_NONE
from libkyrka.notices import Notice
from libkyrka.refusals import refusal

if TYPE_CHECKING:
    from libkyrka.context import KYRKA

EventCallback = Callable[["KYRKA", int | None, dict[str, Any], Any], object]
"""Called with (context, event, info, udata); the event is ``None`` for a log message."""
PacketCallback = Callable[["KYRKA", bytes, int, Any], object]
"""Called with (context, data, packet number, udata); the number of a key offer is 0."""


class Telling:
    """The part of a context with callbacks and errors. What nobody listens to is lost."""

    __slots__ = ("_last_error", "_on_event", "_on_heaven", "_on_purgatory")

    def _open_telling(self) -> None:
        self._last_error = KYRKA_ERROR_NONE
        self._on_event: tuple[EventCallback, Any] | None = None
        self._on_heaven: tuple[PacketCallback, Any] | None = None
        self._on_purgatory: tuple[PacketCallback, Any] | None = None

    def event_callback(self, callback: EventCallback, udata: Any, /) -> None:
        """Set who is told what happens."""
        require_callable(callback)
        self._on_event = callback, udata

    def heaven_callback(self, callback: PacketCallback, udata: Any, /) -> None:
        """Set who gets received data."""
        require_callable(callback)
        self._on_heaven = callback, udata

    def purgatory_callback(self, callback: PacketCallback, udata: Any, /) -> None:
        """Set who sends packets to the peer."""
        require_callable(callback)
        self._on_purgatory = callback, udata

    def last_error(self) -> int:
        """The code of the last error; 0 if there was none. Success doesn't reset it."""
        return self._last_error

    def _refuse(self, code: int) -> RuntimeError:
        """Note an error; returns the exception to raise for it."""
        self._last_error = code
        return refusal(code)

    def _say(self, notice: Notice) -> None:
        if self._on_event is not None:
            callback, udata = self._on_event
            callback(cast("KYRKA", self), *notice, udata)
