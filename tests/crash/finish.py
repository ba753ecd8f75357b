"""Finishes killed runs, one after the other, and compares what they ended in: a child process of the crash tests.

    python finish.py CONTENTS.json FOLDER...

Prints one JSON object: for each folder the differences from the contents, none if the run ended as it should.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from contents import contents, differences

import synalign as sa

wanted = json.loads(Path(sys.argv[1]).read_text())
found = {}
for name in sys.argv[2:]:
    sa.run(Path(name) / "run.toml")
    found[name] = differences(contents(Path(name) / "ws"), wanted)
sys.stdout.write(json.dumps(found))
