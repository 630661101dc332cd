"""Where the bench runs, and with which versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

from benchmarks.vpns import REFERENCE, WIREGUARD
from chancel.daemon.hot import twins

PATHS = {
    "SANCTUM": "sanctum",
    "WIREGUARD_GO": "wireguard-go",
    "KYRKA": "libkyrka",
    "AMBRY": "ambry",
}
"""Variables that name a peer, and what stands for its place in what others read."""


def describe() -> dict[str, str]:
    """What kind of thing → what it is."""
    return dict(_described())


def _described() -> Iterator[tuple[str, str]]:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield "machine", f"{_processor()}, {cores} cores, {memory:.0f} GB, {platform.machine()}"
    python = f"Python {platform.python_version()} ({_origin()})"
    yield "system", f"{platform.system()} {platform.release()}, {python}"
    yield "chancel", _version("chancel")
    yield "chancel-accel", getattr(twins.module(), "__version__", "not installed")
    for name in ("cryptography", "numpy"):
        yield name, _version(name)
    yield "OpenSSL", backend.openssl_version_text()
    if path := os.environ.get("SANCTUM"):
        yield REFERENCE, _first_line([path, "-v"])
    if path := os.environ.get("WIREGUARD_GO"):
        yield WIREGUARD, _first_line([path, "--version"])
    load = os.getloadavg()[0]
    yield "load before it began", f"{load:.2f}"


def command(arguments: Sequence[str]) -> str:
    """The line that does this again, with the peers' places left to the reader."""
    named = [f"{name}=/path/to/{what}" for name, what in PATHS.items() if os.environ.get(name)]
    words = [f"ARGS={shlex.quote(' '.join(arguments))}"] if arguments else []
    return " ".join(["make bench", *named, *words])


def _origin() -> str:
    """Whose build the interpreter is: those of systems were optimised with profiles, which is worth
    a tenth to a third."""
    return "the system's" if sys.base_prefix == "/usr" else "another build"


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    hypervisor = ", virtual" if re.search(r"^flags.*\bhypervisor\b", _cpuinfo(), re.M) else ""
    return (found[1].strip() if found else "unknown processor") + hypervisor


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _first_line(command: Sequence[str]) -> str:
    done = subprocess.run(  # noqa: S603 - the peer that the caller named
        command, capture_output=True, text=True, check=False, timeout=10
    )
    return (done.stdout or done.stderr).strip().partition("\n")[0]
