"""Names of tunnels: ``[FLOCK-]SRC-DST``, as people type them and as files are called."""

from __future__ import annotations

import dataclasses
import re
from typing import Self

from chancel.errors import ConfigError

NO_FLOCK = "hymn"
"""Stands in place of a flock for a tunnel without a cathedral."""

LITURGY = "liturgy"
"""May be written for the destination 00, which is a liturgy's."""

INSTANCE_FLOCK_CHARS = 8
"""So much of a flock goes into the name of an interface, which has 15 at most."""

_NUMBER = re.compile(r"(?:0[xX])?0*([0-9a-fA-F]{1,2})")
_FLOCK_TEXT = re.compile(r"[^\s/\0-]+")
_FLOCKS = re.compile(r"(?:0[xX])?([0-9a-fA-F]{8,16})(?::(?:0[xX])?([0-9a-fA-F]{1,16}))?")


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelName:
    """``flock`` is text: what was given when the tunnel was added, or ``hymn``."""

    flock: str
    source: int
    destination: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``[FLOCK-]SRC-DST``; raises :class:`ConfigError`."""
        match text.split("-"):
            case [source, destination]:
                flock = NO_FLOCK
            case [flock, source, destination] if _FLOCK_TEXT.fullmatch(flock):
                pass
            case _:
                raise _refusal(f"{text!r} (expected [FLOCK-]SRC-DST)")
        return cls(flock, _device(source), 0 if destination == LITURGY else _device(destination))

    @classmethod
    def parse_liturgy(cls, text: str) -> Self:
        """Read ``FLOCK-SRC[-liturgy]``; raises :class:`ConfigError`."""
        flock, dash, source = text.removesuffix(f"-{LITURGY}").partition("-")
        if not dash or not _FLOCK_TEXT.fullmatch(flock):
            raise _refusal(f"{text!r} (expected FLOCK-SRC)")
        return cls(flock, _device(source), 0)

    @classmethod
    def of_file(cls, stem: str) -> Self | None:
        """The name that a file ``STEM.conf`` has in full; ``None`` for files of other names."""
        try:
            name = cls.parse(stem)
        except ConfigError:
            return None
        return name if str(name) == stem else None

    def __str__(self) -> str:
        return f"{self.flock}-{self.source:02x}-{self.destination:02x}"

    @property
    def has_flock(self) -> bool:
        """Whether this names a flock."""
        return self.flock != NO_FLOCK

    @property
    def tunnel_id(self) -> int:
        """Both devices in 16 bits, the upper half of every SPI; a liturgy has no destination."""
        return self.source << 8 | self.destination

    @property
    def instance(self) -> str:
        """What its interface is called."""
        flock = self.flock[:INSTANCE_FLOCK_CHARS]
        return f"{flock}-{self.source:02x}-{self.destination:02x}"

    def flocks(self) -> tuple[int, int]:
        """Our flock and the peer's; both 0 without one.

        Raises :class:`ConfigError` for text that is no flock: the interface is named by its first
        digits, so there are 8 at least.
        """
        if not self.has_flock:
            return 0, 0
        found = _FLOCKS.fullmatch(self.flock)
        if found is None:
            raise _refusal(f"flock {self.flock!r} (expected 8 to 16 hex digits, or FLOCK:FLOCK)")
        own = int(found[1], 16)
        return own, own if found[2] is None else int(found[2], 16)


def _device(text: str) -> int:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise _refusal(f"{text!r} is no device (expected 0 to ff, in hex)")
    return int(found[1], 16)


def _refusal(problem: str) -> ConfigError:
    return ConfigError("NAME", None, None, problem)
