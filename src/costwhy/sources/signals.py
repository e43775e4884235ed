"""Signals: calls, retries, errors, bytes and capacity of each service, one row for each time bucket; summed to the hour."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from costwhy import tables
from costwhy.sources.reading import Aside, Reading, aside_frame

ENDINGS = (".parquet", ".csv", ".csv.gz")
METRICS = ("calls", "retries", "errors", "bytes", "capacity")
COLUMNS = ("time", "service", "caller", "metric", "value")


def read(files: Sequence[Path]) -> Reading:
    """Signals of these files, by the hour. Rows that make no sense are set aside, and counted by reason."""
    parts, asides, seen = [tables.SIGNALS.empty().drop("delivery")], [aside_frame("signals", [])], [tables.SEEN.empty().drop("delivery")]
    for file in files:
        try:
            raw = _raw(file)
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            asides.append(aside_frame("signals", [Aside(file.name, "", f"not a table of signals: {error}")]))
            continue
        good, bad = _checked(raw, file.name)
        parts.append(_hourly(good))
        asides.append(bad)
        counts = good.group_by(hour=pl.col("time").dt.truncate("1h")).agg(records=pl.len())
        seen.append(tables.SEEN.fit(counts.with_columns(source=pl.lit("signals"))).drop("delivery"))
    return Reading(pl.concat(parts), pl.concat(asides), pl.concat(seen))


def _raw(file: Path) -> pl.DataFrame:
    """The five columns; times are UTC. Raises ValueError where a column is missing or times have no zone."""
    frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema=False)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"column {missing[0]!r} is missing; found {', '.join(frame.columns)}")
    frame = frame.select(COLUMNS).with_columns(pl.col("service", "caller", "metric").cast(pl.String), pl.col("value").cast(pl.Float64, strict=False))
    kind = frame.schema["time"]
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is None:
            raise ValueError("column 'time' has no zone; write it as a timestamp with zone UTC")
        return frame.with_columns(pl.col("time").dt.convert_time_zone("UTC").cast(tables.TIME))
    zoned = pl.col("time").str.contains(r"(Z|[+-]\d\d:?\d\d)$")
    parsed = pl.col("time").str.replace(r"Z$", "+00:00").str.to_datetime(format="%+", time_zone="UTC", strict=False, time_unit="us")
    return frame.with_columns(time=pl.when(zoned).then(parsed), unzoned=~zoned)


def _checked(raw: pl.DataFrame, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    unzoned = pl.col("unzoned").fill_null(value=False) if "unzoned" in raw.columns else pl.lit(value=False)
    reason = (
        pl.when(unzoned).then(pl.lit("time has no zone; write it with Z or an offset"))
        .when(pl.col("time").is_null()).then(pl.lit("time is missing or unreadable"))
        .when(pl.col("service").fill_null("") == "").then(pl.lit("service is missing"))
        .when(~pl.col("metric").is_in(METRICS).fill_null(value=False)).then(pl.lit(f"metric is none of {', '.join(METRICS)}"))
        .when(pl.col("value").is_null() | ~pl.col("value").is_finite()).then(pl.lit("value is no number"))
        .when(pl.col("value") < 0).then(pl.lit("value is negative"))
    )
    marked = raw.with_row_index("row", offset=1).with_columns(reason=reason)
    bad = marked.filter(pl.col("reason").is_not_null())
    counts = bad.group_by("reason", maintain_order=True).agg(
        records=pl.len(), place=pl.col("row").first().cast(pl.String),
        record=pl.concat_str([pl.col(c).cast(pl.String).fill_null("") for c in COLUMNS], separator=", ").first().str.head(300))
    aside = counts.with_columns(source=pl.lit("signals"), file=pl.lit(name), place=pl.lit("row ") + pl.col("place"))
    return marked.filter(pl.col("reason").is_null()).select(COLUMNS), tables.SET_ASIDE.fit(aside).drop("delivery")


def _hourly(good: pl.DataFrame) -> pl.DataFrame:
    keys = ["hour", "service", "caller", "metric"]
    value = pl.when(pl.col("metric").first() == "capacity").then(pl.col("value").mean()).otherwise(pl.col("value").sum())
    placed = good.with_columns(hour=pl.col("time").dt.truncate("1h"))
    return tables.SIGNALS.fit(placed.group_by(keys).agg(value=value, buckets=pl.len()).sort(keys)).drop("delivery")
