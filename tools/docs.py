"""What `make docs` runs: writes what is generated, and builds the site in build/site; any warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

from tools import api_reference, cli_reference, config_reference, results_chart, sql_reference

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
SITE = ROOT / "build" / "site"


def generate(*, committed: bool = True) -> None:
    """Write the references of commands, API and configuration; and what is committed: that of SQL, and the picture."""
    for name, module in {"cli": cli_reference, "api": api_reference, "configuration": config_reference}.items():
        (REFERENCE / f"{name}.md").write_text(module.reference(), encoding="utf-8")
    if committed:
        sql_reference.PLACE.write_text(sql_reference.reference(), encoding="utf-8")
        results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
        results_chart.PLACE.write_text(results_chart.picture(results), encoding="utf-8")


def build(site: Path = SITE) -> int:
    """Build the site from the pages there are; return the exit code."""
    from sphinx.cmd.build import main

    options = ["--quiet", "--nitpicky", "--fail-on-warning", "--keep-going", "--fresh-env", "--jobs", "auto"]
    doctrees = site.parent / "doctrees"
    return main([*options, "-c", str(ROOT / "docs"), "-d", str(doctrees), "-b", "html", str(ROOT), str(site)])


if __name__ == "__main__":
    generate()
    failed = build()
    sys.stdout.write(f"{'The site has warnings, see above' if failed else SITE / 'index.html'}\n")
    sys.exit(failed)
