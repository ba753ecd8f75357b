"""The command line: arguments become calls of the Python API. Commands are listed in the order of a pipeline.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""

from synalign.cli import (  # noqa: I001 - each adds its commands, in this order
    corpus,  # noqa: F401
    model,  # noqa: F401
    weights,  # noqa: F401
    evaluation,  # noqa: F401
    experiments,  # noqa: F401
    texts,  # noqa: F401
    retrieval,  # noqa: F401
    query,  # noqa: F401
    history,  # noqa: F401
    upkeep,  # noqa: F401
    health,  # noqa: F401
)
from synalign.cli.app import app, main

__all__ = ["app", "main"]
