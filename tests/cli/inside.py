"""Runs a command by the command line's own main function in this process: starting Python takes longer than most do."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from synalign.cli import main


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Return what a process of that command would have printed, and its exit status."""
    output, errors, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["synalign", *map(str, arguments)]
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())
