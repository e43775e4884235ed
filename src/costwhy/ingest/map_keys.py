"""Which keys the maps of a Parquet file have, from its dictionaries of keys alone.

To ask DuckDB decodes every value besides: a quarter of the time that a bill with thirty tags takes.
It is asked where a file is written in a way that Arrow does not read by such dictionaries.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from costwhy.ingest.duck import Connection
from costwhy.sources.cost.columns import is_map, quoted


def write_map_keys(connection: Connection, file: Path, kinds: Mapping[str, str]) -> None:
    """A table `map_keys`: name of the column, and each key that occurs in it.

    kinds: names and DuckDB types of the columns of the view `raw`, which is the file
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE map_keys (name VARCHAR, key VARCHAR)")
    for name in (name for name, kind in kinds.items() if is_map(kind)):
        try:
            keys = _keys(file, name)
        except pa.ArrowException:
            keys = _asked(connection, name)
        connection.execute("INSERT INTO map_keys SELECT ?, unnest(?)", [name, sorted(keys)])


def _keys(file: Path, name: str) -> set[str]:
    """The keys of a map, which are the first of the columns that Parquet makes of it."""
    schema = pq.read_metadata(file).schema
    paths = [schema.column(k).path for k in range(len(schema))]
    leaf = next(path for path in paths if path.strip().startswith(f"{name}."))
    found = set[str | bytes]()
    with pq.ParquetFile(file, read_dictionary=[leaf]) as whole:
        for group in range(whole.num_row_groups):
            rows = whole.read_row_group(group, columns=[leaf], use_threads=False)
            for entries in rows.column(0).chunks:
                maps = isinstance(entries, pa.MapArray)
                keys = entries.keys if maps else entries.values.field(0)
                words = keys.dictionary if isinstance(keys, pa.DictionaryArray) else keys
                found.update(words.unique().to_pylist())
    return {key.decode() if isinstance(key, bytes) else str(key) for key in found}


def _asked(connection: Connection, name: str) -> set[str]:
    keys = f"map_keys(CAST({quoted(name)} AS MAP(VARCHAR, VARCHAR)))"
    lists = f"SELECT any_value(k) AS k FROM (SELECT {keys} AS k FROM raw) GROUP BY hash(k)"
    return {key for (key,) in connection.execute(f"SELECT unnest(k) FROM ({lists})").fetchall()}
