"""`python -m synalign.cli`."""

from synalign.cli import main

main()
