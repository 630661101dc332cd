"""The sacristy: all the keys of a parish, where the devices and the cathedrals find them.

Two devices belong to one flock, or to two. Each has an identity: a symmetric cathedral secret and a
signing pair (COSK). The cathedrals share a sync secret and a ``secretdir`` with what belongs to the
identities. KEKs and bundles are made by a command with the grammar of ``chancel ambry``, so that
the reference's tool can stand in for ours.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chancel.errors import ChancelError
from chancel.tools.ambry.folder import Folder
from chancel.wire.ambry import HEADER_BYTES, Header
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import FlockId

AMBRY = (sys.executable, "-m", "chancel.cli.main", "ambry")
"""Our own tool."""

HOME = FlockId(0xCAFEBA00)
ABROAD = FlockId(0xDEADBE00)
DOMAIN = 0x17
"""Of every flock here, as devices name it: not 0, so that who forgets it is found out."""

KEY_BYTES = 32
DAYS = 30
TOOL_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Member:
    """A device as the cathedrals know it: flock without domain, device id, identity."""

    name: str
    flock: FlockId
    device: int
    identity: CathedralId

    @property
    def flock_with_domain(self) -> int:
        """The number that stands in the device's configuration."""
        return self.flock | DOMAIN


LEFT = Member("left", HOME, 0x1F, CathedralId(0xBADC0DE1))
RIGHT = Member("right", HOME, 0xE2, CathedralId(0xBADC0DE2))
RIGHT_ABROAD = Member("right", ABROAD, 0xE2, CathedralId(0xBADC0DE3))


class Sacristy:
    """The keys, below a folder. ``user``, if given, owns what a daemon's processes have to read."""

    def __init__(self, folder: Path, ambry: Sequence[str] = AMBRY, user: str | None = None) -> None:
        self.folder = folder
        self.secretdir = folder / "secretdir"
        self.sync = folder / "sync"
        self._ambry = tuple(ambry)
        self._user = user
        self._keys = folder / "flocks"
        for path in (folder, self._keys, self.secretdir):
            path.mkdir(mode=0o711, exist_ok=True)
        self.write(self.sync, secrets.token_bytes(KEY_BYTES))
        for member in (LEFT, RIGHT, RIGHT_ABROAD):
            self.enlist(member)

    def write(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Write a file for a daemon's processes."""
        path.touch(mode)
        path.write_bytes(data)
        self.own(path)

    def own(self, path: Path) -> None:
        """Make a file or folder belong to the daemon's user."""
        if self._user is not None:
            shutil.chown(path, self._user)

    def secret(self, member: Member) -> Path:
        """The cathedral secret of a device, which the cathedrals have too."""
        return self._file(member, "key")

    def cosk(self, member: Member) -> Path:
        """The signing key of a device, 64 bytes; cathedrals have the public half."""
        return self.folder / f"{member.identity:08x}.cosk"

    def kek(self, member: Member) -> Path:
        """The KEK of a device; made now if its flock has none yet."""
        return self._flock(member.flock).device(member.device)

    def bundle(self, own: FlockId = HOME, peer: FlockId = HOME) -> Path:
        """The bundle of a flock or of two, made now if there is none yet."""
        path = self._bundle(own, peer)
        if not path.exists():
            self.roll(own, peer)
        return path

    def roll(
        self, own: FlockId = HOME, peer: FlockId = HOME, ambry: Sequence[str] | None = None
    ) -> int:
        """Put a new bundle in force; returns its generation. Cathedrals look at it when their
        settings change. Raises ChancelError with what the tool said."""
        for flock, other in {(own, peer), (peer, own)}:
            folder = self._flock(flock)
            if other != flock and not folder.derived(other).exists():
                self._run("export", f"{flock:x}", f"{other:x}")
        path = self._bundle(own, peer)
        new = path.with_suffix(".new")
        words = ("bundle", f"{own:x}", f"{peer:x}", str(DAYS), str(new.resolve()))
        self._run(*words, ambry=ambry)
        self.own(new)
        new.replace(path)
        with path.open("rb") as file:
            return Header.decode_untrusted(file.read(HEADER_BYTES)).generation

    def _bundle(self, own: FlockId, peer: FlockId) -> Path:
        return self.folder / f"{own:x}-{peer:x}.ambry"

    def enlist(self, member: Member) -> None:
        """Make the keys of a device's identity, and give the cathedrals their parts."""
        self.secret(member).parent.mkdir(mode=0o711, exist_ok=True)
        self.write(self.secret(member), secrets.token_bytes(KEY_BYTES))
        private, public = self.cosk(member), self._file(member, "pub")
        self._run("cosk-pair", str(private.resolve()), str(public.resolve()))
        for path in (private, public):
            path.chmod(0o600)
            self.own(path)

    def _file(self, member: Member, kind: str) -> Path:
        return self.secretdir / f"flock-{member.flock:x}" / f"{member.identity:08x}.{kind}"

    def _flock(self, flock: FlockId) -> Folder:
        folder = Folder(self._keys, flock)
        if not folder.path.exists():
            self._run("generate", f"{flock:x}")
        return folder

    def _run(self, *words: str, ambry: Sequence[str] | None = None) -> None:
        done = subprocess.run(  # noqa: S603 - our own tool, or the one that a test names
            [*(ambry or self._ambry), *words],
            cwd=self._keys,
            capture_output=True,
            text=True,
            timeout=TOOL_LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise ChancelError(f"ambry {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
