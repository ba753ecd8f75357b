"""Finds the `sql/` and `prompts/` folders, which lie beside the package in a checkout and inside it in a wheel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from synalign.errors import StoreError

_PACKAGE = Path(__file__).resolve().parent


@cache
def folder(name: str) -> Path:
    """Return the folder of shipped files called `name` ("sql" or "prompts").

    Raises:
        StoreError: if neither the installed nor the checkout's folder exists, so the installation is broken.
    """
    for candidate in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise StoreError(
        f"The files under {name}/ that SynAlign ships are missing: looked in {_PACKAGE / f'_{name}'} and "
        f"{_PACKAGE.parent / name}. The installation is incomplete; install it again."
    )


@cache
def text(relative: str) -> str:
    """Return the text of one shipped file, named as in a checkout, such as "sql/views/generation/lineage.sql"."""
    top, _, rest = relative.partition("/")
    path = folder(top) / rest
    if not path.is_file():
        raise StoreError(f"The shipped file {relative} is missing. The installation is incomplete; install it again.")
    return path.read_text(encoding="utf-8")


@cache
def files(relative: str, suffix: str) -> Mapping[str, str]:
    """Return the shipped files of one folder and of the folders in it, as {name without `suffix`: path as `text` takes
    it}, sorted by name.

    Raises:
        StoreError: if two files have one name.
    """
    top, _, rest = relative.partition("/")
    found: dict[str, str] = {}
    for path in sorted((folder(top) / rest).rglob(f"*{suffix}"), key=lambda path: path.name):
        name, place = path.name.removesuffix(suffix), f"{top}/{path.relative_to(folder(top)).as_posix()}"
        if name in found:
            raise StoreError(f"Two shipped files are called {name}: {found[name]} and {place}. Rename one.")
        found[name] = place
    return found
