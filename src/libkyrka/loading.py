"""Loading secrets into a context (kyrka sections 2.2 and 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chancel.crypto.vicar import FILE_BYTES, MAX_PASSPHRASE_BYTES, unseal
from chancel.wire.types import Buffer
from libkyrka import arguments
from libkyrka.constants import (
    KYRKA_ERROR_FILE_ERROR,
    KYRKA_ERROR_INTEGRITY,
    KYRKA_ERROR_INTERNAL,
    KYRKA_ERROR_NONE,
    KYRKA_ERROR_PARAMETER,
    KYRKA_ERROR_SYSTEM,
)
from libkyrka.material import Kind, read_regular
from libkyrka.notices import log
from libkyrka.parts import Parts

if TYPE_CHECKING:
    from libkyrka.context import KYRKA


class Loading(Parts):
    """The part of a context with the long-term secrets. A secret loaded again is replaced."""

    __slots__ = ()

    def secret_load(self, secret: Buffer, /) -> bool:
        """Load the shared secret, 32 bytes, else 2. It replaces the one before."""
        return self._load(Kind.SHARED, secret)

    def secret_load_path(self, path: str, /) -> bool:
        """Load the shared secret from the first 32 bytes of a file.

        Raises ``RuntimeError``: 1 (can't be opened, or is a symbolic link), 5 (not a regular file),
        6 (too short).
        """
        self._load_path(Kind.SHARED, arguments.text(path))
        return True

    def device_kek_load(self, key: Buffer, /) -> bool:
        """Load the key that unwraps what a cathedral hands out, 32 bytes, else 2."""
        return self._load(Kind.DEVICE_KEK, key)

    def cathedral_secret_load(self, secret: Buffer, /) -> bool:
        """Load the secret shared with a cathedral, 32 bytes, else 2."""
        return self._load(Kind.CATHEDRAL, secret)

    def cathedral_cosk_load(self, key: Buffer, /) -> bool:
        """Load the Ed25519 key (seed, then public key) for a cathedral, 64 bytes, else 2."""
        return self._load(Kind.COSK, key)

    def key_material_copy(self, source: KYRKA | None, /) -> bool:
        """Take over all secrets that another context has; ``None`` gives 2."""
        if source is None:
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        if not isinstance(source, Loading):
            raise TypeError(f"a KYRKA is needed, not {type(source).__name__}")
        self._material.copy_from(source._material)
        return True

    def vicar_load(self, path: str, passphrase: str, /) -> dict[str, int]:
        """Load the cathedral's secret, the COSK and the KEK from a vicar file. Takes seconds.

        Returns what else it says of us, for ``cathedral_configure``: ``identity``, ``flock_src``
        and ``tunnel``, whose low byte, the peer, is 0 mostly. Raises ``RuntimeError``: 2 (a
        passphrase of more than 255 bytes), 1 (can't be opened), 5 (not a regular file, or of
        another size), 7 (wrong passphrase, or damaged); ``VaultError`` without the accelerator.
        """
        words = arguments.text(passphrase).encode()
        if len(words) > MAX_PASSPHRASE_BYTES:
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        try:
            data = read_regular(arguments.text(path), FILE_BYTES + 1)
        except OSError as error:
            raise self._refuse(KYRKA_ERROR_SYSTEM) from error
        if data is None or len(data) != FILE_BYTES:
            raise self._refuse(KYRKA_ERROR_FILE_ERROR)
        vicar = unseal(data, words)
        if vicar is None:
            raise self._refuse(KYRKA_ERROR_INTEGRITY)
        self._material.load(Kind.CATHEDRAL, bytearray(vicar.secret))
        self._material.load(Kind.COSK, bytearray(vicar.cosk))
        self._material.load(Kind.DEVICE_KEK, bytearray(vicar.kek))
        return {"identity": vicar.identity, "flock_src": vicar.flock, "tunnel": vicar.tunnel}

    def _load(self, kind: Kind, data: Buffer) -> bool:
        if not self._material.load(kind, arguments.buffer(data)):
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        return True

    def _load_path(self, kind: Kind, path: str) -> None:
        """Raises as :meth:`secret_load_path`."""
        try:
            code = self._material.load_path(kind, path)
        except OSError as error:
            raise self._refuse(KYRKA_ERROR_SYSTEM) from error
        if code == KYRKA_ERROR_INTERNAL:
            self._say(log(f"failed to read key '{path}'"))
        if code != KYRKA_ERROR_NONE:
            raise self._refuse(code)
