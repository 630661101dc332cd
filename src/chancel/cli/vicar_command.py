"""``chancel vicar``: encrypted bundles that configure a device, as the reference's tool."""

from __future__ import annotations

import getpass
import ipaddress
import json
import os
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from chancel.cli.progress import Bar
from chancel.crypto.vicar import MAX_PASSPHRASE_BYTES, ROUNDS, Progress, Vicar
from chancel.tools import vicar as tool
from chancel.wire.types import Address

VARIABLE = "VICAR_PASSPHRASE"
_WORDS = "TUNNEL FLOCK CID KEK-PATH CS-PATH COSK-PATH IP PORT OUT"


def vicar(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORD",
            help=f"{_WORDS}; or show FILE; or unpack FILE DIR.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts: with show.")] = False,
) -> None:
    """Make a file with all that a device needs to meet its cathedral, under a passphrase.

    TUNNEL, FLOCK and CID (the cathedral's name for us) are hexadecimal. The keys are those of the
    device (KEK), of the cathedral (CS) and the one that signs (COSK). The passphrase is asked for,
    or taken from VICAR_PASSPHRASE. OUT is new.

    \b
    show FILE          what stands in a file, but for the keys
    unpack FILE DIR    the keys as files of a new folder, and how to go on

    \b
    Examples:
      chancel vicar 0200 cafeba00 30b4c39 kek cs cosk 192.0.2.77 4500 phone.vicar
      chancel vicar show phone.vicar
      chancel vicar unpack phone.vicar keys
    """
    match words:
        case ["show", file]:
            _show(_read(Path(file)), as_json)
        case ["unpack", file, folder]:
            _unpack(_read(Path(file)), Path(folder))
        case [tunnel, flock, identity, kek, secret, cosk, host, port, out]:
            paths = {"kek": Path(kek), "cs": Path(secret), "cosk": Path(cosk)}
            content = tool.gather(
                _number(identity, "CID", 32),
                _number(flock, "FLOCK", 64),
                _number(tunnel, "TUNNEL", 16),
                _address(host, port),
                paths,
            )
            _write(content, paths, Path(out))
        case _:
            raise typer.BadParameter(f"it takes {_WORDS}, or show FILE, or unpack FILE DIR")


def _write(content: Vicar, paths: dict[str, Path], out: Path) -> None:
    with Bar() as bar:
        tool.write(content, _new_passphrase, out, _telling(bar))
    typer.echo("configuration written:")
    typer.echo("\n".join(_lines(content, paths)))


def _read(file: Path) -> Vicar:
    with Bar() as bar:
        return tool.read(file, _passphrase, _telling(bar))


def _telling(bar: Bar) -> Progress:
    return lambda done: bar("making the key", done, ROUNDS)


def _show(content: Vicar, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_fields(content)))
    else:
        typer.echo("\n".join(_lines(content)))


def _unpack(content: Vicar, folder: Path) -> None:
    tool.unpack(content, folder)
    at, device = folder.absolute(), content.tunnel >> 8
    typer.echo(f"{folder} holds kek, cs and cosk; then, for a tunnel with the device PEER:")
    typer.echo(
        f"  chancel hymn add {content.flock:x}-{device:02x}-PEER tunnel IP/LEN mtu 1422"
        f" local 0.0.0.0:0 kek {at}/kek cathedral {content.cathedral}"
        f" identity {content.identity:x}:{at}/cs cosk {at}/cosk"
    )


def _fields(content: Vicar) -> dict[str, Any]:
    return {
        "flock": f"{content.flock:016x}",
        "tunnel": f"0x{content.tunnel:04x}",
        "identity": f"{content.identity:08x}",
        "cathedral": str(content.cathedral),
    }


def _lines(content: Vicar, paths: dict[str, Path] | None = None) -> list[str]:
    """As the reference prints it; without paths of keys when the file was read."""
    fields = _fields(content)
    cathedral = fields.pop("cathedral")
    fields |= {f"{name}-path": str(path) for name, path in (paths or {}).items()}
    fields["cathedral"] = cathedral
    return [f"   {name:<11} {value}" for name, value in fields.items()]


def _passphrase(*, twice: bool = False) -> bytes:
    """From the environment, which the processes we start don't see, or from the terminal."""
    given = os.environ.pop(VARIABLE, None)
    if given is not None:
        typer.echo(f"using {VARIABLE}", err=True)
    else:
        given = _typed("passphrase: ")
        if twice and _typed("once more: ") != given:
            raise typer.BadParameter("the two passphrases differ")
    passphrase = os.fsencode(given)
    if not 0 < len(passphrase) <= MAX_PASSPHRASE_BYTES:
        raise typer.BadParameter(f"a passphrase has 1 to {MAX_PASSPHRASE_BYTES} bytes")
    return passphrase


def _new_passphrase() -> bytes:
    return _passphrase(twice=True)


def _typed(prompt: str) -> str:
    """What is typed on the terminal, which doesn't show it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except getpass.GetPassWarning:
            raise typer.BadParameter(
                f"there is no terminal to ask for the passphrase: give it in {VARIABLE}"
            ) from None


def _number(text: str, name: str, bits: int) -> int:
    """Hexadecimal digits, with 0x or without."""
    try:
        number = int(text, 16)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << bits:
        raise typer.BadParameter(f"{name} '{text}' is not a hexadecimal number of {bits} bits")
    return number


def _address(host: str, port: str) -> Address:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        raise typer.BadParameter(f"IP '{host}' is not an IPv4 address") from None
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise typer.BadParameter(f"PORT '{port}' is not a number from 1 to 65535")
    return Address(host, int(port))
