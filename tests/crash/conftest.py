from __future__ import annotations

import json

import pytest

from tests.crash.contents import AT_REST, contents
from tests.crash.killing import Undisturbed, drive, prepare


@pytest.fixture(
    scope="session", params=["generated only", pytest.param("generated and ingested", marks=pytest.mark.long)]
)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    synthetic = request.param == "generated and ingested"
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    prepare(folder, synthetic=synthetic)
    assert drive(folder, record=str(folder / "writes.json")) == 0
    found = contents(folder / "ws")
    assert set(found["files"]) == AT_REST
    (folder / "contents.json").write_text(json.dumps(found))
    writes = [(name, seconds) for name, seconds in json.loads((folder / "writes.json").read_text())]
    return Undisturbed(folder, found, writes, synthetic)
