"""Long tables of changes and signals in the dialects in which people have them."""

import codecs
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from costwhy.sources.changes import long_table as changes
from costwhy.sources.signals import long_table as signals
from costwhy.sources.times import to_time

THREE = datetime(2026, 10, 14, 3, tzinfo=UTC)
SECONDS = int(THREE.timestamp())
ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with BOM": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16 le without BOM": lambda text: text.encode("utf-16-le"),
    "utf-16 be with BOM": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "latin-1": lambda text: text.encode("latin-1"),
    "carriage return and line feed": lambda text: text.replace("\n", "\r\n").encode(),
    "carriage return": lambda text: text.replace("\n", "\r").encode(),
    "latin-1, carriage return": lambda text: text.replace("\n", "\r").encode("latin-1"),
}
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def put(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def reasons(reading) -> list[tuple]:
    return reading.set_aside.select("place", "reason", "records").rows()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("mark", DELIMITERS, ids=DELIMITERS.get)
@pytest.mark.parametrize("title", ["", "Export of 14 October 2026\n\n"], ids=["", "title"])
def test_a_table_is_read_in_any_encoding_under_any_delimiter(tmp_path, encoding, mark, title):
    rows = [
        ["Time", "Service", "Caller", "Metric", "Value"],
        ["2026-10-14T03:00:00Z", "küche", "N/A", "Calls", "5"],
        ["2026-10-14T03:30:00Z", "küche", "\\N", "calls", " 6 "],
        ["2026-10-14 03:00:00 UTC", "küche", "müller", "calls", "2"],
    ]
    text = title + "".join(mark.join(row) + "\n" for row in rows)
    reading = signals.read([put(tmp_path, ENCODINGS[encoding](text))])
    assert reading.rows.rows() == [
        (THREE, "küche", None, "calls", 11.0, 2),
        (THREE, "küche", "müller", "calls", 2.0, 1),
    ]
    assert reasons(reading) == []

    rows = [
        ["Time", "Kind", "Service", "Change ID", "Actor"],
        ["2026-10-14T03:00:00Z", "deploy", "küche", "c-1", "-"],
        ["2026-10-14T03:30:00Z", "config", "None", "c-2", "müller"],
    ]
    text = title + "".join(mark.join(row) + "\n" for row in rows)
    reading = changes.read([put(tmp_path, ENCODINGS[encoding](text))])
    assert reading.rows.select("change_id", "service", "actor").rows() == [
        ("c-1", "küche", None),
        ("c-2", None, "müller"),
    ]
    assert reasons(reading) == []
    assert reading.notes == ()


@pytest.mark.parametrize(
    "word", ["", "null", "NULL", "\\N", "None", "N/A", "n/a", "-", "nan", "(null)", '""']
)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_null_in_any_spelling_is_null(tmp_path, word, name):
    if name == "t.csv":
        text = "time,service,caller,metric,value\n2026-10-14T03:00:00Z,cart,%s,calls,1\n"
        file = put(tmp_path, text % word)
    else:
        row = {"time": [THREE], "service": ["cart"], "caller": [word.strip('"')]}
        file = tmp_path / name
        pl.DataFrame({**row, "metric": ["calls"], "value": [1.0]}).write_parquet(file)
    assert signals.read([file]).rows.rows() == [(THREE, "cart", None, "calls", 1.0, 1)]
    text = "time,kind,service,actor,before\n2026-10-14T03:00:00Z,deploy,%s,%s,%s\n"
    [row] = changes.read([put(tmp_path, text % (word, word, word))]).rows.iter_rows(named=True)
    assert (row["service"], row["actor"], row["actor_kind"], row["before"]) == (None,) * 4


@pytest.mark.parametrize("value", ["NaN", "nan", "inf", "-Infinity", "N/A", "", "1e400"])
def test_what_is_no_finite_number_never_reaches_a_sum(tmp_path, value):
    text = "time,service,caller,metric,value\n" + "".join(
        f"2026-10-14T03:{minute}0:00Z,cart,,{metric},{number}\n"
        for minute, number in ((0, "1"), (1, value))
        for metric in ("calls", "capacity")
    )
    reading = signals.read([put(tmp_path, text)])
    assert reading.rows["value"].to_list() == [1.0, 1.0]
    assert sum(row[2] for row in reasons(reading)) == 2


@pytest.mark.parametrize(
    "spelled",
    [
        "2026-10-14T03:00:00Z",
        "2026-10-14t03:00:00z",
        "2026-10-14 03:00Z",
        "2026-10-14 05:00:00 +0200",
        "2026-10-14T05:00:00+02:00[Europe/Berlin]",
        "2026-10-14 03:00:00 UTC",
        "2026-10-14 03:00:00.000 GMT",
        f"{SECONDS}",
        f"{SECONDS}.0",
        f"{SECONDS}000",
        f"{SECONDS}000000",
        f"{SECONDS}000000000",
    ],
)
def test_a_time_is_read_where_it_is_certain(tmp_path, spelled):
    assert to_time(spelled) == THREE
    text = f"time,service,caller,metric,value\n{spelled},cart,,calls,1\n".replace("t03", "T03")
    assert signals.read([put(tmp_path, text)]).rows["hour"].to_list() == [THREE]


def test_numbers_since_1970_of_parquet_and_json_are_read(tmp_path):
    for unit in (1, 1_000, 1_000_000):
        row = {"time": [SECONDS * unit], "service": ["cart"], "caller": [None]}
        file = tmp_path / "n.parquet"
        frame = pl.DataFrame({**row, "metric": ["calls"], "value": [1.0]})
        frame.with_columns(pl.col("caller").cast(pl.String)).write_parquet(file)
        assert signals.read([file]).rows["hour"].to_list() == [THREE]
        line = f'{{"time": {SECONDS * unit}, "kind": "deploy", "service": "cart"}}'
        assert changes.read([put(tmp_path, line, "c.jsonl")]).rows["time"].to_list() == [THREE]


@pytest.mark.parametrize(
    ("spelled", "right"),
    [
        ("2026-10-14T05:00 Europe/Berlin", THREE),
        ("2026-10-14 05:00:00[Europe/Berlin]", THREE),
        ("Wed, 14 Oct 2026 03:00:00 +0000", THREE),
        ("Wed, 14 Oct 2026 03:00:00 GMT", THREE),
        ("2026-10-25T02:30 Europe/Berlin", None),  # the clock shows it twice
        ("2026-03-29T02:30 Europe/Berlin", None),  # and this one never
        ("2026-10-14T05:00 Europe/Nowhere", None),
        ("2026-10-14T05:00 America/../../etc/passwd", None),
        ("2026-10-14T03:00:00 CET", None),
        ("14/10/2026 03:00 UTC", None),
        ("46309", None),
        ("12", None),
        ("99999999999999999999999", None),
        (True, None),
        (float("nan"), None),
        (-1, None),
    ],
)
def test_a_time_that_is_not_certain_is_refused(spelled, right):
    if right is not None:
        assert to_time(spelled) == right
    else:
        with pytest.raises(ValueError, match=r"ISO 8601|zone"):
            to_time(spelled)


def test_a_decimal_comma_is_read_where_some_value_shows_it(tmp_path):
    head = "time;service;caller;metric;value\n"
    lines = [f"2026-10-14T0{n}:00:00Z;cart;;calls;" for n in range(3)]
    sure = head + f"{lines[0]}1,5\n{lines[1]}1,500\n{lines[2]}2\n"
    assert signals.read([put(tmp_path, sure)]).rows["value"].to_list() == [1.5, 1.5, 2.0]
    for text in (f"{lines[0]}1,500\n{lines[1]}7\n", f"{lines[0]}1,5\n{lines[1]}1.5\n"):
        reading = signals.read([put(tmp_path, head + text)])
        assert reading.rows.height == 1
        assert reasons(reading) == [("row 1", "the value is no number", 1)]


def test_quotes_may_be_doubled_or_escaped_by_a_backslash(tmp_path):
    for field in ('"{""a"": ""x, y""}"', '"{\\"a\\": \\"x, y\\"}"'):
        text = f"time,kind,service,after\n2026-10-14T03:00:00Z,deploy,cart,{field}\n"
        assert changes.read([put(tmp_path, text)]).rows["after"].to_list() == ['{"a":"x, y"}']


@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t"])
@pytest.mark.parametrize("kind", ["lines", "list", "records", "several"])
def test_changes_as_json_are_told_by_what_the_file_begins_with(tmp_path, name, kind):
    rows = [
        f'{{"Time": "2026-10-14T0{n}:00:00Z", "kind": "deploy", "service": "s"}}' for n in (1, 2)
    ]
    rows = [row.replace("Time", "time") if kind == "records" else row for row in rows]
    text = {
        "lines": "\n".join(rows),
        "list": f"[{rows[0]}, {rows[1]}]",
        "records": f'{{"records": [{rows[0]}, {rows[1]}]}}',
        "several": "".join(rows).replace("{", "{\n"),
    }[kind]
    reading = changes.read([put(tmp_path, text, name)])
    assert reading.rows["time"].dt.hour().to_list() == [1, 2]
    assert reasons(reading) == []


def test_two_columns_that_differ_in_their_capitals_stay_two(tmp_path):
    text = "time,kind,Service,service\n2026-10-14T03:00:00Z,deploy,other,cart\n"
    reading = changes.read([put(tmp_path, text)])
    assert reading.rows["service"].to_list() == ["cart"]
    assert reading.notes == ("columns that are not known were left out: Service",)
