"""The references hold all that there is, and the site builds without a warning, so that no link in it is dead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import synalign as sa
from synalign.cli.app import GROUPS
from synalign.config import Config, RunConfig
from tools import api_reference, cli_reference, config_reference, docs


def test_every_command_is_in_the_reference() -> None:
    page = cli_reference.reference()
    commands = cli_reference.commands()
    assert len(commands) > 30
    assert re.findall(r"^### `(.+)`$", page, re.MULTILINE) == list(commands)
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["For every command", *GROUPS]
    assert "| `--strength NUMBER\\|auto\\|none` |" in page, "a mark of alternatives ends no cell"
    ingest = page.split("### `ingest`")[1].split("\n### ")[0]
    assert re.search(r"^\| `--test-share \S+` \| \w.*\|$", ingest, re.MULTILINE)
    assert ingest.lstrip().startswith("```text\nsynalign ingest DIR ")


def test_every_option_says_what_it_does() -> None:
    silent = [line for line in cli_reference.reference().splitlines() if re.match(r"^\| `[^|]+` \|\s*\|$", line)]
    assert silent == []


def test_every_public_method_has_one_place() -> None:
    listed = [name for names in api_reference.GROUPS.values() for name in names]
    assert sorted(listed) == api_reference.public_methods(sa.Workspace)
    page = api_reference.reference()
    headings = re.findall(r"^### `(?:ws|sa)\.(\w+)`$", page, re.MULTILINE)
    assert set(headings) == {*listed, *(name for name in sa.__all__ if name not in ("Workspace", "__version__"))} - {
        "SynAlignError"
    }
    for name in ("align", "ingest", "generate"):
        section = page.split(f"### `ws.{name}`")[1].split("### ")[0]
        assert section.count("\n- `") >= 5, f"what {name} takes is described"


def test_every_key_of_the_configuration_is_in_the_reference() -> None:
    page = config_reference.reference()
    sections = {part.split("`", 1)[0].strip("[]"): part for part in page.split("\n## `")[1:]}
    for name, field in Config.model_fields.items():
        keys = getattr(field.annotation, "model_fields", None)
        if keys is None:
            assert f"| `{name}` |" in page or f'{name}."NAME"' in sections
            continue
        for key in keys:
            assert f"| `{key}` |" in sections[name], f"[{name}] {key}"
    silent = re.findall(r"^\| `\w+` .*\| *\|$", page, re.MULTILINE)
    assert silent == [], "keys without a description"
    assert all(f"| `{name}` |" in page for name in set(RunConfig.model_fields) - set(Config.model_fields))
    assert "| `features` | whole number, at least" in sections["align"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built anew with what is generated from the code."""
    pytest.importorskip("furo", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    docs.generate(committed=False)
    assert docs.build(folder / "html") == 0, "Sphinx warned; its output is above"
    return folder / "html"


def test_the_site_builds_without_a_warning(site: Path) -> None:
    for page in (
        "docs/index",
        "docs/tutorial",
        "docs/how-to/join",
        "docs/reference/cli",
        "docs/reference/sql",
        "README",
    ):
        assert (site / f"{page}.html").is_file(), page


def test_a_page_loads_nothing_from_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"(?:https?:)?//[^\"]+", html)
        loaded += re.findall(r"<link[^>]+rel=\"(?:stylesheet|preload|icon)\"[^>]+href=\"(?:https?:)?//[^\"]+", html)
        assert loaded == [], page.name


def test_a_dead_link_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("furo", reason="the extra `docs` is not installed")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "conf.py").write_text(
        (docs.ROOT / "docs" / "conf.py").read_text().split("html_static_path")[0]
    )
    (tmp_path / "docs" / "index.md").write_text("# A\n\n[there](other.md#here)\n")
    (tmp_path / "docs" / "other.md").write_text("---\norphan: true\n---\n# B\n\n## Here\n")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    assert docs.build(tmp_path / "site") == 0
    (tmp_path / "docs" / "index.md").write_text("# A\n\n[there](other.md#gone)\n")
    assert docs.build(tmp_path / "site") != 0
    (tmp_path / "docs" / "index.md").write_text("# A\n\n[there](tables.md)\n")
    assert docs.build(tmp_path / "site") != 0
