"""The public surface is the one that is written down, complete in its types, and nothing else."""

from __future__ import annotations

import ast
import difflib
import fnmatch
import importlib
import itertools
import re

import pytest

from tests.docs import declarations, surface
from tests.docs.declarations import Incomplete


def test_the_surface_is_the_one_in_the_file() -> None:
    was, now = surface.PAGE.read_text().splitlines(), surface.render().splitlines()
    changes = "\n".join(difflib.unified_diff(was, now, "written", "found", n=1, lineterm=""))
    assert changes == "", (
        "a public name has changed. If that is meant: python -m tests.docs.surface, look at the"
        " difference, and name it in CHANGELOG.md, apart if programs have to change for it"
    )


def test_each_module_is_either_public_or_not() -> None:
    modules = surface.library_modules()
    internal = {each: fnmatch.filter(modules, each) for each in surface.INTERNAL}
    assert [pattern for pattern, found in internal.items() if not found] == [], "they are gone"
    named = [*surface.PUBLIC, *itertools.chain(*internal.values())]
    assert [name for name in named if named.count(name) > 1] == []
    assert sorted(modules - set(named)) == [], "name them in tests/docs/surface.py"


@pytest.mark.parametrize("module", surface.PUBLIC)
def test_each_public_module_says_what_it_is_for(module: str) -> None:
    assert declarations.module_doc(module)
    undocumented = [
        name.name
        for name in declarations.names(module)
        if name.text.startswith(("class", "async")) and not name.doc
    ]
    assert undocumented == []


def test_no_signature_names_a_class_that_is_not_public() -> None:
    every = [importlib.import_module(name) for name in (*surface.PUBLIC, *surface.PASSED_ON)]
    known = {name.name for module in surface.PUBLIC for name in declarations.names(module)}
    known.update(itertools.chain(*surface.PASSED_ON.values()))
    named = {
        word
        for module in surface.PUBLIC
        for name in declarations.names(module)
        for declared in (name, *name.members)
        if not declared.text.startswith("class ") and " = '" not in declared.text
        for word in re.findall(r"\b[A-Z]\w*[a-z]\w*", declared.text)
    }
    found = {
        word: {getattr(module, word).__module__ for module in every if hasattr(module, word)}
        for word in named
    }
    ours = {
        word
        for word, homes in found.items()
        if homes and all(home.startswith(("chancel.", "libkyrka")) for home in homes)
    }
    assert "Tunnel" in ours
    assert sorted(ours - known) == []


def test_what_is_passed_on_is_there() -> None:
    for module, named in surface.PASSED_ON.items():
        assert [name for name in named if not hasattr(importlib.import_module(module), name)] == []


@pytest.mark.parametrize(
    "signature",
    [
        "name() -> None",
        "name(one: int, /, two: int = 2) -> int",
        "name(*rest: bytes, key: str = 'a', other: str) -> str",
        "name(one: int, *, key: int | None = None, **more: int) -> None",
        "async name(one: list[int]) -> None",
    ],
)
def test_a_signature_is_given_as_it_was_written(signature: str) -> None:
    assert declarations.function(_parsed(signature)) == signature
    method = signature.replace("(", "(self, ", 1).replace("self, )", "self)")
    assert declarations.function(_parsed(method), method=True) == signature


@pytest.mark.parametrize("signature", ["name(one) -> None", "name()", "name(*rest) -> None"])
def test_what_has_no_type_is_refused(signature: str) -> None:
    with pytest.raises(Incomplete):
        declarations.function(_parsed(signature))


def _parsed(signature: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    (node,) = ast.parse(f"{signature.replace('name', 'def name', 1)}: ...").body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return node
