"""Lazy faces: a package states what it offers and imports a file only when one of its names is used.

JAX takes half a second to import, and a command line that only prints its help must not pay for it.
"""

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def make_lazy(package: str, offers: Mapping[str, Iterable[str]]) -> None:
    """Let `package` import each name of `offers`, a table from submodule to public names, at its first use.

    Submodules are attributes too, as after an ordinary import. Where one is spelled like a name it offers,
    the attribute is the name: `hjb.solve` is the function, whoever imported `hjb/solve.py` before.
    """
    module = sys.modules[package]
    vars(module)["_offers"] = {name: home for home, names in offers.items() for name in names}
    vars(module)["_homes"] = frozenset(offers)
    module.__class__ = _LazyPackage


class _LazyPackage(ModuleType):
    _offers: dict[str, str]  # public name -> submodule
    _homes: frozenset[str]  # the submodules

    def __getattr__(self, name: str) -> Any:
        if name in self._offers:
            value = getattr(import_module(f"{self.__name__}.{self._offers[name]}"), name)
        elif name in self._homes:
            value = import_module(f"{self.__name__}.{name}")
        else:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # Importing a submodule binds it to its parent under its own name, over a public name spelled alike.
        if isinstance(value, ModuleType) and self._offers.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._offers, *self._homes})
