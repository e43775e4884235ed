"""What all signals have in common: the metrics, their key, and why a row cannot be used."""

from enum import StrEnum
from functools import partial

import polars as pl

from costwhy import behaviours
from costwhy.sources.format import Format

KEY = ("hour", "service", "caller", "metric")
MAX_NAME = 1000  # Bytes of the longest name of a service or caller

# A format of signals; what differs is how they are read or asked
signals_format = partial(
    Format,
    section="signals",
    source="signals",
    cannot_show="calls that no signal is recorded for",
    every_hour=True,
)


class Metric(StrEnum):
    """What a signal counts. Two have the name of the behaviour that they show."""

    CALLS = "calls"
    RETRIES = behaviours.RETRIES
    ERRORS = "errors"
    BYTES = "bytes"
    CAPACITY = behaviours.CAPACITY


METRICS = tuple(metric.value for metric in Metric)


def odd_names() -> tuple[tuple[pl.Expr, str], ...]:
    """Faults: no service, or a name that is hostile or by accident."""
    names = pl.col("service", "caller")
    odd = names.str.contains(r"[\x00-\x1f\x7f]") | (names.str.len_bytes() > MAX_NAME)
    return (
        (pl.col("service").is_null(), "there is no service"),
        (
            pl.any_horizontal(odd),
            f"a name has control characters or more than {MAX_NAME} bytes",
        ),
    )


def first_fault(*faults: tuple[pl.Expr, str]) -> pl.Expr:
    """The reason of the first fault that a row has; null: it can be used."""
    return pl.coalesce(pl.when(fault).then(pl.lit(reason)) for fault, reason in faults)
