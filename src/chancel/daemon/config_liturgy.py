"""A liturgy's configuration file: the directives of ``mode liturgy`` (cathedral section 7.4).

The grammar is that of tunnels, and so are the errors: ``FILE:LINE: directive: problem (expected
...)``. Nothing is created or changed, and no secret is opened. A liturgy has no peer, address or
secret of its own: of those its tunnels have, all follows from what stands here
(``liturgy_tunnels``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Final

from chancel.daemon import config_cathedral, places
from chancel.daemon import config_values as values
from chancel.daemon.config import begins_with_mode, read
from chancel.daemon.config_dialect import Dialect
from chancel.daemon.config_directives import Draft, user_exists
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_secret import check_owner, check_replaceable, check_secret
from chancel.daemon.config_types import LITURGY, LITURGY_PROCESSES, CathedralConfig
from chancel.daemon.config_values import Refused
from chancel.daemon.offloads import Offload
from chancel.errors import ConfigError
from chancel.wire.remembrance import TABLE_BYTES
from chancel.wire.types import Address, FlockId

MAX_INSTANCE_CHARS: Final = 31
"""It names no network device; the reference's tool makes names of 16."""

LAST_DEVICE: Final = 0xFE
"""The answers of a cathedral have no place for 255."""

_KEEPER = "chapel"

_SHARED = (
    *("descr", "spi", "tap", "bridge", "shroud", "local", "run", "control", "pidfile"),
    *("cathedral_flock", "cathedral_flock_dst", "offload", "accelerator"),
    *config_cathedral.DIRECTIVES,
)
"""Directives that mean the same as in a tunnel's file; ``control`` is for those of other modes, and
nobody asks there."""


@dataclasses.dataclass(frozen=True, slots=True)
class LiturgyConfig:
    """One liturgy, as its file describes it. Everything in it has been checked.

    ``device`` is our own number, ``prefix`` the a.b.0.0 of all addresses inside. ``secretdir`` is
    where the tunnels' secrets are kept, which come as ambries. ``local`` is for the socket on which
    the cathedral is asked. ``run_as`` maps each process, if any, to its user.
    """

    file: str
    instance: str
    descr: str
    device: int
    group: int
    prefix: IPv4Address
    discoverable: bool
    flock: FlockId
    cathedral: CathedralConfig
    secretdir: Path
    tap: bool
    bridge: str | None
    shroud: bool
    local: Address
    run_as: Mapping[str, str]
    pidfile: Path | None
    offloads: Offload
    accelerator: bool
    lines: Mapping[str, int] = dataclasses.field(compare=False, repr=False)

    @property
    def asking_files(self) -> tuple[tuple[str, Path, int], ...]:
        """The files that the process ``liturgy`` asks with: directive, path, bytes."""
        return tuple(each for each in self.cathedral.key_files if each[0] != "kek")

    def check_cell(self) -> None:
        """Refuse what commands can't have to themselves. Raises :class:`ConfigError`."""
        if self.tap:
            problem = "an Ethernet brings no address for a command (expected no such line)"
            raise self.refusal("tap", problem)

    def refusal(self, directive: str, problem: str, key: str | None = None) -> ConfigError:
        """An error at the place of ``directive``; ``key`` finds one of several such lines."""
        line = self.lines.get(directive if key is None else key)
        return ConfigError(self.file, line, directive, problem)


@dataclasses.dataclass(slots=True)
class _Draft(Draft):
    """What has been read so far, with what only a liturgy has."""

    group: int = 0
    prefix: IPv4Address | None = None
    discoverable: bool = True
    secretdir: Path | None = None


def load(path: Path) -> LiturgyConfig:
    """Read and check the file at ``path``. Raises :class:`ConfigError`."""
    return parse(read(path), str(path))


def is_liturgy(path: Path) -> bool:
    """Whether a file begins with ``mode liturgy``, as one of a liturgy has to.

    What else is wrong with it is for those who read all of it. Raises :class:`ConfigError`.
    """
    return begins_with_mode(path, LITURGY)


def parse(text: str, file: str) -> LiturgyConfig:
    """Check a configuration; ``file`` is its name in messages. Raises :class:`ConfigError`."""
    draft = _Draft()
    _DIALECT.read(draft, text, file)
    return _Finish(draft, file).config()


def check_users(config: LiturgyConfig) -> None:
    """Refuse a file that doesn't name the user of ``liturgy``; only root needs one.

    Who has no line of his own becomes that user, too. Raises :class:`ConfigError`.
    """
    if not places.is_machine_root():
        return
    if LITURGY not in config.run_as:
        problem = f"no user for {LITURGY} (expected a line: run {LITURGY} as USER)"
        raise config.refusal("run", problem, key=f"run {LITURGY}")
    for process, user in config.run_as.items():
        if not user_exists(user):
            problem = f"user {quoted(user)} does not exist (expected the name of a user)"
            raise config.refusal("run", problem, key=f"run {process}")
    for directive, path, _size in config.cathedral.key_files:
        try:
            check_owner(path, _KEEPER, config.run_as[_KEEPER])
        except Refused as refused:
            raise config.refusal(directive, str(refused)) from None


def _mode(_draft: _Draft, value: str) -> None:
    if value != LITURGY:
        raise Refused(f"{quoted(value)} after mode {LITURGY} (expected one mode)")


def _instance(draft: _Draft, value: str) -> None:
    draft.instance = values.word(value, MAX_INSTANCE_CHARS, "instance name")


def _secret(_draft: _Draft, _value: str) -> None:
    raise Refused("each tunnel has its own, which comes as an ambry (expected no such line)")


def _secretdir(draft: _Draft, value: str) -> None:
    draft.secretdir = Path(value)


def _group(draft: _Draft, value: str) -> None:
    draft.group = values.hexadecimal(value, 16)


def _prefix(draft: _Draft, value: str) -> None:
    prefix = values.ipv4(value)
    if int(prefix) & 0xFFFF or not int(prefix):
        raise Refused(f"{quoted(value)} is no prefix (expected x.y.0.0)")
    draft.prefix = prefix


def _discoverable(draft: _Draft, value: str) -> None:
    draft.discoverable = values.choice(value, "yes", "no")


_OWN: dict[str, Callable[[_Draft, str], None]] = {
    "mode": _mode,
    "instance": _instance,
    "secret": _secret,
    "liturgy_group": _group,
    "liturgy_prefix": _prefix,
    "liturgy_discoverable": _discoverable,
    # Chancel's own here; in the sanctum daemon it is for cathedrals.
    "secretdir": _secretdir,
}

_DIALECT = Dialect(LITURGY, frozenset(_SHARED), _OWN)


@dataclasses.dataclass(slots=True)
class _Finish:
    """What the lines say together, checked in the order of the sanctum daemon."""

    draft: _Draft
    file: str

    def config(self) -> LiturgyConfig:
        draft = self.draft
        if draft.instance is None:
            raise self._missing("instance", "expected instance NAME")
        if draft.bridge is not None and not draft.tap:
            raise self._refusal("bridge", "makes no sense without a TAP device (expected tap yes)")
        cathedral = self._cathedral()
        if draft.prefix is None:
            raise self._missing("liturgy_prefix", "expected liturgy_prefix x.y.0.0")
        if cathedral.kek is None:
            raise self._missing("kek", "expected kek PATH: the tunnels' secrets come as ambries")
        self._check_device()
        config = LiturgyConfig(
            file=self.file,
            instance=draft.instance,
            descr=draft.descr,
            device=draft.spi_prefix,
            group=draft.group,
            prefix=draft.prefix,
            discoverable=draft.discoverable,
            flock=FlockId(draft.flock),
            cathedral=cathedral,
            secretdir=draft.secretdir or Path(self.file).absolute().parent,
            tap=draft.tap,
            bridge=draft.bridge,
            shroud=draft.shroud,
            local=draft.local,
            run_as=self._users(),
            pidfile=draft.pidfile,
            offloads=draft.offloads,
            accelerator=draft.accelerator,
            lines=MappingProxyType(draft.lines),
        )
        self._check_files(config)
        return config

    def _cathedral(self) -> CathedralConfig:
        draft = self.draft
        if not draft.cathedral.places:
            raise self._missing("cathedral", "expected cathedral HOST:PORT, which knows the others")
        lacking = config_cathedral.missing(draft)
        if lacking is not None:
            raise self._missing(lacking, f"expected {lacking} with a cathedral")
        if draft.flock_dst not in (None, 0, draft.flock):
            problem = "a liturgy is within one flock (expected no such line)"
            raise self._refusal("cathedral_flock_dst", problem)
        if ":" in draft.local.host:
            problem = f"{draft.local} reaches no cathedral (expected an IPv4 address)"
            raise self._refusal("local", problem)
        return draft.cathedral.finish()

    def _check_device(self) -> None:
        device = self.draft.spi_prefix
        if device > 0xFF:
            problem = f"{device:x} is more than a device (expected our own number, 1 to fe)"
            raise self._refusal("spi", problem)
        if device > LAST_DEVICE:
            problem = f"cathedrals can't tell of {device:x} (expected a device from 1 to fe)"
            raise self._refusal("spi", problem)

    def _users(self) -> Mapping[str, str]:
        """Whoever has no line becomes the user of ``liturgy``. So does chapel whatever a line says:
        both read the keys for cathedrals, which have one owner.
        """
        named = self.draft.run_as
        if LITURGY not in named:
            return MappingProxyType({})
        user = named[LITURGY]
        users = {process: named.get(process, user) for process in LITURGY_PROCESSES}
        return MappingProxyType({**users, _KEEPER: user})

    def _check_files(self, config: LiturgyConfig) -> None:
        user = config.run_as.get(_KEEPER)
        writer = user if places.is_machine_root() else None
        for directive, path, size in config.cathedral.key_files:
            self._check(directive, check_secret, path, user, size)
        if config.cathedral.remembrance is not None:
            table = config.cathedral.remembrance
            self._check("cathedral_remembrance", check_replaceable, table, writer, TABLE_BYTES)
        try:
            check_replaceable(config.secretdir / "secret", writer)
        except Refused as refused:
            hint = "" if self.draft.secretdir else "; or a line secretdir DIR with another one"
            raise self._refusal("secretdir", f"{str(refused)[:-1]}{hint})") from None

    def _check(self, directive: str, check: Callable[..., None], *arguments: object) -> None:
        try:
            check(*arguments)
        except Refused as refused:
            raise self._refusal(directive, str(refused)) from None

    def _refusal(self, directive: str, problem: str) -> ConfigError:
        return ConfigError(self.file, self.draft.lines.get(directive), directive, problem)

    def _missing(self, directive: str, expected: str) -> ConfigError:
        return ConfigError(self.file, None, directive, f"missing ({expected})")
