"""A case of an earlier version still opens, verifies, and is shown; a spoilt one says why not."""

import json
import tarfile
from pathlib import Path

import polars as pl
import pytest

import costwhy as cw
from costwhy.errors import InputError
from costwhy.publishing.evidence import investigate_again
from costwhy.show import html, leadership

OLD = Path(__file__).parent.parent / "data" / "case-published-by-0.1.0.tar.xz"


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """The nightly report of the small company ran four times as often from 11 October on."""
    place = tmp_path / "published" / "20261011T02-report-aws-lambda"
    with tarfile.open(OLD) as archive:
        archive.extractall(place, filter="data")
    return place


def test_every_number_of_an_old_case_comes_out_again(case: Path) -> None:
    checked = cw.verify(case)
    assert checked.values > 1000
    opened = cw.open_case(case).case
    assert opened.spike.verdict == "inefficiency"
    assert opened.spike == investigate_again(case).spike
    assert opened.headline in html.top(opened.workspace, opened)


def test_an_old_case_stands_on_the_leadership_page(case: Path) -> None:
    board = leadership.open_board(str(case.parent))
    assert board.names == [case.name]
    opened = board.cases[0].case
    assert opened.headline in leadership.case_page(board.cases[0])
    assert opened.spike.title in leadership.overview_page(board)


# ---------------------------------------------------------------- what is refused


def spoil(case: Path, name: str, value: object) -> None:
    """Another value in case.json; `a.b`: b inside of a."""
    file = case / "case.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    *path, last = name.split(".")
    inner = about
    for part in path:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    file.write_text(json.dumps(about), encoding="utf-8")


HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("currency", [HOSTILE, "usd", "USDX", "US", "", "USD\n", 7, ["USD"]])
def test_a_currency_is_three_capital_letters_wherever_a_case_is_read(
    case: Path, currency: object
) -> None:
    spoil(case, "currency", currency)
    for read in (cw.open_case, lambda place: leadership.open_board(str(place.parent))):
        with pytest.raises(
            InputError, match=r"the currency in .*case\.json is not a code of ISO 4217"
        ):
            read(case)


def test_the_evidence_and_the_company_have_a_currency_too(case: Path) -> None:
    spoil(case, "outline.about.currency", HOSTILE)
    with pytest.raises(InputError, match="ISO 4217"):
        investigate_again(case)
    (case.parent / "company.json").write_text(json.dumps({"currency": HOSTILE}))
    with pytest.raises(InputError, match=r"the currency in .*company\.json"):
        leadership.open_board(str(case.parent))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("spike.verdict", HOSTILE, "there is no verdict"),
        ("spike.status", HOSTILE, "there is no status"),
        ("spike.excess_cost", HOSTILE, "Expected `float`"),
        ("spike.start", HOSTILE, "Invalid RFC3339"),
        ("as_of", HOSTILE, "Invalid isoformat"),
        ("no_recorded_change", HOSTILE, "could not convert"),
        ("spike", None, "no 'spike'"),
        ("remainders.drivers", None, "no 'drivers'"),
    ],
)
def test_a_case_json_that_is_not_one_of_ours_says_what_is_wrong(
    case: Path, name: str, value: object, words: str
) -> None:
    spoil(case, name, value)
    with pytest.raises(InputError, match="is not one of costwhy's") as raised:
        cw.open_case(case)
    assert words in str(raised.value)


def test_a_behaviour_of_an_unknown_kind_is_refused(case: Path) -> None:
    file = case / "tables" / "behaviour.parquet"
    pl.read_parquet(file).with_columns(kind=pl.lit(HOSTILE)).write_parquet(file)
    with pytest.raises(InputError, match="there is no kind of behaviour"):
        cw.open_case(case)
