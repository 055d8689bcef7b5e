"""Tells PyInstaller which files of the package a frozen program needs; found through an entry point."""


def hook_dirs() -> list[str]:
    """Return the folder of `hook-rxllm.py`."""
    return list(__path__)
