"""DuckDB in bounded memory."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

Connection = duckdb.DuckDBPyConnection
DUCKDB: dict[str, Any] = {  # of every connection
    "memory_limit": "512MB",
    "threads": 2,
    "preserve_insertion_order": False,
    # makes a join of each list of words for nothing: a second and 600 MB for a file of ten rows
    "disabled_optimizers": "in_clause",
}


@contextmanager
def opened() -> Iterator[tuple[Connection, Path]]:
    """A DuckDB of bounded memory, and a folder that is there as long."""
    with (
        tempfile.TemporaryDirectory(prefix="costwhy-") as folder,
        duckdb.connect(config={**DUCKDB, "temp_directory": folder}) as connection,
    ):
        connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
        yield connection, Path(folder)
