"""The public surface, and that importing it costs next to nothing."""

from __future__ import annotations

import subprocess
import sys

import synalign as sa

HEAVY = ("lancedb", "lance", "torch", "openai", "sklearn", "gpytorch", "duckdb", "polars", "pyarrow", "numpy", "jinja2")


def test_public_names_are_these() -> None:
    expected = [
        "Config",
        "Outcome",
        "RunConfig",
        "SynAlignError",
        "TrainingData",
        "UncertaintyTracker",
        "Workspace",
        "__version__",
        "open",
        "run",
    ]
    assert sa.__all__ == expected
    assert all(getattr(sa, name) is not None for name in expected)
    assert set(expected) <= set(dir(sa))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(sa, "opne")


def test_import_and_help_load_nothing_heavy() -> None:
    for code in ("import synalign", "import synalign.cli", "import synalign.workspace"):
        script = f"{code}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]", f"{code} loads {done.stdout}"


def test_every_public_callable_says_what_it_does() -> None:
    for name in set(sa.__all__) - {"__version__"}:
        assert (getattr(sa, name).__doc__ or "").strip(), name
    methods = [name for name in vars(sa.Workspace) if not name.startswith("_")]
    assert all(getattr(sa.Workspace, name).__doc__ for name in methods)
