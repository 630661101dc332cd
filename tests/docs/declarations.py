"""Reading declarations: a module's public names as they are written, with types and docstrings.

What a class takes from its bases is listed with the class, so that one entry says all one can do
with an object. A type that a reader would have to guess is an error (:class:`Incomplete`).
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
from collections.abc import Iterator

_OURS = ("chancel.", "libkyrka")
_SPOKEN = (
    *("__aenter__", "__aexit__", "__aiter__", "__bool__", "__call__", "__enter__", "__exit__"),
    *("__iter__", "__len__", "__next__", "__str__"),
)
"""Methods that a program calls by syntax."""


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """One name: ``text`` is its declaration on one line, ``doc`` its docstring."""

    name: str
    text: str
    doc: str
    members: tuple[Name, ...] = ()
    owner: str = ""
    """Of a member: the class that defines it."""


class Incomplete(Exception):
    """A type that a reader, and a type checker, would have to guess."""


@functools.cache
def names(module: str) -> tuple[Name, ...]:
    """The public names of a module, in the order in which they are written."""
    exported = getattr(importlib.import_module(module), "__all__", None)
    if exported is not None:
        return tuple(_find(module, name) for name in exported)
    return tuple(_declared(module))


def module_doc(module: str) -> str:
    """The docstring of a module."""
    return inspect.getdoc(importlib.import_module(module)) or ""


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def _find(module: str, name: str) -> Name:
    """An exported name, wherever it is defined."""
    for statement in _tree(module).body:
        if isinstance(statement, ast.ImportFrom) and statement.module is not None:
            for alias in statement.names:
                if alias.name == "*" and hasattr(importlib.import_module(statement.module), name):
                    return _find(statement.module, name)
                if (alias.asname or alias.name) == name:
                    return _find(statement.module, alias.name)
    for declared in _declared(module):
        if declared.name == name:
            return declared
    raise Incomplete(f"{module}.{name} is exported, and not to be found in the source")


def _declared(module: str) -> Iterator[Name]:
    body = _tree(module).body
    for statement, doc in _documented(body):
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if _public(name):
                yield Name(name, function(statement), ast.get_docstring(statement) or "")
            case ast.ClassDef(name=name) if _public(name):
                yield _class(module, statement)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ) if _public(name) and not _is_private_matter(value):
                yield Name(name, _constant(module, name, statement), doc)
            case _:
                pass


def _public(name: str) -> bool:
    return not name.startswith("_")


def _is_private_matter(value: ast.expr | None) -> bool:
    """A module's logger or type variable."""
    return isinstance(value, ast.Call) and ast.unparse(value.func) in (
        "TypeVar",
        "logging.getLogger",
    )


def _documented(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with the string that stands below it."""
    for statement, below in zip(body, [*body[1:], None], strict=True):
        match below:
            case ast.Expr(value=ast.Constant(value=str(doc))):
                yield statement, inspect.cleandoc(doc)
            case _:
                yield statement, ""


def _constant(module: str, name: str, statement: ast.stmt) -> str:
    assert isinstance(statement, ast.Assign | ast.AnnAssign)
    if isinstance(statement, ast.AnnAssign):
        annotation = ast.unparse(statement.annotation)
        if annotation != "Final":
            return f"{name}: {annotation.removeprefix('Final[').removesuffix(']')}"
    assert statement.value is not None
    if isinstance(statement.value, ast.Call | ast.Set | ast.Dict | ast.ListComp):
        value = getattr(importlib.import_module(module), name)
        return f"{name}: {type(value).__name__}" if value is not None else f"{name}: None"
    return f"{name} = {_as_written(module, statement.value)}"


def _as_written(module: str, value: ast.expr) -> str:
    """An expression in its author's words: a hexadecimal number stays one."""
    source = inspect.getsource(importlib.import_module(module))
    return " ".join((ast.get_source_segment(source, value) or "").split())


def function(node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool = False) -> str:
    """A declaration without the first argument of a method."""
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    skipped = 1 if method and "staticmethod" not in decorators else 0
    given = node.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    bare = [each.arg for each in every[skipped:] if each is not None and each.annotation is None]
    if bare or (node.returns is None and node.name != "__init__"):
        raise Incomplete(f"{node.name}() has no types for {bare or 'what it returns'}")
    returns = "None" if node.returns is None else ast.unparse(node.returns)
    if "property" in decorators:
        return f"{node.name}: {returns}"
    words = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    for kind in ("classmethod", "staticmethod"):
        words += f"{kind} " if kind in decorators else ""
    return f"{words}{node.name}({', '.join(_arguments(given, skipped))}) -> {returns}"


def _arguments(arguments: ast.arguments, skipped: int) -> list[str]:
    """Each argument, and the marks between them, with spaces around the defaults."""
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [*[None] * without, *arguments.defaults]
    words = [_argument(each, default) for each, default in zip(positional, defaults, strict=True)]
    words = words[skipped:]
    if len(arguments.posonlyargs) > skipped:
        words.insert(len(arguments.posonlyargs) - skipped, "/")
    if arguments.vararg is not None:
        words.append(f"*{_argument(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        words.append("*")
    words += map(_argument, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg is not None:
        words.append(f"**{_argument(arguments.kwarg, None)}")
    return words


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")


def _class(module: str, node: ast.ClassDef) -> Name:
    cls = getattr(importlib.import_module(module), node.name)
    sources = [
        (base.__module__, _class_node(base.__module__, base.__qualname__))
        for base in cls.__mro__
        if base.__module__.startswith(_OURS)
    ]
    members: dict[str, Name] = {}
    for source, each in sources:
        for member in _members(source, each):
            members.setdefault(member.name, member)
    constructor = members.pop("__init__", None)
    made_by = []
    if dataclasses.is_dataclass(cls) or issubclass(cls, tuple):
        fields = [field.text for _, each in reversed(sources) for field in _fields(each, True)]
        made_by = [f"{node.name}({', '.join(fields)})"]
    elif constructor is not None:
        made_by = [constructor.text.replace("__init__", node.name, 1).removesuffix(" -> None")]
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    return Name(
        node.name,
        f"class {node.name}({bases})" if bases else f"class {node.name}",
        ast.get_docstring(node) or "",
        (*(Name(node.name, text, "", (), node.name) for text in made_by), *members.values()),
    )


@functools.cache
def _class_node(module: str, qualname: str) -> ast.ClassDef:
    body: list[ast.stmt] = _tree(module).body
    for part in qualname.split("."):
        node = next(each for each in body if isinstance(each, ast.ClassDef) and each.name == part)
        body = node.body
    return node


def _members(module: str, node: ast.ClassDef) -> Iterator[Name]:
    is_enum = any(ast.unparse(base).rpartition(".")[2] in _ENUMS for base in node.bases)
    for statement, doc in _documented(node.body):
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if (
                _public(name) or name in _SPOKEN or name == "__init__"
            ):
                if not _is_setter(statement):
                    own = ast.get_docstring(statement) or ""
                    yield Name(name, _method(module, node, statement), own, (), node.name)
                if name == "__init__":
                    yield from _attributes(module, node, statement)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _public(name):
                if is_enum or isinstance(value, ast.Constant):
                    yield Name(name, f"{name} = {ast.unparse(value)}", doc, (), node.name)
                else:
                    raise Incomplete(f"{module}.{node.name}.{name} has no type: annotate it")
            case _:
                pass
    yield from _fields(node)


_ENUMS = ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")


def _is_setter(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(each).endswith(".setter") for each in node.decorator_list)


def _method(module: str, owner: ast.ClassDef, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    try:
        return function(node, method=True)
    except Incomplete as problem:
        raise Incomplete(f"{module}.{owner.name}.{problem}") from None


def _fields(node: ast.ClassDef, defaults: bool = False) -> Iterator[Name]:
    """What is declared in the class's body: fields, and attributes that each object has."""
    for statement, doc in _documented(node.body):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                if _public(name):
                    default = f" = {ast.unparse(value)}" if defaults and value is not None else ""
                    yield Name(
                        name, f"{name}: {ast.unparse(annotation)}{default}", doc, (), node.name
                    )
            case _:
                pass


def _attributes(
    module: str, owner: ast.ClassDef, init: ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[Name]:
    """What ``__init__`` gives an object beside what is private."""
    given = {each.arg: each.annotation for each in (*init.args.args, *init.args.kwonlyargs)}
    for statement, doc in _documented(init.body):
        match statement:
            case ast.AnnAssign(
                target=ast.Attribute(value=ast.Name(id="self"), attr=name), annotation=annotation
            ) if _public(name):
                yield Name(name, f"{name}: {ast.unparse(annotation)}", doc, (), owner.name)
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)], value=value
            ) if _public(name):
                kind = _evident_type(value, given)
                if kind is None:
                    raise Incomplete(f"{module}.{owner.name}.{name} has no type: annotate it")
                yield Name(name, f"{name}: {kind}", doc, (), owner.name)
            case _:
                pass


def _evident_type(value: ast.expr, given: dict[str, ast.expr | None]) -> str | None:
    """The type of what is assigned, where a reader sees it at once."""
    match value:
        case ast.Constant(value=constant) if constant is not None:
            return type(constant).__name__
        case ast.Name(id=name) if (annotation := given.get(name)) is not None:
            return ast.unparse(annotation)
        case ast.Call(func=ast.Name(id=name)) if name[0].isupper():
            return name
        case ast.Call(func=ast.Subscript(value=ast.Name(id=name)) as generic) if name[0].isupper():
            return ast.unparse(generic)
        case _:
            return None
