"""Where the daemon finds configurations, and keeps what lives as long as it does (``NAME.ctl``).

Root of the machine has ``/run/hymn``, as the reference; everybody else, and root of a mere user
namespace, a directory of their own. Nobody but its owner may enter it: who can connect to a
control socket commands the tunnels.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from chancel.errors import ConfigError

ENVIRONMENT = "CHANCEL_RUNTIME_DIR"

SYSTEM_DIR = Path("/run/hymn")

CONFIG_ENVIRONMENT = "CHANCEL_CONFIG_DIR"
SYSTEM_CONFIG_DIR = Path("/etc/hymn")
CONFIG_SUFFIX = ".conf"

CONTROL_SUFFIX = ".ctl"
METRICS_SUFFIX = ".metrics"

MAX_SOCKET_PATH_BYTES = 107
"""What ``struct sockaddr_un`` holds."""

_WHOLE_MACHINE = ["0", "0", str(0xFFFFFFFF)]


def is_machine_root() -> bool:
    """Whether this process is root, and of the machine rather than of a user namespace."""
    if os.geteuid() != 0:
        return False
    try:
        return Path("/proc/self/uid_map").read_text().split() == _WHOLE_MACHINE
    except FileNotFoundError:  # a kernel without user namespaces
        return True


def runtime_dir(chosen: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The directory for control sockets; ``chosen`` on the command line wins.

    Creates nothing. Raises :class:`ConfigError` when nothing says where it is.
    """
    if chosen is not None:
        return chosen
    if environ.get(ENVIRONMENT):
        return Path(environ[ENVIRONMENT])
    if is_machine_root():
        return SYSTEM_DIR
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "chancel"
    login = Path(f"/run/user/{os.geteuid()}")
    if login.is_dir() and login.stat().st_uid == os.geteuid():
        return login / "chancel"
    if environ.get("HOME"):
        return Path(environ["HOME"]) / ".local/state/chancel/run"
    problem = f"needed, as there is no home directory (expected DIR, or {ENVIRONMENT})"
    raise ConfigError("--runtime-dir", None, None, problem)


def config_dir(chosen: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The directory of configurations; ``chosen`` on the command line wins.

    Raises :class:`ConfigError` when nothing says where it is.
    """
    if chosen is not None:
        return chosen
    if environ.get(CONFIG_ENVIRONMENT):
        return Path(environ[CONFIG_ENVIRONMENT])
    if is_machine_root():
        return SYSTEM_CONFIG_DIR
    if environ.get("XDG_CONFIG_HOME"):
        return Path(environ["XDG_CONFIG_HOME"]) / "chancel"
    if environ.get("HOME"):
        return Path(environ["HOME"]) / ".config/chancel"
    problem = f"needed, as there is no home directory (expected DIR, or {CONFIG_ENVIRONMENT})"
    raise ConfigError("--config-dir", None, None, problem)


def configuration(directory: Path, name: str) -> Path:
    """The path of ``NAME.conf``. Raises :class:`ConfigError` for what is no name."""
    if not name or "/" in name:
        raise ConfigError("NAME", None, None, f"{name!r} (expected the name of a tunnel)")
    return directory / f"{name}{CONFIG_SUFFIX}"


def configurations(directory: Path) -> list[Path]:
    """Every ``NAME.conf`` in the directory, sorted; none when there is no directory."""
    return sorted(directory.glob(f"*{CONFIG_SUFFIX}"))


def check_dir(path: Path) -> None:
    """Refuse a directory that somebody else could have put a socket in.

    Raises :class:`ConfigError`, or ``FileNotFoundError`` when there is none.
    """
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise _refusal(path, "not a directory (expected a directory of your own)")
    if found.st_uid != os.geteuid():
        raise _refusal(path, "belongs to another user (expected a directory of your own)")
    if found.st_mode & 0o022:
        raise _refusal(path, f"writable by others (expected mode 0700: chmod 700 {path})")


def check_runtime_dir(directory: Path, instances: Sequence[str]) -> None:
    """Refuse a place where a group of these tunnels can't have its sockets; creates nothing.

    Raises :class:`ConfigError`.
    """
    for name in instances:
        control_socket(directory, name)
    metrics_socket(directory, instances[0])
    try:
        with contextlib.suppress(FileNotFoundError):
            check_dir(directory)
    except OSError as error:
        raise _no_directory(directory, error) from error


def make_dir(path: Path) -> Path:
    """Create the directory (mode 0700, and its parents) unless it is there; checked, returned."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _no_directory(path, error) from error
    check_dir(path)
    return path


def control_socket(directory: Path, name: str) -> Path:
    """The path of ``NAME.ctl``; raises :class:`ConfigError` when it's too long for a socket."""
    return _socket(directory / f"{name}{CONTROL_SUFFIX}")


def metrics_socket(directory: Path, name: str) -> Path:
    """The path of ``NAME.metrics``; raises :class:`ConfigError` as :func:`control_socket` does."""
    return _socket(directory / f"{name}{METRICS_SUFFIX}")


def _socket(path: Path) -> Path:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise _refusal(path, f"too long (expected at most {MAX_SOCKET_PATH_BYTES} bytes)")
    return path


def control_sockets(directory: Path) -> list[Path]:
    """Every ``NAME.ctl`` socket in the directory, sorted; none when there is no directory."""
    try:
        check_dir(directory)
    except FileNotFoundError:
        return []
    return sorted(path for path in directory.glob(f"*{CONTROL_SUFFIX}") if path.is_socket())


def _refusal(path: Path, problem: str) -> ConfigError:
    return ConfigError(str(path), None, None, problem)


def _no_directory(path: Path, error: OSError) -> ConfigError:
    return _refusal(path, f"{error.strerror} (expected a directory of your own)")
