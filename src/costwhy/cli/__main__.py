"""`python -m costwhy.cli` is the command `costwhy`."""

from costwhy.cli.main import main

raise SystemExit(main())
