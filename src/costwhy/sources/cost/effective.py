"""Both costs of the line items of AWS, for each type, by AWS's own rules.

EffectiveCost is amortised cost: an upfront fee is 0 and comes back hour by hour, in the usage that
its commitment covered, and as the unused part in its recurring fee. docs/effective-cost.md has the
whole table with AWS's pages. Where a report has net columns, discounts are folded into its rows,
and both costs are net.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from costwhy.sources.cost.sql import coalesce, literal

TYPE = "line_item_line_item_type"
UNBLENDED, NET = "line_item_unblended_cost", "line_item_net_unblended_cost"
PARENT = "split_line_item_parent_resource_id"
COVERED = ("SavingsPlanCoveredUsage", "DiscountedUsage")
UNUSED = ("SavingsPlanRecurringFee", "RIFee")
USAGE = ("Usage", *COVERED)
OF_PLAN = ("SavingsPlanNegation", "SavingsPlanUpfrontFee", UNUSED[0], COVERED[0])
OF_RESERVATION = (UNUSED[1], COVERED[1])
REFUNDS = ("Refund", "SavingsPlanRefund")
ONCE = ("Fee", "SavingsPlanUpfrontFee", *REFUNDS)  # paid at once, for however long
DISCOUNTS = (
    "Discount",
    "BundledDiscount",
    "DistributorDiscount",
    "EdpDiscount",
    "PrivateRateDiscount",
    "RiVolumeDiscount",
    "SppDiscount",
)
CATEGORY = {
    **dict.fromkeys(USAGE, "Usage"),
    **dict.fromkeys(("Fee", "FlatRateSubscription", "SavingsPlanUpfrontFee", *UNUSED), "Purchase"),
    "Tax": "Tax",
    "Credit": "Credit",
    **dict.fromkeys((*REFUNDS, *DISCOUNTS, "SavingsPlanNegation"), "Adjustment"),
}
PLAN = (
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
)
PLAN_FEES = (
    "savings_plan_amortized_upfront_commitment_for_billing_period",
    "savings_plan_recurring_commitment_for_billing_period",
)
RESERVATION = "reservation_effective_cost"
UNUSED_RESERVATION = (
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
)
SPLIT = ("split_line_item_split_cost", "split_line_item_unused_cost")
# What the description of a refund says
OF_UPFRONT = "one-time|upfront|up-front|sign[- ]?up"
OF_COMMITMENT = "savings ?plan|subscription|reserv"
OF_OTHER = "hourly|monthly|recurring|usage|discount|tax|credit"
INSTANCE_HOURS = "(Box|Spot|Dedicated|Host|Sched)Usage"

Sql = Callable[[str], str]  # SQL of a column by AWS's name in snake_case; of an absent one a null


def one_of(sql: str, values: tuple[str, ...]) -> str:
    """SQL that is true where a text is one of these."""
    return f"{sql} IN ({', '.join(map(literal, values))})"


@dataclass(frozen=True)
class Lines:
    """SQL of the costs of a report's rows.

    has            whether the report has a column
    raw, words, amount  SQL of a column as it is, as text, and as number
    net            the net columns have values
    """

    has: Callable[[str], bool]
    raw: Sql
    words: Sql
    amount: Sql
    net: bool

    @cached_property
    def kind(self) -> str:
        """The type of a row, as it is written: it is asked for often."""
        return self.raw(TYPE)

    @cached_property
    def plans(self) -> bool:
        """Whether the fees of savings plans can be spread over their term."""
        return all(map(self.has, PLAN))

    @cached_property
    def reservations(self) -> bool:
        """Whether the fees of reservations can be spread over their term."""
        return self.has(RESERVATION) and any(map(self.has, UNUSED_RESERVATION))

    @cached_property
    def billed(self) -> str:
        """BilledCost: what the invoice says. A pod's share is billed with its instance: 0."""
        own = self.amount(UNBLENDED)
        if self.net:
            folded = f"CASE WHEN {one_of(self.kind, DISCOUNTS)} THEN 0 ELSE {own} END"
            own = f"coalesce({self.amount(NET)}, {folded})"
        if not self.has(PARENT):
            return own
        return f"coalesce({own}, CASE WHEN {self.is_share} THEN 0 END)"

    @cached_property
    def effective(self) -> str:
        """EffectiveCost, before the cost of an instance is split."""
        rules = {
            name: f"CASE WHEN {is_upfront} THEN 0 ELSE {self.billed} END"
            for name, is_upfront in self._upfront.items()
        }
        if self.plans:
            rules["SavingsPlanNegation"] = "0"
            rules["SavingsPlanCoveredUsage"] = f"coalesce({self._net(PLAN[0])}, {self.billed})"
            rules["SavingsPlanRecurringFee"] = self._unused_plan()
        if self.reservations:
            rules["DiscountedUsage"] = f"coalesce({self._net(RESERVATION)}, {self.billed})"
            rules["RIFee"] = self._sum(UNUSED_RESERVATION)
        cases = " ".join(f"WHEN {literal(name)} THEN {sql}" for name, sql in rules.items())
        return f"CASE {self.kind} {cases} ELSE {self.billed} END" if rules else self.billed

    @cached_property
    def upfront(self) -> str:
        """True for the upfront fee of a commitment, and for a refund of one."""
        cases = " ".join(f"WHEN {literal(name)} THEN {sql}" for name, sql in self._upfront.items())
        return f"CASE {self.kind} {cases} ELSE false END" if cases else "false"

    @cached_property
    def note(self) -> str:
        """What is odd about how a row counts; null where nothing is."""
        named = f"coalesce(left({self.words(TYPE)}, 40), '(none)')"
        unknown = f"NOT coalesce({one_of(self.kind, tuple(CATEGORY))}, false)"
        notes = [
            f"WHEN {unknown} THEN 'line item type ' || {named} || ' is not known: as billed'",
            *([] if self.plans else [self._as_billed("savings plans", OF_PLAN, PLAN)]),
            *(
                []
                if self.reservations
                else [
                    self._as_billed(
                        "reservations", OF_RESERVATION, (RESERVATION, *UNUSED_RESERVATION)
                    )
                ]
            ),
        ]
        return f"CASE {' '.join(notes)} END"

    @cached_property
    def is_share(self) -> str:
        """True for a pod or a task: its row is a part of what an instance costs."""
        return f"{self.words(PARENT)} IS NOT NULL"

    @cached_property
    def split(self) -> dict[str, str]:
        """Split cost allocation: whether a row is a part, and of what cost; and the instance of
        which a row is a part, or whose hours it is. Empty where the report has none.
        """
        if not self.has(PARENT):
            return {}
        parent, own = (_id(self.words(name)) for name in (PARENT, "line_item_resource_id"))
        hours = f"regexp_matches({self.words('line_item_usage_type')}, '{INSTANCE_HOURS}')"
        return {
            "is_share": self.is_share,
            "share": self._sum(SPLIT),
            "instance": f"CASE WHEN {self.is_share} THEN {parent} "
            f"WHEN {one_of(self.kind, USAGE)} AND {hours} THEN {own} END",
        }

    @cached_property
    def _upfront(self) -> dict[str, str]:
        """By type: whether a row is an upfront fee of a commitment, or a refund of one."""
        arn = "reservation_reservation_a_r_n"  # only in reports with resource ids
        own = (
            f"{self.words(arn)} IS NOT NULL"
            if self.has(arn)
            else f"coalesce({self.words('line_item_usage_type')} LIKE '%HeavyUsage%', false)"
        )
        of_plan = f"{self.words('savings_plan_savings_plan_a_r_n')} IS NOT NULL"
        either = [own] * self.reservations + [of_plan] * self.plans
        rules = {"Fee": own} if self.reservations else {}
        if self.plans:
            rules["SavingsPlanUpfrontFee"] = "true"
        return rules | dict.fromkeys(REFUNDS, self._refunded(" OR ".join(either))) if either else {}

    def _refunded(self, of_commitment: str) -> str:
        says = f"coalesce(lower({self.words('line_item_line_item_description')}), '')"
        return (
            f"CASE WHEN regexp_matches({says}, '{OF_UPFRONT}') "
            f"THEN {of_commitment} OR regexp_matches({says}, '{OF_COMMITMENT}') "
            f"WHEN regexp_matches({says}, '{OF_OTHER}') THEN false ELSE {of_commitment} END"
        )

    def _as_billed(self, what: str, kinds: tuple[str, ...], needs: tuple[str, ...]) -> str:
        lacks = ", no column ".join(name for name in needs if not self.has(name))
        why = f"{what} as billed, not spread over their term: no column {lacks}"
        return f"WHEN {one_of(self.kind, kinds)} THEN {literal(why)}"

    def _unused_plan(self) -> str:
        """Commitment less what was used of it, net by the share by which the plan's fee is."""
        total, used = (self.amount(name) for name in PLAN[1:])
        unused = f"coalesce({total} - coalesce({used}, 0), 0)"
        if not self.net:
            return unused
        usual = " + ".join(f"coalesce({self.amount(name)}, 0)" for name in PLAN_FEES)
        fee = f"{self.amount(NET)} / nullif({self.amount(UNBLENDED)}, 0)"
        return f"{unused} * coalesce(({self._sum(PLAN_FEES)}) / nullif({usual}, 0), {fee}, 1)"

    def _sum(self, names: tuple[str, ...]) -> str:
        return " + ".join(f"coalesce({self._net(name)}, 0)" for name in names)

    def _net(self, name: str) -> str:
        """A column, or its net twin where that has a value."""
        twins = [
            self.amount(re.sub("^(savings_plan|reservation|split_line_item)_", r"\1_net_", name))
        ]
        return coalesce([*twins * self.net, self.amount(name)])


def _id(sql: str) -> str:
    """The id of a resource that may be named by its ARN."""
    return f"CASE WHEN contains({sql}, '/') THEN regexp_extract({sql}, '[^/]+$') ELSE {sql} END"
