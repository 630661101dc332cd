"""``chancel ambry``: keys of devices and bundles of wrapped secrets, as the reference's tool."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import hexdigits
from types import FrameType
from typing import Annotated, NoReturn

import typer

from chancel.cli.ambry_view import Inspection, beware, date, rolled_lines, rolled_object
from chancel.cli.progress import Bar
from chancel.crypto.kdf import without_domains
from chancel.crypto.system import SystemSuite
from chancel.errors import VaultError
from chancel.tools.ambry import keys
from chancel.tools.ambry.bundle import Ends, load_ends, make, new_header
from chancel.tools.ambry.check import check, refused
from chancel.tools.ambry.files import staged
from chancel.tools.ambry.folder import Folder, device_name, flock_name, held
from chancel.tools.ambry.reading import Bundle, read
from chancel.tools.ambry.roll import Plan, require_sound
from chancel.tools.ambry.roll import roll as roll_keys
from chancel.wire.ambry import DEVICES, MAX_DAYS, Header
from chancel.wire.types import FlockId, Flocks

DEFAULT_DAYS = 30
HERE = Path()

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


Flock = Annotated[str, typer.Argument(metavar="FLOCK", help="Hex; its domain is ignored.")]
Source = Annotated[str, typer.Argument(metavar="SRC", help="The flock whose keys are here; hex.")]
Destination = Annotated[str, typer.Argument(metavar="DST", help="The same flock, or another.")]
Keys = Annotated[
    Path, typer.Option("--keys", metavar="DIR", help="Where the folders of the flocks are.")
]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def generate(flock: Flock) -> None:
    """Make a KEK for every device of a flock, in a new folder here.

    \b
    FLOCK/kek-data/        the KEKs of devices: each device gets its own, and no other
    FLOCK/internal/        what bundles of this flock are made with: keep them
    FLOCK/external/OTHER/  made by export, for bundles with another flock

    \b
    Example:
      chancel ambry generate cafeba00
    """
    folder = Folder(HERE, _flock(flock, "FLOCK"))
    with _at_work() as bar:
        keys.generate(folder, SystemSuite(), bar)
    typer.echo(f"generating device KEKs under {flock_name(folder.flock)} ... done")
    typer.echo("deriving internal flock KEKs ... done")


def bundle(
    source: Source,
    destination: Destination,
    days_and_outfile: Annotated[
        list[str],
        typer.Argument(
            metavar="[DAYS] OUTFILE",
            help=f"How long it is valid ({DEFAULT_DAYS} if left out), and the file to write.",
        ),
    ],
) -> None:
    """Make a bundle for cathedrals: a new secret for every tunnel, wrapped for both its ends.

    It lives DAYS days at most, and up to one day less. OUTFILE is replaced when the new one is
    complete. For two flocks, both have to be exported for each other.

    \b
    Example:
      chancel ambry bundle cafeba00 cafeba00 30 home.ambry
    """
    days, place = _days_and_outfile(days_and_outfile)
    flocks = _flocks(source, destination)
    suite = SystemSuite()
    with _at_work() as bar, held(HERE, flocks, to_change=False):
        ends = load_ends(HERE, flocks, suite)
        header, before = new_header(suite, time.time(), days), _before(place)
        data = make(ends, header, suite, lambda *done: bar("wrapping secrets", *done))
        with staged(place, data, keep_mode=True) as file:
            file.replace()
    typer.echo(
        f"{place}: generated {ends.shape.pairs} tunnels, generation 0x{header.generation:x}",
        err=True,
    )
    for line in beware(header, before, time.time()):
        typer.echo(line, err=True)


def export(source: Source, destination: Destination) -> None:
    """Derive keys that the owner of another flock needs for bundles with this one.

    What is in SRC/external/DST may go to that owner; no KEK of a device follows from it.

    \b
    Example:
      chancel ambry export cafeba00 deadbe00
    """
    flocks = _flocks(source, destination)
    with _at_work() as bar:
        keys.export(Folder(HERE, flocks.own), flocks.peer, SystemSuite(), bar)
    pair = f"{flock_name(flocks.own)}:{flock_name(flocks.peer)}"
    typer.echo(f"exporting KEKs for use in {pair} ... done")


def renew(
    flock: Flock,
    device: Annotated[str, typer.Argument(metavar="ID", help="The device: hex, 1 to ff.")],
) -> None:
    """Replace the KEK of a device that was lost, or whose KEK became known.

    The old one opens nothing of bundles that are made from now on: make one, and install it on
    every cathedral.

    \b
    Example:
      chancel ambry renew cafeba00 5
    """
    folder, number = Folder(HERE, _flock(flock, "FLOCK")), _device(device, "ID")
    with _at_work():
        keys.renew(folder, number, SystemSuite())
    for partner in folder.partners():
        typer.echo(
            f"{partner / device_name(number)} is still of the old key: move {partner} away, then"
            f" chancel ambry export {folder.flock:x} {partner.name}",
            err=True,
        )


def cosk_pair(
    private: Annotated[Path, typer.Argument(metavar="PRIV", help="For the device; new.")],
    public: Annotated[Path, typer.Argument(metavar="PUB", help="For the cathedral; new.")],
) -> None:
    """Make a key pair (Ed25519) that signs a device's offers to cathedrals.

    \b
    Example:
      chancel ambry cosk-pair device.cosk device.cosk.pub
    """
    with _at_work():
        keys.cosk_pair(private, public)


def inspect(
    file: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle to look at.")],
    keys_: Keys = HERE,
    since: Annotated[
        Path | None,
        typer.Option("--since", metavar="OLD", help="The bundle before: who was renewed since?"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a bundle: its flocks, generation and expiry, and who would be cut off by it.

    With the keys of its flock at hand, every entry is opened and both ends of every tunnel are
    compared. A device is cut off if its present KEK opens none. Exit status 1 if the bundle is
    expired, damaged or made with other keys.

    \b
    Example:
      chancel ambry inspect new.ambry --since installed.ambry
    """
    suite, looked = SystemSuite(), read(file)
    with _at_work() as bar:
        ends = _known(keys_, looked.flocks, suite)
        findings = renewed = before = None
        if ends is not None:
            findings = check(looked, ends, suite, lambda *done: bar("opening entries", *done))
            if since is not None:
                old = _same_flocks(since, looked, file)
                before, late = old.header, refused(old, ends, suite)
                renewed = sorted(set(late) & set(findings.opens))
        elif since is not None:
            raise VaultError(f"--since: {keys_}: no keys of these flocks here: name their folder")
    shown = Inspection(file, looked, time.time(), findings, renewed, before)
    if as_json:
        typer.echo(json.dumps(shown.as_object(), indent=2))
    else:
        typer.echo("\n".join(shown.lines()))
    if findings is not None:
        require_sound(str(file), findings)
    if shown.expired:
        raise VaultError(
            f"{file}: expired {date(looked.header)}: devices refuse it, make a new one"
        )


def roll(
    source: Source,
    destination: Destination,
    outfile: Annotated[Path, typer.Argument(metavar="OUTFILE", help="Where it is installed.")],
    days: Annotated[
        int, typer.Option(min=1, max=MAX_DAYS, metavar="N", help="How long it is valid.")
    ] = DEFAULT_DAYS,
    renew_: Annotated[
        list[str] | None,
        typer.Option("--renew", metavar="ID", help="Renew this device (hex, 1 to ff); repeat."),
    ] = None,
    when_left: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Only with fewer days left, or a device renewed since."
        ),
    ] = None,
    touch: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Settings of a cathedral, to be read again; repeat."),
    ] = None,
    keys_: Keys = HERE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make and check everything, write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Roll the keys: renew, make a bundle, open it again as every device, and install it.

    It is installed whole, by a rename, or not at all. A timer may do it: docs/ambry.md.

    \b
    Example:
      chancel ambry roll cafeba00 cafeba00 /var/lib/chancel/ambry/home.ambry --renew 5
    """
    plan = Plan(
        root=keys_,
        flocks=_flocks(source, destination),
        place=outfile,
        days=days,
        renew=[_device(each, "--renew") for each in renew_ or ()],
        when_left=when_left,
        touch=touch or (),
        dry_run=dry_run,
    )
    now = time.time()
    with _at_work() as bar:
        rolled = roll_keys(plan, SystemSuite(), now, bar)
    if as_json:
        typer.echo(json.dumps(rolled_object(plan, rolled, now), indent=2))
    else:
        typer.echo("\n".join(rolled_lines(plan, rolled, now)))


def _flocks(source: str, destination: str) -> Flocks:
    return Flocks(_flock(source, "SRC"), _flock(destination, "DST"))


def _flock(text: str, name: str) -> FlockId:
    value = _hex(text, range(1 << 64))
    if value is None:
        raise typer.BadParameter(f"{text!r}, and a flock has up to 16 hex digits", param_hint=name)
    return without_domains(Flocks(FlockId(value), FlockId(0))).own


def _device(text: str, name: str) -> int:
    value = _hex(text, DEVICES)
    if value is None:
        raise typer.BadParameter(f"{text!r}, and a device is 1 to ff, in hex", param_hint=name)
    return value


def _hex(text: str, allowed: range) -> int | None:
    digits = text.lower().removeprefix("0x")
    if not 0 < len(digits) <= 16 or not set(digits) <= set(hexdigits):
        return None
    value = int(digits, 16)
    return value if value in allowed else None


def _days_and_outfile(words: list[str]) -> tuple[int, Path]:
    if len(words) > 2:
        raise typer.BadParameter(f"expected [DAYS] OUTFILE, not {' '.join(words)!r}")
    if len(words) == 1:
        return DEFAULT_DAYS, Path(words[0])
    if not (words[0].isascii() and words[0].isdigit()) or not 1 <= int(words[0]) <= MAX_DAYS:
        raise typer.BadParameter(f"DAYS is a number from 1 to {MAX_DAYS}, not {words[0]!r}")
    return int(words[0]), Path(words[1])


def _known(root: Path, flocks: Flocks, suite: SystemSuite) -> Ends | None:
    """The keys that are here for a bundle; ``None`` if there are none at all."""
    own, peer = flocks
    here = [
        keys.load_derived(folder, other, suite) if folder.derived(other).is_dir() else {}
        for folder, other in ((Folder(root, own), peer), (Folder(root, peer), own))
    ]
    return Ends(flocks, (here[0], here[1])) if any(here) else None


def _before(place: Path) -> Header | None:
    """Of the bundle that is to be replaced; whatever else is there counts for nothing."""
    try:
        return read(place).header
    except (OSError, VaultError):
        return None


def _same_flocks(path: Path, bundle: Bundle, name: Path) -> Bundle:
    other = read(path)
    if set(other.flocks) != set(bundle.flocks):
        raise VaultError(f"{path}: is a bundle of other flocks than {name}")
    return other


@contextmanager
def _at_work() -> Iterator[Bar]:
    """Show progress, and clean up when asked to end."""
    before = {each: signal.signal(each, _end) for each in _ENDING}
    try:
        with Bar() as bar:
            yield bar
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise typer.Abort
