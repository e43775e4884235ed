"""A bill with the shape of a company's: a heavy tail, thirty tag keys of which two are wanted, many resources.

Three accounts, four regions, 300 usage types, 200 services. 60 % of the lines are of resources that stay, 40 % of such as live six
hours. Parquet by the folder of its month, two files each.
"""

from pathlib import Path

import duckdb

from costwhy.sources.cost.sql import literal

TOML = """[workspace]
name = "shape"
currency = "USD"
[lake]
path = "lake"
[[cost]]
format = "focus"
path = "bill/"
"""
HOURS = 30 * 24
FILES = 2


def make(folder: Path, lines: int, months: tuple[str, ...] = ("2026-09", "2026-10")) -> list[Path]:
    """A workspace with a bill of so many lines; what is there already stays. Returns the bill's files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "costwhy.toml").write_text(TOML)
    files = []
    for month in months:
        place = folder / "bill" / f"BILLING_PERIOD={month}"
        place.mkdir(parents=True, exist_ok=True)
        for part in range(FILES):
            file = place / f"part-{part:02d}.parquet"
            files.append(file)
            if not file.exists():
                _write(file, lines // len(months), month, part)
    return files


def _write(file: Path, lines: int, month: str, part: int) -> None:
    draft = file.with_suffix(".draft")
    with duckdb.connect(config={"threads": 2, "memory_limit": "3GB"}) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"SELECT setseed(0.{part + 1})").fetchall()
        connection.execute(
            f"COPY ({_query(lines, month, part)}) TO {literal(str(draft))} (FORMAT parquet, COMPRESSION zstd)"
        )
    draft.rename(file)


def _query(lines: int, month: str, part: int) -> str:
    hours = HOURS // FILES
    each = max(1, lines // HOURS)
    more = ", ".join(
        f"'key-{k:02d}': CASE WHEN (r + {k}) % 3 <> 0 THEN 'value-' || ((r * {k + 7}) % 50) END"
        for k in range(25)
    )
    tags = f"""MAP {{'service': CASE WHEN r % 17 <> 0 THEN 'svc-' || s END, 'team': CASE WHEN r % 11 <> 0 THEN 'team-' || (s % 40) END,
        'cost-center': 'cc-' || (s % 25), 'env': ['prod', 'stage', 'dev'][1 + s % 3], 'Name': 'node-' || r, {more}}}"""
    return f"""WITH base AS (SELECT i // {each} AS h, i % {each} AS n, random() AS v, random() AS w FROM range({each * hours}) t(i)),
      named AS (SELECT *, CASE WHEN n < 0.6 * {each} THEN n // 2
        ELSE {each} + (n + (h + {part * hours}) // 6 * CAST(0.4 * {each} AS BIGINT)) % 93000 END AS r FROM base),
      kinds AS (SELECT *, CAST(floor(200 * pow((hash(r) % 100000) / 100000.0, 2)) AS BIGINT) AS s,
        CAST(floor(20 * pow((hash(r + 7 * n) % 1000) / 1000.0, 2)) AS BIGINT) AS j FROM named),
      typed AS (SELECT *, CAST((s * 7 + j) % 300 AS BIGINT) AS u, (s + (hash(r) % 5 = 0)::INT) % 3 AS a,
        r % 9 = 0 AND w < 0.7 AS committed FROM kinds)
      SELECT TIMESTAMP '{month}-01' + to_hours(CAST({part * hours} + h AS INTEGER)) AS ChargePeriodStart,
        ChargePeriodStart + INTERVAL 1 HOUR AS ChargePeriodEnd, TIMESTAMP '{month}-01' AS BillingPeriodStart, 'USD' AS BillingCurrency,
        'AWS' AS ProviderName, '104729331806' AS BillingAccountId, CAST(200000000000 + a AS VARCHAR) AS SubAccountId, 'account-' || a AS SubAccountName,
        'region-' || ((s + (hash(r + 1) % 7 = 0)::INT) % 4) AS RegionId, 'Compute' AS ServiceCategory, 'Service ' || (u // 5) AS ServiceName,
        'Code' || (u // 5) AS x_ServiceCode, 'Usage-' || u AS x_UsageType, 'Operation' || (u % 40) AS x_Operation, 'Usage' AS ChargeCategory,
        CASE WHEN committed THEN 'Committed' ELSE 'Standard' END AS PricingCategory, CASE WHEN committed THEN 'Used' END AS CommitmentDiscountStatus,
        ['Hrs', 'GB', 'Requests'][1 + u % 3] AS ConsumedUnit, 'arn:aws:thing:' || r AS ResourceId, {tags} AS Tags,
        round(3 * v, 6) AS ConsumedQuantity, round(ConsumedQuantity * 0.0412, 10) AS EffectiveCost, EffectiveCost AS BilledCost,
        EffectiveCost AS ListCost FROM typed"""
