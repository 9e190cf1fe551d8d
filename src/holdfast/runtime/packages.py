"""An application that is started from inside its own package: what it is called from outside."""

from __future__ import annotations

import os
from pathlib import Path

_HIGHEST = 4  # folders above that are looked at


def base_of(module: str, folder: Path) -> Path | None:
    """The nearest folder above *folder* from which *module* can be imported, if there is one."""
    for base in list(folder.parents)[:_HIGHEST]:
        place = base.joinpath(*module.split("."))
        is_module = place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
        if is_module or folder.is_relative_to(place):
            return base
    return None


def base_of_package(folder: Path) -> Path:
    """The folder above the outermost package that *folder* belongs to."""
    base = folder.parent
    while (base / "__init__.py").is_file() and base != base.parent:
        base = base.parent
    return base


def named_from(base: Path, target: str, folder: Path) -> str | None:
    """How *target* (`module:attribute` in *folder*) is given when it is imported from *base*; None when
    a folder in between cannot be part of a module's name."""
    inside = folder.relative_to(base).parts
    if not all(one.isidentifier() for one in inside):
        return None
    return f"{'.'.join((*inside, target))} {from_folder(base)}"


def from_folder(base: Path) -> str:
    """The option that imports from *base*, as short as it can be typed here."""
    near = os.path.relpath(base)
    return f"--app-dir {near if len(near) < len(str(base)) else base}"
