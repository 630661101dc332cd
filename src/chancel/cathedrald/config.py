"""A cathedral's own configuration file: the directives of ``mode cathedral`` (section 3.1).

The grammar is that of tunnels, and so are the errors: ``FILE:LINE: directive: problem (expected
...)``. Nothing is created or changed, and no secret is opened. Who may register stands in another
file, the *settings*, which may change while the cathedral runs (``settings``).
"""

from __future__ import annotations

import dataclasses
import os
import pwd
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from chancel.daemon import config_values as values
from chancel.daemon import places
from chancel.daemon.config import begins_with_mode, read
from chancel.daemon.config_dialect import Dialect
from chancel.daemon.config_directives import ANY, CATHEDRAL, Draft, user_exists
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_secret import MAX_PATH_CHARS, check_secret
from chancel.daemon.config_types import ControlSocket
from chancel.daemon.config_values import Refused
from chancel.daemon.offloads import OF_SOCKET, Offload
from chancel.errors import ConfigError
from chancel.protocol.cathedral.settings import MAX_MTU, MAX_SHROUDED_MTU, MIN_MTU
from chancel.wire.types import Address

T = TypeVar("T")

PROCESSES = ("control", "cathedral")
"""In the order in which they start."""

MAX_INSTANCE_CHARS = 31

_SHARED = (
    *("descr", "secret", "shroud", "tfc", "local", "run", "control", "pidfile"),
    *("offload", "accelerator", "cathedral_nat_port"),
)
"""Directives that mean the same as in a tunnel's file."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerConfig:
    """One cathedral, as its file describes it. Everything in it has been checked.

    ``secret`` is shared with the cathedrals it federates with. ``announced`` is its address as
    clients are told it; ``nat_port`` is 0 without NAT detection. ``mtu`` bounds what its own offers
    are padded to, in bytes of a tunnel's payload.
    """

    file: str
    instance: str
    descr: str
    secret: Path
    secretdir: Path
    settings: Path
    local: Address
    announced: Address
    nat_port: int
    mtu: int
    p2p_sync: bool
    shroud: bool
    tfc: bool
    offloads: Offload
    accelerator: bool
    run_as: Mapping[str, str]
    control: ControlSocket | None
    pidfile: Path | None
    lines: Mapping[str, int] = dataclasses.field(compare=False, repr=False)

    @property
    def nat_local(self) -> Address | None:
        """The address of the second socket."""
        return Address(self.local.host, self.nat_port) if self.nat_port else None

    def refusal(self, directive: str, problem: str, key: str | None = None) -> ConfigError:
        """An error at the place of ``directive``; ``key`` finds one of several such lines."""
        line = self.lines.get(directive if key is None else key)
        return ConfigError(self.file, line, directive, problem)


@dataclasses.dataclass(slots=True)
class _Draft(Draft):
    """What has been read so far, with what only a cathedral has."""

    secretdir: Path | None = None
    settings: Path | None = None
    announced: Address | None = None
    mtu: int | None = None
    p2p_sync: bool = False
    switches: tuple[str, ...] = ("gso", "gro")


def load(path: Path) -> ServerConfig:
    """Read and check the file at ``path``. Raises :class:`ConfigError`."""
    return parse(read(path), str(path))


def is_cathedral(path: Path) -> bool:
    """Whether a file begins with ``mode cathedral``, as one of a cathedral has to.

    What else is wrong with it is for those who read all of it. Raises :class:`ConfigError`.
    """
    return begins_with_mode(path, CATHEDRAL)


def parse(text: str, file: str) -> ServerConfig:
    """Check a configuration; ``file`` is its name in messages. Raises :class:`ConfigError`."""
    draft = _Draft()
    _DIALECT.read(draft, text, file)
    return _Finish(draft, file).config()


def _once(draft: _Draft, name: str) -> None:
    if name in draft.lines:
        raise Refused(f"already set on line {draft.lines[name]} (expected once)")


def _mode(_draft: _Draft, value: str) -> None:
    if value != CATHEDRAL:
        raise Refused(f"{quoted(value)} after mode cathedral (expected one mode)")


def _instance(draft: _Draft, value: str) -> None:
    draft.instance = values.word(value, MAX_INSTANCE_CHARS, "instance name")


def _secretdir(draft: _Draft, value: str) -> None:
    _once(draft, "secretdir")
    draft.secretdir = Path(value)


def _settings(draft: _Draft, value: str) -> None:
    _once(draft, "settings")
    draft.settings = Path(value)


def _ip(draft: _Draft, value: str) -> None:
    draft.announced = _reachable(values.address(value))


def _mtu(draft: _Draft, value: str) -> None:
    draft.mtu = values.decimal(value, MIN_MTU, MAX_MTU)


def _p2p_sync(draft: _Draft, value: str) -> None:
    draft.p2p_sync = values.choice(value, "yes", "no")


_OWN: dict[str, Callable[[_Draft, str], None]] = {
    "mode": _mode,
    "instance": _instance,
    "secretdir": _secretdir,
    "settings": _settings,
    "cathedral_ip": _ip,
    "cathedral_mtu": _mtu,
    "cathedral_p2p_sync": _p2p_sync,
}

_DIALECT = Dialect(CATHEDRAL, frozenset(_SHARED), _OWN)


def _reachable(address: Address) -> Address:
    if ":" in address.host:
        raise Refused(f"{address} is no IPv4 address (expected 192.0.2.1:4500)")
    if address.host == ANY.host or address.port == 0:
        raise Refused(f"{address} can't be told to clients (expected this machine's own ip:port)")
    return address


@dataclasses.dataclass(slots=True)
class _Finish:
    """What is checked after the last line, in the order of the sanctum daemon."""

    draft: _Draft
    file: str

    def config(self) -> ServerConfig:
        draft = self.draft
        instance = self._needed("instance", draft.instance, "NAME")
        secret = self._needed("secret", draft.secret, "PATH")
        secretdir = self._needed("secretdir", draft.secretdir, "DIRECTORY")
        settings = self._needed("settings", draft.settings, "FILE")
        local = self._local()
        self._check("secret", lambda: check_secret(secret, draft.run_as.get(CATHEDRAL)))
        self._check("secretdir", lambda: _check_directory(secretdir))
        self._check("settings", lambda: _check_file(settings))
        config = ServerConfig(
            file=self.file,
            instance=instance,
            descr=draft.descr,
            secret=secret,
            secretdir=secretdir,
            settings=settings,
            local=local,
            announced=draft.announced or local,
            nat_port=draft.cathedral.nat_port,
            mtu=self._mtu(),
            p2p_sync=draft.p2p_sync,
            shroud=draft.shroud,
            tfc=draft.tfc,
            offloads=draft.offloads & OF_SOCKET,
            accelerator=draft.accelerator,
            run_as=MappingProxyType(draft.run_as),
            control=draft.control,
            pidfile=draft.pidfile,
            lines=MappingProxyType(draft.lines),
        )
        if config.nat_port == local.port:
            problem = f"{local.port} is that of local (expected another one)"
            raise config.refusal("cathedral_nat_port", problem)
        if places.is_machine_root():
            _check_users(config)
        return config

    def _needed(self, directive: str, value: T | None, what: str) -> T:
        if value is None:
            problem = f"missing (expected {directive} {what})"
            raise ConfigError(self.file, None, directive, problem)
        return value

    def _local(self) -> Address:
        if "local" not in self.draft.lines:
            raise ConfigError(self.file, None, "local", "missing (expected local ip:port)")
        self._check("local", lambda: _reachable(self.draft.local))
        return self.draft.local

    def _mtu(self) -> int:
        draft = self.draft
        largest = MAX_SHROUDED_MTU if draft.shroud else MAX_MTU
        mtu = largest if draft.mtu is None else draft.mtu
        if mtu > largest:
            problem = f"{mtu} is too large beside shroud (expected at most {largest})"
            line = draft.lines["cathedral_mtu"]
            raise ConfigError(self.file, line, "cathedral_mtu", problem)
        return mtu

    def _check(self, directive: str, check: Callable[[], object]) -> None:
        try:
            check()
        except Refused as refused:
            line = self.draft.lines[directive]
            raise ConfigError(self.file, line, directive, str(refused)) from None


def _check_directory(path: Path) -> None:
    try:
        is_directory = path.is_dir()
    except (OSError, ValueError):
        is_directory = False
    if not is_directory:
        raise Refused(f"{quoted(str(path))} is no directory (expected that with the clients' keys)")


def _check_file(path: Path) -> None:
    try:
        readable = path.is_file() and os.access(path, os.R_OK)
    except (OSError, ValueError):
        readable = False
    if not readable:
        raise Refused(f"{quoted(str(path))} can't be read (expected a text file; it may be empty)")


def _check_users(config: ServerConfig) -> None:
    """The machine's root has to name a user for each process, and the cathedral its own files."""
    for process in PROCESSES:
        user = config.run_as.get(process)
        key = f"run {process}"
        if user is None:
            problem = f"no user for {process} (expected a line: run {process} as USER)"
            raise config.refusal("run", problem, key)
        if not user_exists(user):
            problem = f"user {quoted(user)} does not exist (expected the name of a user)"
            raise config.refusal("run", problem, key)
    user = config.run_as[CATHEDRAL]
    if config.secret.lstat().st_uid != pwd.getpwnam(user).pw_uid:
        problem = (
            f"{quoted(str(config.secret), MAX_PATH_CHARS)} can't be read by cathedral, which runs"
            f" as {user} (expected its own file: chown {user} {shlex.quote(str(config.secret))})"
        )
        raise config.refusal("secret", problem)
