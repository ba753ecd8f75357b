"""Finds the `sql/` and `prompts/` folders, which lie beside the package in a checkout and inside it in a wheel."""

from __future__ import annotations

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
    """Return the text of one shipped file, named as in a checkout, such as "sql/views/lineage.sql"."""
    top, _, rest = relative.partition("/")
    path = folder(top) / rest
    if not path.is_file():
        raise StoreError(f"The shipped file {relative} is missing. The installation is incomplete; install it again.")
    return path.read_text(encoding="utf-8")


def names(relative: str, suffix: str) -> list[str]:
    """Return the names, without `suffix`, of the shipped files directly in one folder, sorted."""
    top, _, rest = relative.partition("/")
    return sorted(path.name[: -len(suffix)] for path in (folder(top) / rest).iterdir() if path.name.endswith(suffix))
