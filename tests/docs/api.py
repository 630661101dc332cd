"""The API reference ``docs/api.md``, made from declarations and docstrings.

``python -m tests.docs.api`` writes it; a test compares.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.declarations import Name, module_doc, names
from tests.docs.surface import PUBLIC

PAGE = Path(__file__).parents[2] / "docs/api.md"

HEAD = """\
# API reference

Made from the source by `python -m tests.docs.api`. [The tutorial](library.md) is the place to
start, [links](links.md) helps to choose a transport, [libkyrka](libkyrka.md) is for programs that
used the C library's module. Sizes are in bytes, times in seconds. Names that don't stand here may
change at any time; those that do are in [surface.txt](surface.txt), where no change goes unnoticed.
"""

MAX_WIDTH = 96
"""Of a declaration on one line."""

_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_LITERAL = re.compile(r"``([^`]+)``")


def render() -> str:
    """The whole page."""
    contents = "\n".join(f"* [{module}](#{module.replace('.', '')})" for module in PUBLIC)
    parts = [HEAD, contents, *(part for module in PUBLIC for part in _module(module))]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _module(module: str) -> Iterator[str]:
    yield f"## {module}"
    yield _prose(module_doc(module))
    values = [name for name in names(module) if not name.members and " = " in _head(name)]
    for name in names(module):
        if name not in values:
            yield from _entry(name)
    if values:
        yield _table("value", values)


def _head(name: Name) -> str:
    """A declaration up to its arguments: that of a value has none."""
    return name.text.partition("(")[0]


def _entry(name: Name) -> Iterator[str]:
    yield f"### {name.name}"
    made_by = [member.text for member in name.members if member.name == name.name]
    yield _fenced(_wrapped((made_by or [name.text])[0]))
    yield _prose(name.doc)
    members = [each for each in name.members if each.name != name.name]
    spoken = [each for each in members if not each.name.startswith("__")]
    own = [each for each in spoken if each.owner == name.name]
    told = [each for each in own if each.doc or each.text not in "".join(made_by)]
    taken = [each for each in spoken if each.owner != name.name]
    if told:
        yield _table("member", told)
    if taken:
        yield "Also " + ", ".join(f"`{each.name}`" for each in taken) + ", as in its bases."


def _table(title: str, rows: list[Name]) -> str:
    lines = [f"| {title} | |", "|---|---|"]
    lines += [f"| `{_cell(row.text)}` | {_cell(_marked(row.doc))} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _wrapped(declaration: str) -> str:
    """With each argument on a line of its own, if it is long."""
    if len(declaration) <= MAX_WIDTH:
        return declaration
    head, _, rest = declaration.partition("(")
    inside, close, returns = rest.rpartition(")")
    return "\n".join(
        (f"{head}(", *(f"    {each}," for each in _arguments(inside)), close + returns)
    )


def _arguments(inside: str) -> list[str]:
    """The arguments of a declaration: commas in brackets divide nothing."""
    found, depth = [""], 0
    for letter in inside:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [each.strip() for each in found]


def _prose(doc: str) -> str:
    """A docstring in Markdown: tables and code stay as they are."""
    parts = []
    code_follows = False
    for part in doc.split("\n\n"):
        if part.startswith("==="):
            parts.append(_fenced(part, "text"))
            continue
        if code_follows and part.startswith("    "):
            parts.append(_fenced(inspect.cleandoc(part)))
            continue
        code_follows = part.endswith("::")
        text = part.removesuffix("::") + (":" if code_follows and part != "::" else "")
        parts.append(_marked(text))
    return "\n\n".join(part for part in parts if part)


def _fenced(text: str, language: str = "py") -> str:
    return f"```{language}\n{text}\n```"


def _marked(text: str) -> str:
    return _LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", text))


if __name__ == "__main__":
    PAGE.write_text(render())
