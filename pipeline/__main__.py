"""``python -m pipeline`` is ``kpv``."""

from pipeline.cli import main

main()
