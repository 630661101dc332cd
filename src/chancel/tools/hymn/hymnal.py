"""The directory of configurations: what is in it, found by name, and changed safely.

A file is replaced by a rename when its successor is whole and on the disk, so readers see the one
or the other. Whoever changes something holds a lock (flock(2)) on the directory from reading to
writing, so two edits at once both take effect. What is unfinished has a hidden name without
``.conf``: the reference's tool reads every file that has these letters anywhere in its name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chancel.daemon import config, places
from chancel.daemon.places import CONFIG_SUFFIX
from chancel.errors import ConfigError
from chancel.tools.hymn.document import Document
from chancel.tools.hymn.layout import Sockets
from chancel.tools.hymn.names import TunnelName
from chancel.tools.hymn.tunnel import Tunnel

MODE = 0o600
"""Of a new file; one that is edited keeps its own."""

_SYSTEM_PID_DIR = Path("/var/run/hymn")
_SYSTEM_CONTROL_DIR = Path("/tmp")  # noqa: S108 - where the reference's tool asks
"""Of tunnels that root adds. They are written into the files, and the reference's tool knows no
others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hymnal:
    """The configurations in ``directory``."""

    directory: Path

    def path(self, name: TunnelName) -> Path:
        """The file of the tunnel of that name."""
        return self.directory / f"{name}{CONFIG_SUFFIX}"

    def files(self) -> list[Path]:
        """Every ``NAME.conf``, in the directory's own order; none when there is no directory."""
        try:
            with os.scandir(self.directory) as entries:
                return [
                    self.directory / entry.name
                    for entry in entries
                    if entry.name.endswith(CONFIG_SUFFIX) and not entry.name.startswith(".")
                ]
        except FileNotFoundError:
            return []

    def tunnels(self) -> tuple[list[Tunnel], list[ConfigError]]:
        """All that can be read, and what is wrong with the others."""
        found, broken = [], []
        for path in self.files():
            try:
                found.append(load(path))
            except ConfigError as error:
                broken.append(error)
        return found, broken

    def find(self, word: str) -> Path:
        """The file of a tunnel: by the file's name, the tunnel's label, or ``[FLOCK-]SRC-DST``.

        Raises :class:`ConfigError` when there is none, or when two have that label.
        """
        exact = places.configuration(self.directory, word)
        if exact.exists():
            return exact
        labelled = [each.path for each in self.tunnels()[0] if each.label == word]
        if len(labelled) > 1:
            names = " or ".join(sorted(path.stem for path in labelled))
            raise ConfigError(
                "NAME", None, None, f"{word!r} is no single tunnel (expected {names})"
            )
        if labelled:
            return labelled[0]
        with contextlib.suppress(ConfigError):
            exact = self.path(TunnelName.parse(word))
            if exact.exists():
                return exact
        raise ConfigError(
            str(exact), None, None, "no such tunnel (expected a name that chancel hymn list tells)"
        )

    @contextlib.contextmanager
    def editing(self, path: Path) -> Iterator[Document]:
        """Lend a file's text to be changed; it is written if the block ends without an error.

        Raises :class:`ConfigError` for a file that can't be read.
        """
        with self._held():
            document = _read(path)
            before = document.text
            yield document
            if document.text != before:
                with _written(path, document.text, path.lstat()) as finished:
                    finished.replace(path)
                    _flush(self.directory)

    def refuse_taken(self, label: str, own: Path) -> None:
        """Refuse the label of another tunnel, by which neither could be found.

        Whoever is to write it holds the lock already.
        """
        for each in self.tunnels()[0]:
            if each.label == label and each.path != own:
                problem = f"{label!r} is the name of {each.title} (expected one of its own)"
                raise ConfigError("name", None, None, problem)

    def add(self, name: TunnelName, text: str, label: str | None = None) -> None:
        """Write a new file. Raises :class:`ConfigError` if there is one of that name or label."""
        path = self.path(name)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._held(), _written(path, text, None) as finished:
            if label is not None:
                self.refuse_taken(label, path)
            try:
                os.link(finished, path)
            except FileExistsError:
                problem = "exists, and is kept (expected another name, or chancel hymn del first)"
                raise ConfigError(str(path), None, None, problem) from None
            _flush(self.directory)

    def delete(self, path: Path) -> None:
        """Remove a file. Raises OSError."""
        with self._held():
            path.unlink()
            _flush(self.directory)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Wait until nobody else changes something here."""
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)


def here(chosen: Path | None) -> Hymnal:
    """The hymnal of this user, or the ``chosen`` one. Raises :class:`ConfigError`."""
    return Hymnal(places.config_dir(chosen))


def sockets(name: TunnelName, runtime: Path) -> Sockets:
    """Where a new tunnel will have its pid file and its status socket.

    Where root's tunnels are, that is where the reference's tool looks, whatever a file says. Raises
    :class:`ConfigError` for a user without a name, who can't own a socket.
    """
    try:
        owner = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        problem = f"user {os.geteuid()} has none here (expected a user that the machine knows)"
        raise ConfigError("NAME", None, None, problem) from None
    if runtime == places.SYSTEM_DIR and places.is_machine_root():
        pids, controls = _SYSTEM_PID_DIR, _SYSTEM_CONTROL_DIR
    else:
        pids = controls = runtime.absolute()  # the daemon may be started anywhere
    return Sockets(pids / f"{name}.pid", controls / f"{name}.control", owner)


def load(path: Path) -> Tunnel:
    """Read one file; raises :class:`ConfigError`."""
    return Tunnel.of(_read(path), path)


def _read(path: Path) -> Document:
    return Document(config.read(path), str(path))


@contextlib.contextmanager
def _written(path: Path, text: str, before: os.stat_result | None) -> Iterator[Path]:
    """Lend a finished file beside ``path``, with owner and mode of what was ``before``."""
    if before is not None and not stat.S_ISREG(before.st_mode):
        problem = "is a symbolic link (expected the file itself, to be replaced)"
        raise ConfigError(str(path), None, None, problem)
    with _about(path):
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.stem}.new-", dir=path.parent)
    try:
        with _about(path), open(descriptor, "wb") as file:
            file.write(text.encode(errors="surrogateescape"))
            file.flush()
            if before is not None:
                os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, MODE if before is None else stat.S_IMODE(before.st_mode))
            os.fsync(descriptor)
        yield Path(unfinished)
    finally:
        Path(unfinished).unlink(missing_ok=True)


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """Errors of the machine name the file that was to be written, not what was beside it."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
