"""Reads and writes settings: TOML on disk, unknown keys refused with the nearest known one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from synalign.config.base import Section
from synalign.config.corpus import Source
from synalign.config.sections import Config
from synalign.errors import ConfigError

#: The configuration's file name inside a workspace.
CONFIG_NAME = "synalign.toml"
#: The published catalog's.
CATALOG_NAME = "catalog.duckdb"

SectionT = TypeVar("SectionT", bound=Section)


def override(section: SectionT, request: Section | Mapping[str, Any]) -> SectionT:
    """Return `section` with the given values put in, validated; a value of None leaves the configured one.

    Of a request, those values count that were given, and that are settings of the section.

    Raises:
        ConfigError: if a value is not allowed.
    """
    if isinstance(request, Section):
        names = request.model_fields_set & type(section).model_fields.keys()
        values: Mapping[str, Any] = {name: getattr(request, name) for name in names}
    else:
        values = request
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        return section
    return parse(type(section), {**section.model_dump(), **given}, type(section).__name__.lower())


def parse(model: type[SectionT], data: Mapping[str, Any], where: str) -> SectionT:
    """Validate plain data as `model`.

    Raises:
        ConfigError: naming each wrong key, what is allowed there, what was given, and `where` it stands.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_explain(model, item) for item in error.errors()]
        raise ConfigError(f"{where} is not valid:\n" + "\n".join(f"  {line}" for line in lines)) from error


def load(model: type[SectionT], path: Path) -> SectionT:
    """Read a TOML file as `model`.

    Raises:
        ConfigError: if the file is missing, is not UTF-8 TOML, or holds a key or value that is not allowed.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"There is no configuration file {path}. 'synalign init DIR' writes one.") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder; a TOML file is needed here.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a valid TOML file: {error}.") from error
    return parse(model, data, str(path))


def dumps(config: Config) -> str:
    """Return the configuration as TOML: what is set, without values that are unset."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _explain(model: type[BaseModel], item: Any) -> str:
    # pydantic puts the name of a union's member into the path, such as literal['auto','none'].
    path = [str(part) for part in item["loc"] if not ("[" in str(part) or str(part).startswith("constrained-"))]
    key = ".".join(path) or "(the whole)"
    if item["type"] != "extra_forbidden":
        return f"{key}: {item['msg']} (given: {item['input']!r})"
    known = _fields_at(model, path[:-1])
    near = difflib.get_close_matches(path[-1], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"{key}: no such key; {hint}"


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        kind = field.annotation if field else None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
        elif part == "sources":
            model = Source
    return sorted(model.model_fields)
