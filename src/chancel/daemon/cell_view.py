"""What a command in a cell sees of the machine's files: all of them, but no way around the tunnel.

Unix sockets with a path know no network namespaces. A name service cache, a bus or an init system
that answers on one would resolve names, or start programs, on the machine's own network for the
command. They live in ``/run`` and in the user's runtime directory, so both are empty in the cell,
apart from what is known to be harmless there. Hiding known sockets one by one was rejected: a
daemon that starts later would bring a new one.

``/etc`` has a ``resolv.conf`` and an ``nsswitch.conf`` of our own. They can't be mounted over the
machine's: whoever replaces those, as DHCP clients do whenever the machine moves, would uncover the
new ones. So all of ``/etc`` is a directory of ours whose other entries lead into the machine's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from chancel.daemon import linux, namespaces

ETC = Path("/etc")
RUN = Path("/run")

HIDDEN = (RUN, Path("/var/run"), Path("/var/lib/sss/pipes"))
"""Directories of sockets; those of the environment join them."""

KEPT = ("booted-system", "current-system", "opengl-driver", "opengl-driver-32", "lock")
"""What stays of ``/run``: programs (NixOS), and what has no sockets."""

KEPT_OF_USER = ("pipewire-*", "pulse", "wayland-*")
"""What stays of the user's runtime directory: screen and sound."""

BUSES = ("DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS")
"""Variables that hold addresses of D-Bus."""

INIT = "NOTIFY_SOCKET"
"""The variable that holds the path of a socket of the init system."""

UNSET = (*BUSES, INIT)
"""Variables that would name what the command must not reach."""

_MACHINES = ".machine"
"""Where the machine's own ``/etc`` is in ours."""

_STAGE = RUN / ".etc"
"""Where ours is built: ``/run`` is the command's own by then."""

_NSSWITCH = b"""\
# Made by chancel: no daemon of the machine answers for this command.
passwd:     files
group:      files
shadow:     files
gshadow:    files
hosts:      files dns
networks:   files
protocols:  files
services:   files
ethers:     files
rpc:        files
netgroup:   files
"""

_HEAD = "# Made by chancel."
_HEAD_WITHOUT = f"{_HEAD} No name server: chancel exec --dns ADDRESS names one behind the tunnel."

MAX_NAME_SERVERS = 3
"""What a resolver looks at (resolv.conf(5))."""


def build(name_servers: Sequence[str], environ: Mapping[str, str]) -> None:
    """Move into a mount namespace with that view, to which later mounts of the machine don't come.

    Raises OSError.
    """
    here = _directory()
    linux.unshare(namespaces.CLONE_NEWNS)
    linux.mount("none", Path("/"), "", linux.MS_REC | linux.MS_PRIVATE)
    _hide_sockets(environ)
    _replace_etc({"resolv.conf": _resolv_conf(name_servers), "nsswitch.conf": _NSSWITCH})
    with contextlib.suppress(OSError):
        os.chdir(here)  # by its name: where we stood may be hidden now
        return
    os.chdir("/")


def _directory() -> Path:
    """Where we are, by its name; ``/`` if that was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The command's environment."""
    return {name: value for name, value in environ.items() if name not in UNSET}


def _resolv_conf(name_servers: Sequence[str]) -> bytes:
    """Without a server resolvers ask 127.0.0.1, where nobody is in a cell: names fail at once."""
    lines = [f"nameserver {address}" for address in name_servers]
    return "\n".join([_HEAD if lines else _HEAD_WITHOUT, *lines, ""]).encode()


def _hide_sockets(environ: Mapping[str, str]) -> None:
    """Empty the directories of sockets, and put back what is kept of them."""
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}").resolve()
    had_runtime = runtime.is_dir()
    found = {path.resolve() for path in (*HIDDEN, runtime) if path.is_dir()}
    hidden = {path for path in found if not found & {*path.parents}}
    kept = [RUN / name for name in KEPT]
    kept += [path for pattern in KEPT_OF_USER for path in runtime.glob(pattern)]
    if environ.get("XAUTHORITY"):
        kept.append(Path(environ["XAUTHORITY"]))
    held = [*_held(kept, hidden)]
    covered = [path for path in _named_sockets(environ) if not _is_below(path, hidden)]
    for path in hidden:
        linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755")
    if had_runtime:
        runtime.mkdir(parents=True, exist_ok=True)
        runtime.chmod(0o700)
    for path, fd in held:
        _show(path, fd)
    for path in covered:
        linux.mount("/dev/null", path, "", linux.MS_BIND)


def _named_sockets(environ: Mapping[str, str]) -> list[Path]:
    """Sockets that the environment names, wherever they are."""
    paths = [path for name in BUSES for path in _bus_paths(environ.get(name, ""))]
    return [path for path in (*paths, Path(environ.get(INIT, ""))) if path.is_socket()]


def _bus_paths(addresses: str) -> Iterator[Path]:
    """The paths in a list of addresses, ``TRANSPORT:KEY=VALUE,...;...`` with bytes of values as
    ``%XX`` (D-Bus specification, "Server Addresses").

    What the specification would have refused is read as lenient programs do, and covered too.
    """
    for address in addresses.split(";"):
        for pair in address.partition(":")[2].split(","):
            key, _, value = pair.partition("=")
            if key == "path":
                yield Path(os.fsdecode(unquote_to_bytes(os.fsencode(value))))


def _held(paths: Iterable[Path], hidden: set[Path]) -> Iterator[tuple[Path, int]]:
    """Those that exist in a hidden directory, each with a descriptor that still leads there."""
    for path in paths:
        with contextlib.suppress(OSError):
            if _is_below(path, hidden):
                yield path, os.open(path, os.O_PATH | os.O_CLOEXEC)


def _is_below(path: Path, directories: set[Path]) -> bool:
    """Whether the name, wherever it may lead, is in one of the directories."""
    return not directories.isdisjoint((path.parent.resolve(), *path.parent.resolve().parents))


def _show(path: Path, fd: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        path.mkdir()
    else:
        path.touch()
    linux.mount(f"/proc/self/fd/{fd}", path, "", linux.MS_BIND | linux.MS_REC)
    os.close(fd)


def _replace_etc(files: Mapping[str, bytes]) -> None:
    """Put a directory in place of ``/etc`` that differs from it in these files only."""
    links = {entry.name: _target(entry) for entry in os.scandir(ETC) if entry.name not in files}
    flags = linux.MS_NOSUID | linux.MS_NODEV
    _STAGE.mkdir()
    linux.mount("tmpfs", _STAGE, "tmpfs", flags, "mode=0755,size=1m")
    (_STAGE / _MACHINES).mkdir()
    linux.mount(str(ETC), _STAGE / _MACHINES, "", linux.MS_BIND | linux.MS_REC)
    for name, target in links.items():
        (_STAGE / name).symlink_to(target)
    for name, content in files.items():
        (_STAGE / name).write_bytes(content)
        (_STAGE / name).chmod(0o644)
    linux.mount("none", _STAGE, "", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | flags)
    linux.mount(str(_STAGE), ETC, "", linux.MS_MOVE)
    _STAGE.rmdir()


def _target(entry: os.DirEntry[str]) -> str:
    """Links lead where they did, everything else into the machine's own directory."""
    return str(Path(entry).readlink()) if entry.is_symlink() else f"{_MACHINES}/{entry.name}"
