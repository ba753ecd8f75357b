"""The command line: arguments become calls of the Python API. Commands are listed in the order of a pipeline.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""

from synalign.cli import corpus, model, weights, query, history, health  # noqa: F401, I001 - each adds its commands, so
from synalign.cli.app import app, main

__all__ = ["app", "main"]
