"""What speaks for each change of the days before a spike: when, where and of what kind it was.

A change after the onset is no evidence. Where a change was made is compared with the place of each
rate that moved (`PLACES`), its kind with the kind of behaviour (`Behaviour.mechanism`).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from costwhy.arrays import Array
from costwhy.behaviours import AMPLIFIED, BY_ACCOUNT, BY_KIND, CAPACITY, CHANGE_KINDS
from costwhy.causes.changes import KnownChanges, Mask, Texts, hour_of, records_naming
from costwhy.text import arn_tail

Codes = npt.NDArray[np.int64]

LOOK_BACK = timedelta(hours=72)
UNDO_BEFORE, UNDO_AFTER = timedelta(hours=3), timedelta(hours=2)  # around the end of a spike
SAME_DECISION = timedelta(minutes=20)  # between the records of one decision
STORED = re.compile(r"ByteHrs|Storage|Snapshot|Backup|VolumeUsage", re.IGNORECASE)  # usage types

# How well each kind of change fits capacity of stored bytes, see `Behaviour.mechanism`.
STORED_MECHANISM = (0.25, 0.35, 0.10, 0.10, 0.30, 0.05, 0.30, 0.15, 0.01, 1.00, 0.02, 0.01, 0.10)

PLACES = ("resource", "newborn", "moved", "callee", "upstream", "account", "elsewhere")
"""How near a change is to a moved rate, nearest first; the first that holds counts.

resource   it names a resource that was first billed when the spike began
newborn    it is the first change of a service that began with the spike
moved      it touched the service whose rate moved, or the caller that amplified
callee     it touched the service that is called, or the caller of the service whose rate moved
upstream   it touched another service that calls one of these
account    it touched no known service, in an account of the spike, where that may be the cause
elsewhere  anything else
"""


@dataclass(frozen=True)
class MovedRate:
    """A behaviour that a change must explain, with its share of the spike's absolute dollars."""

    kind: str
    service: str | None
    caller: str | None
    usage_type: str | None
    share: float


@dataclass(frozen=True)
class Onset:
    """What a change must explain: R rates that moved, and when: within [since, start + blur).

    end         when the spike ended; null: it goes on
    callers_of  the services that call a service
    newborn     services that began with the spike
    accounts    of the spike's own meters
    resources   first billed when the spike began
    """

    rates: tuple[MovedRate, ...]
    since: datetime
    start: datetime
    blur: timedelta
    end: datetime | None
    callers_of: dict[str, frozenset[str]]
    newborn: frozenset[str]
    accounts: frozenset[str]
    resources: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Evidence:
    """What speaks for the n changes of the days before the onset.

    near    where they are among the known changes
    lag     n, hours before the earliest hour of the onset; 0: in the hours of the onset
    place   R x n, index into PLACES
    fit     R x n, how well its kind fits as the cause, see `Behaviour.mechanism`
    undone  n, whether it was taken back when the spike ended
    """

    near: slice
    lag: Array
    place: Codes
    fit: Array
    undone: Mask


def gather(changes: KnownChanges, onset: Onset) -> Evidence:
    """The changes of the days before the onset, and what speaks for each."""
    near = changes.between(onset.since - LOOK_BACK, onset.start + onset.blur)
    lag = np.maximum(0.0, hour_of(onset.since) - changes.hours[near])
    named = records_naming(changes.rows[near], [arn_tail(name) for name in onset.resources])
    begun = _began(changes, near, onset.newborn)
    shape = (len(onset.rates), lag.size)
    places = [_places(changes, near, rate, onset, named, begun) for rate in onset.rates]
    fits = [_fits(changes.doing[near], rate) for rate in onset.rates]
    return Evidence(
        near,
        lag,
        np.array(places, dtype=np.int64).reshape(shape),
        np.array(fits, dtype=float).reshape(shape),
        _undone(changes, near, onset),
    )


def _places(
    changes: KnownChanges, near: slice, rate: MovedRate, onset: Onset, named: Mask, begun: Mask
) -> Codes:
    """How near each change is to a rate: the first of PLACES that holds."""
    service = changes.service[near]
    ends = (rate.caller, rate.service) if rate.kind in AMPLIFIED else (rate.service, rate.caller)
    upstream = {caller for name in ends for caller in onset.callers_of.get(name or "", ())}
    account = changes.rows["account"][near].to_numpy().astype(object)
    unnamed = np.array([name is None for name in service], dtype=bool)
    rules = {
        "resource": named,
        "newborn": begun,
        "moved": _among(service, {ends[0]}),
        "callee": _among(service, {ends[1]}),
        "upstream": _among(service, upstream),
        "account": unnamed & _among(account, onset.accounts) & (rate.kind in BY_ACCOUNT),
    }
    codes = [PLACES.index(place) for place in rules]
    return np.select(list(rules.values()), codes, PLACES.index("elsewhere"))


def _among(texts: Texts, names: Collection[str | None]) -> Mask:
    """Which texts are one of these names; a null is none."""
    return np.isin(texts, [name for name in names if name is not None])


def _began(changes: KnownChanges, near: slice, newborn: frozenset[str]) -> Mask:
    """The first change of each new service, with the records of the same minutes.

    What came later changed a service that was already there.
    """
    out = np.zeros(near.stop - near.start, dtype=bool)
    for service in newborn:
        hits = changes.service == service
        if hits.any():
            first = changes.hours[hits][0] + SAME_DECISION / timedelta(hours=1)
            out |= hits[near] & (changes.hours[near] <= first)
    return out


def _fits(doing: Texts, rate: MovedRate) -> list[float]:
    stored = rate.kind == CAPACITY and STORED.search(rate.usage_type or "")
    mechanism = STORED_MECHANISM if stored else BY_KIND[rate.kind].mechanism
    fit = dict(zip(CHANGE_KINDS, mechanism, strict=True))
    return [fit.get(kind, fit["other"]) for kind in doing]


def _undone(changes: KnownChanges, near: slice, onset: Onset) -> Mask:
    """Which changes were taken back when the spike ended.

    By a rollback of the service, or by the same call on it once more; a second deployment is none.
    """
    if onset.end is None:
        return np.zeros(near.stop - near.start, dtype=bool)
    first = max(onset.end - UNDO_BEFORE, onset.start + onset.blur)
    last = changes.between(first, onset.end + UNDO_AFTER)
    late = list(zip(changes.service[last], changes.call[last], changes.doing[last], strict=True))
    rolled_back = {service for service, _, kind in late if kind == "rollback"} - {None}
    again = {
        (service, call) for service, call, kind in late if service is not None and kind != "deploy"
    }
    calls = zip(changes.service[near], changes.call[near], strict=True)
    return np.array([call[0] in rolled_back or call in again for call in calls], dtype=bool)
