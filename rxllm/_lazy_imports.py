"""Load what is not always needed: public names when they are first used (PEP 562), and packages of extras."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any


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


def needed(module: str, use: str, install: str) -> Any:
    """Import and return a module of another package, or raise `MissingPackageError` saying how to get it.

    Args:
        module: The module's full name.
        use: What needs it, such as "cost()".
        install: The requirement to install, such as "rxllm[cost]".
    """
    try:
        return import_module(module)
    except ImportError as error:
        from .errors import MissingPackageError  # not before: pytest loads this module in every run

        raise MissingPackageError(
            f'{use} needs the package {module.partition(".")[0]}: pip install "{install}"'
        ) from error
