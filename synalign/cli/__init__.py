"""The command line: arguments become calls of the Python API.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""

from synalign.cli.app import app, main

__all__ = ["app", "main"]
