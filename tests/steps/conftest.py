from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.steps.workspaces import unpublished

#: Where it matters what the catalog says after a verb.
_PUBLISHED = ("test_forget", "test_forget_embedders", "test_fsck")


@pytest.fixture(scope="module", autouse=True)
def without_catalog(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the catalog out: half of the time of the tests of single steps went into writing what none of them reads.
    Tests of the store, the command line, the README and of kills publish after every verb."""
    if request.module.__name__.rpartition(".")[2] in _PUBLISHED:
        yield
        return
    with unpublished():
        yield
