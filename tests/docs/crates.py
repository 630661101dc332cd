"""The table of the accelerator's crates in ``docs/licences.md``, from ``cargo metadata``.

``python -m tests.docs.crates`` writes it; a test compares where there is a cargo.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/licences.md"
BEGIN, END = "<!-- crates -->\n", "<!-- end of crates -->\n"
OURS = "chancel-accel"

SHIPPED, BUILDING = "in the module", "while building"


def metadata(cargo: str) -> dict[str, Any] | None:
    """What cargo knows; ``None`` where it hasn't fetched the crates."""
    command = [cargo, "metadata", "--format-version=1", "--locked", "--offline"]
    done = subprocess.run(command, cwd=ROOT / "accel", capture_output=True, check=False)
    return None if done.returncode else dict(json.loads(done.stdout))


def table(known: dict[str, Any]) -> str:
    """Each crate, its licence, and whether it becomes a part of what is installed."""
    packages = {each["id"]: each for each in known["packages"]}
    shipped = _shipped(known, packages)
    rows = [
        f"| {each['name']} | {each['license']} | {SHIPPED if number in shipped else BUILDING} |"
        for number, each in sorted(packages.items(), key=lambda item: str(item[1]["name"]))
        if each["name"] != OURS
    ]
    return "\n".join(["| crate | licence | |", "|---|---|---|", *rows]) + "\n"


def _shipped(known: dict[str, Any], packages: dict[str, Any]) -> set[str]:
    """What is linked into the module: neither build scripts' needs nor macros, nor theirs."""
    nodes = {each["id"]: each for each in known["resolve"]["nodes"]}
    (todo,) = [[number] for number, each in packages.items() if each["name"] == OURS]
    found: set[str] = set()
    while todo:
        number = todo.pop()
        kinds = {kind for target in packages[number]["targets"] for kind in target["kind"]}
        if number in found or "proc-macro" in kinds:
            continue
        found.add(number)
        for needed in nodes[number]["deps"]:
            if any(kind["kind"] is None and not kind["target"] for kind in needed["dep_kinds"]):
                todo.append(needed["pkg"])
    return found


def told(page: str) -> str:
    """The table on the page."""
    return page.split(BEGIN)[1].split(END, maxsplit=1)[0]


def names(page: str) -> set[str]:
    """The crates on the page."""
    return set(re.findall(r"^\| ([\w-]+) \| ", told(page), re.MULTILINE)) - {"crate"}


if __name__ == "__main__":
    text, found = PAGE.read_text(), metadata("cargo")
    if found is None:
        raise SystemExit("cargo hasn't fetched the crates: make accel")
    PAGE.write_text(text.replace(told(text), table(found)))
