"""The key files of a flock: made, derived, renewed, loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto.kdf_ambry import derived_kek
from chancel.crypto.suite import KEY_BYTES, Suite
from chancel.errors import VaultError
from chancel.tools.ambry.files import Staged, new_folder, staged, write_inside
from chancel.tools.ambry.folder import Folder, device_name
from chancel.vault.files import load_secret
from chancel.vault.secret import Secret
from chancel.wire.ambry import DEVICES
from chancel.wire.types import FlockId, Flocks

Progress = Callable[[str, int, int], None]
"""Told what is done, how many parts of it are, and of how many."""

Keys = dict[int, Secret]
"""Device id → its derived KEK."""


def generate(folder: Folder, suite: Suite, progress: Progress) -> None:
    """Make a KEK for every device of a flock, and derive those for its own bundles.

    Raises ``VaultError`` if the flock has a folder already.
    """
    with new_folder(folder.path) as path:
        new = Folder(path.parent, folder.flock)
        for part in ("kek-data", "internal", "external"):
            (path / part).mkdir(mode=0o700)
        for device in DEVICES:
            kek = Secret(suite.random(KEY_BYTES))
            _write(path / "kek-data" / device_name(device), kek)
            derived = _derive(suite, kek, Flocks(new.flock, new.flock))
            _write(path / "internal" / device_name(device), derived)
            progress("generating keys", device, len(DEVICES))


def export(folder: Folder, other: FlockId, suite: Suite, progress: Progress) -> None:
    """Derive the KEKs of every device for bundles with another flock.

    Raises ``VaultError`` if that was done before, and what :func:`load_kek` raises.
    """
    if other == folder.flock:
        raise VaultError(f"{folder.path}: a flock needs no export for itself: name another one")
    with folder.held(to_change=True):
        place = folder.derived(other)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        with new_folder(place) as path:
            for device in DEVICES:
                kek = load_kek(folder.device(device))
                derived = _derive(suite, kek, Flocks(folder.flock, other))
                _write(path / device_name(device), derived)
                progress("exporting keys", device, len(DEVICES))


class Renewal:
    """A new KEK of one device, in memory until it is staged."""

    def __init__(self, folder: Folder, device: int, suite: Suite) -> None:
        self._kek = Secret(suite.random(KEY_BYTES))
        self.derived = _derive(suite, self._kek, Flocks(folder.flock, folder.flock))
        self._places = (
            folder.device(device),
            folder.derived(folder.flock) / device_name(device),
        )

    @contextmanager
    def staged(self) -> Iterator[Callable[[], None]]:
        """Write it beside the one in force; calling what is lent puts it in force.

        That is done in two steps, the device's own file first. Between them the derived one is
        stale, which :func:`load_derived` refuses by name.
        """
        own, derived = self._places
        with _staged(own, self._kek) as first, _staged(derived, self.derived) as second:

            def install() -> None:
                first.replace()
                second.replace()

            yield install


def renew(folder: Folder, device: int, suite: Suite) -> None:
    """Replace the KEK of one device; bundles from then on are closed to who has the old one."""
    with folder.held(to_change=True), Renewal(folder, device, suite).staged() as install:
        install()


def load_derived(folder: Folder, other: FlockId, suite: Suite) -> Keys:
    """Load the KEKs of all devices for bundles with ``other``.

    Raises ``VaultError``, which names the file: what :func:`load_kek` raises, and for one that is
    not derived from the device's own KEK, where that is here.
    """
    place = folder.derived(other)
    keys: Keys = {}
    for device in DEVICES:
        keys[device] = load_kek(place / device_name(device))
        own = folder.device(device)
        if own.exists():
            derived = _derive(suite, load_kek(own), Flocks(folder.flock, other))
            if not derived.equals(keys[device]):
                raise VaultError(_stale(folder, other, device))
    return keys


def load_kek(path: Path) -> Secret:
    """Load a key file that has exactly 32 bytes and that nobody else can read.

    Raises ``VaultError`` for any other, as :func:`chancel.vault.files.load_secret`.
    """
    secret = load_secret(path, KEY_BYTES)
    size = path.stat().st_size
    if size != KEY_BYTES:
        raise VaultError(f"{path}: has {size} bytes, and a key {KEY_BYTES}: it is another file")
    return secret


def cosk_pair(private: Path, public: Path) -> None:
    """Make the Ed25519 pair that signs offers to cathedrals; neither file may exist.

    ``private`` gets the seed and the public key (64 bytes), ``public`` the public key (32).
    """
    key = Ed25519PrivateKey.generate()
    shown = key.public_key().public_bytes_raw()
    secret = Secret(key.private_bytes_raw() + shown)
    for place in (private, public):
        if place.exists():
            raise VaultError(f"{place}: exists, and is kept: name another file")
    with _staged(private, secret) as first, staged(public, shown) as second:
        second.put_new()
        try:
            first.put_new()
        except BaseException:
            public.unlink()
            raise


def _derive(suite: Suite, kek: Secret, flocks: Flocks) -> Secret:
    with kek.reveal() as revealed:
        return Secret(derived_kek(suite, revealed, flocks))


def _write(path: Path, secret: Secret) -> None:
    with secret.reveal() as revealed:
        write_inside(path, revealed)


@contextmanager
def _staged(place: Path, secret: Secret) -> Iterator[Staged]:
    with ExitStack() as stack:
        with secret.reveal() as revealed:
            file = stack.enter_context(staged(place, revealed))
        yield file


def _stale(folder: Folder, other: FlockId, device: int) -> str:
    place = folder.derived(other)
    if other == folder.flock:
        remedy = f"chancel ambry renew {folder.flock:x} {device:x}"
    else:
        remedy = f"move {place} away, then chancel ambry export {folder.flock:x} {other:x}"
    return (
        f"{place / device_name(device)}: not derived from {folder.device(device)},"
        f" so this device could open nothing: {remedy}"
    )
