"""Import this first: it keeps compiled modules for the tests, where the environment keeps none.

Under PYTHONDONTWRITEBYTECODE each process compiles a thousand modules anew: a second of CPU for every
worker and for every command that a test runs. Here they are kept in .pytest_cache, beside no source.
"""

import os
import sys
from pathlib import Path

KEPT = Path(__file__).resolve().parent.parent / ".pytest_cache" / "bytecode"

if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(KEPT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(KEPT)
