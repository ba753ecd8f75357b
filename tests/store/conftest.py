"""The workspace that is filled by hand: see `rows`."""

from __future__ import annotations

import pytest

import synalign as sa
from tests.store import rows


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> sa.Workspace:
    """A workspace with rows in every relation and three weight sets side by side. Do not write to it."""
    return rows.build(tmp_path_factory.mktemp("measured") / "workspace")
