"""A cathedral's settings file gives settings that can be used, and problems of one line each.

Cathedral section 3.3. Whatever text it is, nothing raises; and a file without a problem says the
same when what it says is written down again.
"""

from __future__ import annotations

from collections.abc import Iterator

from chancel.protocol.cathedral.permits import Permits
from chancel.protocol.cathedral.settings import MAX_FEDERATION, Settings
from chancel.protocol.cathedral.settings_text import BundleFile, parse

_MOST_CHARS = 800


def check(data: bytes) -> None:
    draft = parse(data.decode(errors="surrogateescape"), "settings")
    for problem in draft.problems:
        said = str(problem)
        assert said.startswith("settings:")
        assert "(expected" in said
        assert said.isprintable(), said
        assert len(said) <= _MOST_CHARS
    assert len(draft.federation) <= MAX_FEDERATION
    files: list[BundleFile] = []
    settings = draft.settings(files.append)
    permits = Permits()
    permits.adopt(settings)
    for flocks, identity in permits.clients():
        permits.require_client(flocks.own, identity)
        permits.require_together(flocks)
    if not draft.problems:
        again = parse(_written(settings, files), "again")
        assert again.problems == ()
        assert again.settings(lambda _: None) == settings


def _written(settings: Settings, files: list[BundleFile]) -> str:
    paths = {file.flocks: file.path for file in files}
    lines = [f"federate {each.host} {each.port}" for each in reversed(settings.federation)]
    for flock in settings.flocks.values():
        lines.append(f"flock {flock.id:x} {{")
        lines += [f"allow {who:x} spi {device:x} {mbit}" for who, device, mbit in flock.allows]
        if (flock.id, flock.id) in paths:
            lines.append(f"ambry {paths[flock.id, flock.id]}")
        lines.append("}")
    lines += [f"xflock {one:x} {other:x} {paths[one, other]}" for one, other in settings.xflocks]
    return "\n".join(lines)


def seeds() -> Iterator[bytes]:
    yield b"federate 192.0.2.1 5\nflock cafe00 {\n allow 1 spi 1 8\n ambry /x\n}\n"
    yield b"flock a00 {\n}\nflock b00 {\n}\nxflock a00 b00 /x y\n"
    yield b"flock a00 {\nflock b00 {\nallow 1 spi 1 8\n}\n}\n}\n# \xff\nallow\n"
    yield b"flock ff {\nallow 0 spi 0 x\n\tambry\n"
