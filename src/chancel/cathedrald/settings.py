"""The settings of a cathedral as its files have them: looked at again and again while it runs.

Settings with an error in any line are not taken: those before stay in force, and the error is told
by file and line. Bundles are files of their own, looked at on their own: one that can't be used
(half written, of other flocks, expired) is told by name, and the one before stays in force for its
flock. What is told once is not told again until a file changes.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from chancel.errors import ChancelError, ConfigError, VaultError
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.settings import Settings
from chancel.protocol.cathedral.settings_text import BundleFile, Draft, parse
from chancel.wire.ambry import CROSSING
from chancel.wire.types import Address, FlockId

LOOK_INTERVAL_S = 10.0
"""As the reference; a change of any file is noticed after this time at the latest."""

MAX_TEXT_BYTES = 16 << 20
"""300,000 lines, more devices than one core can serve; a file that is larger is another one."""

Mark = tuple[int, ...]
"""What tells a file from one that took its place."""


class SettingsRefused(ChancelError):  # noqa: N818 - what happened to them
    """There is an error in the settings, and none before that could stay in force."""


class BundleState(NamedTuple):
    """One bundle that the settings name: what is in force, and what is wrong with the file."""

    path: str
    flocks: tuple[FlockId, FlockId]
    bundle: Bundle | None
    problem: str
    mark: Mark | None


@dataclasses.dataclass(slots=True)
class Look:
    """What a look at the files found: ``changed`` settings, and problems not told before."""

    changed: bool = False
    problems: list[str] = dataclasses.field(default_factory=list)


class SettingsFile:
    """The settings file of a cathedral whose clients know it by the address ``own``.

    ``settings`` are in force. ``problems`` are those of the file as it is now; while there are any,
    it is not in force.
    """

    def __init__(self, path: Path, own: Address) -> None:
        self._path = path
        self._own = own
        self._mark: Mark | None = None
        self._draft: Draft | None = None
        self._bundles: dict[tuple[FlockId, FlockId], BundleState] = {}
        self.settings = Settings()
        self.problems: tuple[str, ...] = ()

    @property
    def bundles(self) -> list[BundleState]:
        """Those that the settings in force name, with what became of them."""
        return list(self._bundles.values())

    def look(self, wall: float) -> Look:
        """Look whether a file has changed, and read it if so."""
        found = Look()
        self._look_at_text(found)
        if self._draft is None:
            return found
        named = {file.flocks: file for file in _bundle_files(self._draft)}
        for gone in self._bundles.keys() - named.keys():
            del self._bundles[gone]
            found.changed = True
        for file in named.values():
            self._look_at_bundle(file, wall, found)
        if found.changed:
            self.settings = self._draft.settings(lambda file: self._bundles[file.flocks].bundle)
        return found

    def _look_at_text(self, found: Look) -> None:
        mark = _mark(self._path)
        if mark is not None and mark == self._mark:
            return
        self._mark = mark
        draft = read_draft(self._path, self._own)
        problems = tuple(str(problem) for problem in draft.problems)
        found.problems += [problem for problem in problems if problem not in self.problems]
        self.problems = problems
        if not problems:
            self._draft = draft
            found.changed = True

    def _look_at_bundle(self, file: BundleFile, wall: float, found: Look) -> None:
        path = Path(file.path)
        before = self._bundles.get(file.flocks)
        mark = _mark(path)
        if before and before.path == file.path and mark is not None and mark == before.mark:
            return
        bundle, told, problem = None, "", ""
        if before is not None:
            bundle, told = before.bundle, before.problem
        try:
            data = read_regular(path, CROSSING.size)
            bundle = Bundle.decode_untrusted(data, file.flocks, wall, file.path)
            found.changed = True
        except VaultError as error:
            directive = "ambry" if file.flocks[0] == file.flocks[1] else "xflock"
            problem = str(ConfigError(str(self._path), file.line, directive, str(error)))
            if problem != told:
                found.problems.append(problem)
        found.changed |= before is None
        self._bundles[file.flocks] = BundleState(file.path, file.flocks, bundle, problem, mark)


def read_draft(path: Path, own: Address) -> Draft:
    """What the settings file says; that it can't be read is a problem like others."""
    try:
        text = read_regular(path, MAX_TEXT_BYTES).decode(errors="surrogateescape")
    except VaultError as error:
        problem = str(error).removeprefix(f"{path}: ")
        return Draft((), {}, (), (ConfigError(str(path), None, None, problem),))
    return parse(text, str(path), own)


def check_start(path: Path, own: Address) -> Draft:
    """The settings to start with. Raises :class:`SettingsRefused`, which names every line."""
    draft = read_draft(path, own)
    if draft.problems:
        raise SettingsRefused("; ".join(map(str, draft.problems)))
    return draft


def bundle_directories(draft: Draft) -> set[str]:
    """Where the bundles are. A bundle may be replaced, so they are directories."""
    return {os.path.realpath(Path(file.path).parent) for file in _bundle_files(draft)}


def read_regular(path: Path, limit: int) -> bytes:
    """The whole of a regular file of at most ``limit`` bytes. Raises ``VaultError`` with its name.

    Nothing but open, fstat and readv is asked of the kernel: a sandbox allows no more.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise VaultError(f"{path}: is not a regular file: name one that is")
            if status.st_size > limit:
                raise VaultError(f"{path}: has {status.st_size} bytes: at most {limit} make sense")
            return _read_all(descriptor, limit)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise VaultError(f"{path}: {_explain(error)}") from error


def _read_all(descriptor: int, limit: int) -> bytes:
    """Up to one byte more than the limit: a file may grow meanwhile, and is wrong then."""
    content = bytearray(os.fstat(descriptor).st_size + 1)
    view = memoryview(content)
    at = 0
    while at < len(view) <= limit + 1 and (count := os.readv(descriptor, [view[at:]])):
        at += count
    return bytes(view[:at])


def _explain(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"user {os.geteuid()} can't read it: chown it to that user; or, if its directory was"
            " not in the settings when the cathedral started, restart that"
        )
    if error.errno == errno.ENOENT:
        return "doesn't exist: create it, or correct the path"
    return f"can't be read: {error.strerror}"


def _bundle_files(draft: Draft) -> Iterator[BundleFile]:
    yield from (flock.bundle for flock in draft.flocks if flock.bundle is not None)
    yield from draft.xflocks.values()


def _mark(path: Path) -> Mark | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    # The time of the last change of any kind: a chmod may be what was missing.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
