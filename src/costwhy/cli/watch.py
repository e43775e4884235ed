"""TODO cli/watch.py"""

import argparse
import getpass
import json
import time
from datetime import UTC, datetime

from costwhy.cli.explain import lake_of
from costwhy.cli.terminal import complain, errors, one_line_of, out, show_tables
from costwhy.errors import CostwhyError, UsageError
from costwhy.text import iso_time


def run_watch(wish: argparse.Namespace) -> None:
    """costwhy watch"""
    from costwhy.config import read_workspace
    from costwhy.text import clock
    from costwhy.watch.watch import watch

    while True:
        try:
            report = watch(read_workspace(wish.workspace), url=wish.url, dry_run=wish.dry_run)
            for event in report.waiting if wish.dry_run else ():
                out.print("\n".join(map(one_line_of, (event.message.title, *event.message.lines))) + "\n", soft_wrap=True)
            later = f"{len(report.waiting)} would be sent" if wish.dry_run else f"{len(report.waiting)} to be sent later"
            errors.print(f"{len(report.sent)} sent, {later}")
            for pause in report.pauses:
                errors.print(f"  waiting: {one_line_of(pause.wrong)}; next try {clock(pause.until)}", soft_wrap=True)
            if report.faults:
                for fault in report.faults[1:]:
                    complain(fault)
                raise report.faults[0]
        except CostwhyError as error:
            if wish.every is None:
                raise
            complain(error)  # the next look may go better
        if wish.every is None:
            return
        time.sleep(wish.every)


def run_say(wish: argparse.Namespace) -> None:
    """costwhy say"""
    from costwhy.feedback.savings import savings, savings_table
    from costwhy.feedback.verdicts import say, verdict_table

    workspace, words = _workspace_and(wish, 2, "costwhy say [WORKSPACE] SPIKE VERDICT")
    lake = lake_of(workspace)
    if wish.list:
        show_tables({"verdicts": verdict_table(lake), "savings": savings_table(savings(lake))}, lake.currency, as_json=wish.json)
        return
    told = say(lake, words[0], words[1], wish.note, wish.who or getpass.getuser())
    if wish.json:
        print(
            json.dumps(
                {"spike_id": told.spike.spike_id, "verdict": told.verdict, "note": told.note, "who": told.who, "at": iso_time(told.at)}
            )
        )
        return
    out.print(one_line_of(f"{told.who}: {told.spike.spike_id} is {told.verdict}"))


def run_plan(wish: argparse.Namespace) -> None:
    """costwhy plan"""
    from costwhy.feedback.plans import nearest_services, plan, plan_table

    workspace, words = _workspace_and(wish, 1, "costwhy plan [WORKSPACE] SERVICE --reason WHY --until TIME")
    lake = lake_of(workspace)
    if wish.list:
        show_tables({"plans": plan_table(lake)}, lake.currency, as_json=wish.json)
        return
    if wish.until is None or not wish.reason:
        raise UsageError("a plan needs a reason and an end", todo="give --reason and --until")
    window = (wish.start or datetime.now(UTC), wish.until)
    made = plan(lake, words[0], wish.reason, window, wish.cost_per_day, wish.who or getpass.getuser())
    nearest = nearest_services(lake, made.service)
    if nearest is not None:
        hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
        errors.print(
            f"[yellow]note:[/] {one_line_of(f'no signal, bill or catalogue knows the service {made.service!r} yet{hint}')}", soft_wrap=True
        )
    if wish.json:
        times = {"start": iso_time(made.start), "until": iso_time(made.until), "at": iso_time(made.at)}
        print(json.dumps({"service": made.service, "reason": made.reason, **times, "cost_per_day": made.cost_per_day, "who": made.who}))
        return
    out.print(one_line_of(f"{made.who}: {made.service} may cost more until {iso_time(made.until)}: {made.reason}"))


def _workspace_and(wish: argparse.Namespace, count: int, usage: str) -> tuple[str, list[str]]:
    """The workspace, this folder where none is named, and the `count` words behind it; none with --list."""
    wanted = 0 if wish.list else count
    if len(wish.words) not in {wanted, wanted + 1}:
        raise UsageError("too many or too few words", found=" ".join(wish.words) or "none", todo=usage)
    return (wish.words[0] if len(wish.words) > wanted else "."), wish.words[len(wish.words) - wanted :]
