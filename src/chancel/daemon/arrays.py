"""numpy, loaded where it is needed: by the twins in Python. Beside compiled ones nobody uses it.

It is 10 MB of what a group weighs (``docs/decisions/023-weight.md``). So importing it loads nothing
until something of it is used. Nothing can be imported any more once a process is closed in: where
Python's twins run, it is loaded before the fork.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

_NAME = "numpy"


class _Postponed(ModuleType):
    """A module that isn't loaded. The standard library's (``importlib.util.LazyLoader``) would
    be, as soon as a second ``import`` looks at it."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        assert spec is not None, "it was found"
        assert spec.loader is not None, "it is no mere folder"
        self.__path__ = spec.submodule_search_locations or []
        object.__setattr__(self, "__class__", ModuleType)
        spec.loader.exec_module(self)
        return getattr(self, name)


def postpone() -> None:
    """Let ``import numpy`` load nothing yet. To be called before anybody imports it."""
    spec = None if _NAME in sys.modules else importlib.util.find_spec(_NAME)
    if spec is None:
        return  # whoever imports it has it, or learns that it is missing
    module = sys.modules[_NAME] = importlib.util.module_from_spec(spec)
    del module.__path__  # so that looking for its parts is a use
    module.__class__ = _Postponed


def load() -> None:
    """Load it now. It gets no threads: we never use them."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    importlib.import_module("numpy").ndarray  # noqa: B018 - a use


def are_loaded() -> bool:
    """Whether arrays can be made in this process, however closed in it is."""
    return type(sys.modules.get(_NAME)) is ModuleType
