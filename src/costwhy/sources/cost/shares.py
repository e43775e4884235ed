"""Charges that a provider splits among pods: FOCUS 1.3's allocated charges.

A share names whom it is for in AllocatedResourceId. The shares of a charge add up to it, and stand
in its place: what has no AllocatedResourceId beside them is zero, or the part that nobody used, and
counts. Some exports keep the whole charge beside its shares. That is taken for granted where the
charge equals the sum of its shares in every case of a file, and there are three or more, or it is
not marked as split, or the shares' own ratios add up to one. The charge is then set aside.
"""

from collections.abc import Mapping

from costwhy.sources.cost.sql import literal, number, text
from costwhy.sources.format import Ask, Columns

SHARE, METHOD, DETAILS = "AllocatedResourceId", "AllocatedMethodId", "AllocatedMethodDetails"
# What a share has of its charge
SAME = (
    *("ProviderName", "ServiceProviderName", "BillingAccountId", "SubAccountId"),
    *("BillingPeriodStart", "ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory"),
    *("PricingCategory", "CommitmentDiscountId", "CommitmentDiscountStatus"),
    *("ServiceName", "ResourceId", "RegionId", "SkuId", "SkuPriceId"),
)
SPLIT = (SHARE, METHOD, DETAILS, *SAME)
WHOLE = "it is the whole of a charge whose shares are in the file too (AllocatedResourceId)"
DOUBT = (
    "it equals the sum of its shares (AllocatedResourceId) and counts beside them, as what nobody "
    "used; if it is the whole charge, it counts twice"
)
SURE = 3  # charges that all equal the sum of their shares
NOTHING = "NULL::VARCHAR"
_TABLE = '"charges beside shares"'


def whole_charges(columns: Columns, names: Mapping[str, str], ask: Ask) -> tuple[str, str]:
    """SQL of why a row does not count, and of what is odd about it; each null in other rows.

    The first is for the whole of a charge whose shares count, the second for what may be one.
    """
    if SHARE not in names:
        return NOTHING, NOTHING
    _find(columns, names, ask)
    counts = "SELECT count(*), count(*) FILTER (equal), count(*) FILTER (whole)"
    ((charges, equal, whole),) = ask(f"{counts} FROM {_TABLE}")
    if not equal:
        return NOTHING, NOTHING
    sure = equal == charges and (charges >= SURE or whole)
    said = (
        f"CASE WHEN {text(columns, names[SHARE])} IS NULL AND {_key(columns, names)} IN "
        f"(SELECT key FROM {_TABLE} WHERE equal) THEN {literal(WHOLE if sure else DOUBT)} END"
    )
    return (said, NOTHING) if sure else (NOTHING, said)


def _find(columns: Columns, names: Mapping[str, str], ask: Ask) -> None:
    """A table of the charges that stand beside shares and are not zero.

    key    what a share has of its charge, hashed
    cost   what stands beside the shares
    equal  it is the sum of the shares, effective and billed, and their ratios allow it
    whole  it is not marked as split, or the ratios of its shares add up to one
    """
    share, method = (text(columns, names.get(n, n)) for n in (SHARE, METHOD))
    costs = [
        f"coalesce({number(columns, names.get(n, n))}, 0)" for n in ("EffectiveCost", "BilledCost")
    ]
    sums = ", ".join(
        f"sum({cost}) FILTER (WHERE {share} IS {word}) AS {name}{k}"
        for k, cost in enumerate(costs)
        for name, word in (("shares", "NOT NULL"), ("rest", "NULL"))
    )
    details = text(columns, names.get(DETAILS, DETAILS))
    ratios = f"json_extract(TRY_CAST({details} AS JSON), '$.Elements[*].AllocatedRatio')"
    ask(
        f"CREATE OR REPLACE TEMP TABLE {_TABLE} AS SELECT key, "
        f"CASE WHEN rest0 <> 0 THEN rest0 ELSE rest1 END AS cost, "
        f"abs(rest0 - shares0) <= 1e-6 * abs(rest0) AND abs(rest1 - shares1) <= 1e-6 * abs(rest1) "
        f"AND coalesce(ratio >= 0.999, true) AS equal, "
        f"unmarked OR coalesce(ratio >= 0.999, false) AS whole "
        f"FROM (SELECT {_key(columns, names)} AS key, {sums}, "
        f"bool_or({share} IS NULL AND {method} IS NULL) AS unmarked, "
        f"sum(list_avg(TRY_CAST({ratios} AS DOUBLE[]))) "
        f"FILTER (WHERE {share} IS NOT NULL) AS ratio "
        f"FROM raw GROUP BY ALL HAVING count({share}) > 0) WHERE rest0 <> 0 OR rest1 <> 0"
    )


def _key(columns: Columns, names: Mapping[str, str]) -> str:
    there = [text(columns, names[name]) for name in SAME if name in names]
    return f"hash({', '.join(there)})" if there else "0"
