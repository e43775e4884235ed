"""Text from outside is cleaned in one way wherever it is shown, stored or logged."""

import re
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from costwhy.text import clean, iso_time, money, one_line, shortened, shown, to_utc

REMOVED = {
    "the terminal": "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]",
    "messages": "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]",
    "tables": "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]",
    "pages": "[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]",
}
ALL = [chr(code) for code in range(sys.maxunicode + 1)]


@pytest.mark.parametrize("where", REMOVED)
def test_no_character_passes_that_was_removed_anywhere_before(where):
    class_of_before = re.compile(REMOVED[where])
    assert all(clean(char) in {"", " "} for char in ALL if class_of_before.match(char))
    assert all(clean(char, "?") == "?" for char in ALL if class_of_before.match(char))


def test_what_the_access_log_replaced_is_still_replaced():
    assert all(clean(char, "?") == "?" for char in ALL if not char.isprintable())


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Größe 価格 €1,048 🙂", "Größe 価格 €1,048 🙂"),
        ("a\x1b[2Jb", "a[2Jb"),
        ("pay\u202ements", "payments"),
        ("one\r\ntwo\u00a0three", "one  two three"),
        ("\ud800half", "half"),
    ],
)
def test_ordinary_text_stays_and_what_is_not_printable_goes(text, cleaned):
    assert clean(text) == cleaned


def test_characters_may_be_kept_or_replaced():
    assert clean("a\n\tb\r", keep="\n\t") == "a\n\tb "
    assert clean("a\n\u200bb", "?") == "a??b"


def test_texts_are_shortened_with_an_ellipsis():
    assert shortened("a  b\nc", 4) == "a  b…"
    assert one_line("a  b\n c", 5) == "a b c"
    assert one_line("a  b\n c", 3) == "a b…"


def test_a_shown_text_has_no_secret_and_no_second_line():
    assert shown("no token s3cret-1\nhere", ("s3cret-1", "no")) == "no token (secret) here"


def test_times_are_utc_and_one_without_a_zone_is_too():
    noon = datetime(2026, 10, 21, 12)
    assert to_utc(noon) == noon.replace(tzinfo=UTC)
    assert iso_time(noon.replace(tzinfo=timezone(timedelta(hours=2)))) == "2026-10-21T10:00:00Z"


def test_money_has_cents_below_a_hundred_and_its_sign_before_the_symbol():
    assert [money(amount) for amount in (1048.4, -20.434, -0.001)] == ["$1,048", "−$20.43", "$0.00"]
