"""Which ambries a tunnel end has had: what it has to know to take none that it replaced itself.

It is kept in a file from one run to the next, ``SECRET.ambries`` beside the shared secret::

    generation be32 | expires be16 | latest be16 | replaced be32, the oldest first ...

``generation`` is that of the last one taken, which ``expires``; ``latest`` is the latest expiry of
all that were. There is no secret in it, but whoever could change it could have an old ambry taken
again: so it is believed only where nobody else could (``load_record``).
"""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Final

from chancel.errors import VaultError
from chancel.vault.files import load_record
from chancel.wire.ambry import NO_GENERATION, Header
from chancel.wire.types import Buffer

MAX_REPLACED: Final = 1024
"""Generations remembered after they were replaced: a bundle each hour for the six weeks that one
may be valid. Only who holds all keys of a flock can make more."""

SUFFIX: Final = ".ambries"

_HEAD = struct.Struct("!IHH")
_GENERATION = struct.Struct("!I")

HISTORY_BYTES: Final = _HEAD.size + MAX_REPLACED * _GENERATION.size
"""The most that a file has."""


@dataclasses.dataclass(frozen=True, slots=True)
class AmbryHistory:
    """All ambries up to now, of one tunnel end. ``replaced`` has the oldest first."""

    generation: int = NO_GENERATION
    expires: int = 0
    latest: int = 0
    replaced: tuple[int, ...] = ()

    def refuses(self, header: Header) -> bool:
        """Whether this one was replaced, and is to stay so."""
        is_latest = self.expires < header.expires >= self.latest
        return header.generation in self.replaced and not is_latest

    def after(self, header: Header) -> AmbryHistory:
        """The same once this one is in use."""
        kept = [each for each in self.replaced if each != header.generation]
        if self.generation not in (NO_GENERATION, header.generation):
            kept.append(self.generation)
        latest = max(self.latest, header.expires)
        return AmbryHistory(header.generation, header.expires, latest, tuple(kept[-MAX_REPLACED:]))

    def encode(self) -> bytes:
        """All of the file."""
        head = _HEAD.pack(self.generation, self.expires, self.latest)
        return head + b"".join(map(_GENERATION.pack, self.replaced))

    @classmethod
    def decode(cls, data: Buffer) -> AmbryHistory:
        """Inverse of :meth:`encode`. Raises ``VaultError``."""
        count, rest = divmod(len(data) - _HEAD.size, _GENERATION.size)
        if not 0 <= count <= MAX_REPLACED or rest:
            raise VaultError(f"{len(data)} bytes are no list of ambries")
        generation, expires, latest = _HEAD.unpack_from(data)
        replaced = struct.unpack_from(f"!{count}I", data, _HEAD.size)
        known = {NO_GENERATION, generation, *replaced}
        if latest < expires or len(known) != 2 + count:
            raise VaultError("its numbers make no list of ambries")
        return cls(generation, expires, latest, replaced)


NO_AMBRIES: Final = AmbryHistory()
"""Of an end that has had none."""


def beside(secret: Path) -> Path:
    """Where the history of the ambries is that bring this secret."""
    return secret.with_name(secret.name + SUFFIX)


def recall(secret: Path) -> AmbryHistory:
    """What is kept beside a secret; an empty one where there is nothing yet.

    Raises ``VaultError``, which names the file, where others could have changed it, or it is none.
    """
    path = beside(secret)
    data = load_record(path, HISTORY_BYTES)
    if not data:
        return NO_AMBRIES
    try:
        return AmbryHistory.decode(data)
    except VaultError as error:
        raise VaultError(f"{path}: {error}: delete it") from None
