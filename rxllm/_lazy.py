"""Load the public names of a package when they are first used (PEP 562)."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module


def lazy_names(package: str, names: Sequence[str], modules: Sequence[str]) -> Callable[[str], object]:
    """Return a `__getattr__` for `package`.

    A name in `names` is loaded from the first of `modules` that holds it, cheap modules first; a
    name of a public module in `modules` is that module.
    """

    def load(name: str) -> object:
        """Import and return the module or the object called `name`; raises `AttributeError` if there is none."""
        if name in modules:
            return import_module(f"{package}.{name}")
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        for module in modules:
            found = vars(import_module(f"{package}.{module}"))
            if name in found:
                setattr(sys.modules[package], name, found[name])
                return found[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
