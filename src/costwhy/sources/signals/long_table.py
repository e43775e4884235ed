"""Signals: what the services did, from long Parquet or CSV, summed to the hour.

    time, service, caller, metric, value    one row for each time bucket (an hour or finer)

`capacity` is the mean over the buckets of the hour, everything else the sum. A bucket that is given
twice counts once.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from costwhy.behaviours import CAPACITY
from costwhy.errors import SourceError
from costwhy.sources import delimited, packed, records, times
from costwhy.sources.delimited import BEYOND
from costwhy.sources.files import TABLE_ENDINGS, Columns, Files
from costwhy.sources.reading import SHOWN, Collector, Reading, fit
from costwhy.sources.signals import metrics
from costwhy.sources.signals.metrics import KEY
from costwhy.tables import COUNT, SIGNALS, TIME

MAX_CSV_BYTES = 4 * 2**30  # The most that one packed CSV may hold after decompression
_ROW = "costwhy row"
_COLUMNS = ("time", "service", "caller", "metric", "value")
_BUCKET = ["time", "service", "caller", "metric"]
_UNREADABLE = (SourceError, *records.UNREADABLE, pl.exceptions.PolarsError)


def read(sources: Sequence[Path]) -> Reading:
    """Signals by hour, rows set aside (one for each file and reason), and rows seen by hour.

    A file that is unreadable, lacks a column, or has Parquet times without a zone is set aside
    whole.
    """
    collector, frames = Collector(SIGNALS, "signals"), dict[Path, pl.LazyFrame]()
    with ExitStack() as stack:
        for number, file in enumerate(sources):
            try:
                frames[file] = _checked(_open(file, stack), number)
            except _UNREADABLE as error:
                _set_aside(collector, file, error)
        try:
            rows = _collect(collector, sources, frames)
        except _UNREADABLE:  # one of them is broken further down: find it, read the others
            rows = _collect(collector, sources, _sound(collector, frames))
    return replace(collector.reading(), rows=rows)


def _set_aside(collector: Collector, file: Path, error: Exception) -> None:
    collector.set_aside(file, None, f"the file cannot be read: {records.first_line(error)}")


def _sound(collector: Collector, frames: dict[Path, pl.LazyFrame]) -> dict[Path, pl.LazyFrame]:
    """The frames that can be read to the end; the others are set aside."""
    sound = {}
    for file, frame in frames.items():
        try:
            frame.select(pl.all().max()).collect(engine="streaming")
            sound[file] = frame
        except _UNREADABLE as error:
            _set_aside(collector, file, error)
    return sound


def _open(file: Path, stack: ExitStack) -> pl.LazyFrame:
    """The file's columns, the row's index, and what a CSV line has beyond the last column."""
    content = packed.look(file)
    if content.kind == "parquet" or (
        content.kind != "text" and file.name.lower().endswith(".parquet")
    ):
        real = stack.enter_context(packed.opened(file, limit=MAX_CSV_BYTES))
        frame = pl.scan_parquet(real, glob=False, row_index_name=_ROW)
        return _renamed(frame).with_columns(pl.lit(None, pl.String).alias(BEYOND))
    header = delimited.find_header(records.in_utf8(content.head).decode(), _COLUMNS)
    scan = partial(
        pl.scan_csv,
        _plain_csv(file, stack),
        glob=False,
        encoding="utf8-lossy",
        separator=header.delimiter,
        skip_lines=header.line,
    )
    names = scan(infer_schema=False, n_rows=0).collect_schema().names()
    frame = _renamed(
        scan(
            schema=dict.fromkeys([*names, BEYOND], pl.String),
            row_index_name=_ROW,
            truncate_ragged_lines=True,
            missing_columns="insert",
        )
    )
    return frame if header.delimiter == "," else frame.with_columns(_decimal_points(frame))


def _renamed(frame: pl.LazyFrame) -> pl.LazyFrame:
    names = [name for name in frame.collect_schema().names() if name not in {_ROW, BEYOND}]
    return frame.rename(dict(zip(names, delimited.plain_names(names), strict=True)))


def _decimal_points(frame: pl.LazyFrame) -> pl.Expr:
    """Values with decimal points, where some value shows that the commas are decimal ones.

    `1,5` and `0,125` do, `1,500` alone does not: then it is no number.
    """
    value = pl.col("value").str.strip_chars()
    sure = value.str.contains(r"^[+-]?(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+)$").any()
    other = value.str.contains(r"\.").any()
    is_sure = frame.select(sure & ~other).collect(engine="streaming").item()
    return value.str.replace(",", ".") if is_sure else value


def _checked(frame: pl.LazyFrame, number: int) -> pl.LazyFrame:
    """The frame in the right types, with `reason`: why a row cannot be used.

    Raises SourceError where none can.
    """
    schema = frame.collect_schema()
    delimited.require_columns(schema, _COLUMNS)
    kind = schema["time"]
    if not (isinstance(kind, pl.Datetime) or kind == pl.String or kind.is_numeric()):
        raise SourceError(f"the column `time` is {kind}: write a timestamp in UTC")
    if isinstance(kind, pl.Datetime):
        time, zoned = pl.col("time").dt.convert_time_zone("UTC").cast(TIME), pl.lit(value=True)
    else:
        time, zoned = times.column(pl.col("time"), is_number=kind.is_numeric())
    return frame.select(
        pl.lit(number, pl.Int64).alias("file"),
        (pl.col(_ROW).cast(pl.Int64) + 1).alias("row"),
        time,
        _name("service"),
        _name("caller"),
        _name("metric").str.to_lowercase(),
        _text("value").cast(pl.Float64, strict=False),
        pl.concat_str(pl.col(*_COLUMNS, BEYOND).cast(pl.String), separator=", ", ignore_nulls=True)
        .str.head(SHOWN)
        .alias("shown"),
        pl.col(BEYOND).is_not_null().alias("too_long"),
        zoned.alias("zoned"),
    ).with_columns(reason=_reason(), hour=pl.col("time").dt.truncate("1h"))


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).str.strip_chars()


def _name(name: str) -> pl.Expr:
    """A text; null in any spelling is null."""
    is_null = _text(name).str.to_lowercase().is_in(sorted(delimited.NULLS))
    return pl.when(~is_null).then(_text(name)).alias(name)


def _reason() -> pl.Expr:
    metric, value = pl.col("metric"), pl.col("value")
    return metrics.first_fault(
        (pl.col("too_long"), "the line has more fields than the header"),
        (~pl.col("zoned"), "the time has no zone: write UTC as a final Z"),
        (pl.col("time").is_null(), "the time is no ISO 8601 time"),
        *metrics.odd_names(),
        (
            ~metric.is_in(metrics.METRICS) | metric.is_null(),
            f"the metric is none of {', '.join(metrics.METRICS)}",
        ),
        (value.is_null(), "the value is no number"),
        (~value.is_finite(), "the value is not finite"),
        (value < 0, "the value is negative"),
    )


def _collect(
    collector: Collector, sources: Sequence[Path], frames: dict[Path, pl.LazyFrame]
) -> pl.DataFrame:
    """Signals by hour; rows set aside and rows seen go to the collector."""
    if not frames:
        return fit(SIGNALS, [])
    rows = pl.concat(frames.values())
    good = rows.filter(pl.col("reason").is_null())
    bad = rows.filter(pl.col("reason").is_not_null())
    sums, aside, seen_hours = pl.collect_all(
        [
            good.group_by(KEY).agg(
                pl.col("value").sum(), buckets=pl.len(), times=pl.col("time").n_unique()
            ),
            bad.group_by("file", "reason").agg(pl.col("row").min(), records=pl.len()),
            rows.filter(pl.col("time").is_not_null()).group_by("hour").agg(records=pl.len()),
        ],
        engine="streaming",
    )
    if aside.height:
        firsts = bad.join(aside.lazy(), on=["file", "row"], how="semi")
        shown = firsts.select("file", "row", "shown").collect(engine="streaming")
        aside = aside.join(shown, on=["file", "row"], how="left")
    twice = sums.filter(pl.col("buckets") > pl.col("times")).select(KEY)
    if twice.height:
        sums, again = _without_repeats(good, sums, twice)
        aside = pl.concat([aside, again], how="diagonal")
    for row in aside.sort("file", "row").iter_rows(named=True):
        file, place = sources[row["file"]], f"row {row['row']}"
        collector.set_aside(file, place, row["reason"], row["shown"], row["records"])
    for hour, number in seen_hours.iter_rows():
        collector.see(None, hour, number)
    value, is_mean = pl.col("value"), pl.col("metric") == CAPACITY
    return sums.select(
        pl.col("hour").cast(TIME),
        *KEY[1:],
        pl.when(is_mean).then(value / pl.col("buckets")).otherwise(value).alias("value"),
        pl.col("buckets").cast(COUNT),
    ).sort(KEY)


def _without_repeats(
    good: pl.LazyFrame, sums: pl.DataFrame, twice: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sums with repeated buckets counted once, and the repeats as rows to set aside."""
    rows = (
        good.join(twice.lazy(), on=KEY, how="semi", nulls_equal=True)
        .collect(engine="streaming")
        .sort("file", "row")
    )
    first = rows.select(pl.struct(_BUCKET).is_first_distinct()).to_series()
    once = (
        rows.filter(first)
        .group_by(KEY)
        .agg(pl.col("value").sum(), buckets=pl.len(), times=pl.len())
    )
    again = (
        rows.filter(~first)
        .group_by("file", maintain_order=True)
        .agg(
            pl.lit("the time bucket is given twice: the first one counts").first().alias("reason"),
            pl.col("row", "shown").first(),
            records=pl.len(),
        )
    )
    return pl.concat([sums.join(twice, on=KEY, how="anti", nulls_equal=True), once]), again


def _plain_csv(file: Path, stack: ExitStack) -> Path:
    """The CSV in UTF-8, unpacked, in a temporary file where it was not so.

    Raises SourceError beyond MAX_CSV_BYTES.
    """
    if file.is_file() and not packed.look(file).packing and records.is_plain(file):
        return file
    stream = stack.enter_context(packed.open_stream(file))
    # the stack closes it
    target = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".csv"))  # noqa: SIM115
    left = MAX_CSV_BYTES
    for part in records.in_parts(stream):
        left -= len(part)
        if left < 0:
            raise records.too_large(MAX_CSV_BYTES)
        target.write(part)
    target.flush()
    return Path(target.name)


FORMAT = metrics.signals_format(
    files=Files(
        (".parquet", ".csv", ".tsv"),
        inside=("table",),
        looks=TABLE_ENDINGS,
        columns=Columns(marks=("metric", "value", "caller"), known=_COLUMNS, what="signals"),
    ),
    read=read,
)
