"""`python -m costwhy.cli` is the command `costwhy`."""

import sys

from costwhy.cli.main import main

sys.exit(main())
