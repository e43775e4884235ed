"""Scaling activities as `aws autoscaling describe-scaling-activities` writes them to JSON files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from costwhy.errors import SourceError
from costwhy.sources.reading import Aside, Reading, aside_frame, change_frame, parse_time, read_text, seen_frame

ENDINGS = (".json", ".json.gz", ".jsonl")
BY_A_PERSON = "user request"


def read(files: Sequence[Path]) -> Reading:
    """Every activity; one that the autoscaler decided by itself is `automated`."""
    rows, asides, seen = [], [], []
    for file in files:
        try:
            activities = msgspec.json.decode(read_text(file), type=dict[str, list[dict[str, object]]])["Activities"]
        except (SourceError, msgspec.DecodeError, KeyError) as error:
            asides.append(Aside(file.name, "", f"not a list of scaling activities: {error!r}"))
            continue
        for number, activity in enumerate(activities):
            try:
                row = _row(activity)
            except (KeyError, ValueError) as error:
                asides.append(Aside(file.name, f"activity {number}", f"not a scaling activity: {error!r}", str(activity)))
                continue
            rows.append(row)
            seen.append((None, parse_time(activity["StartTime"])))
    return Reading(change_frame(rows), aside_frame("autoscaling", asides), seen_frame("autoscaling", seen))


def _row(activity: Mapping[str, object]) -> dict[str, object]:
    cause, group = str(activity.get("Cause") or ""), str(activity["AutoScalingGroupName"])
    person = BY_A_PERSON in cause.lower()
    return {
        "change_id": str(activity["ActivityId"]), "time": parse_time(activity["StartTime"]), "source": "autoscaling", "kind": "scaling",
        "event": "autoscaling:activity", "resource": group, "actor": "a user" if person else "autoscaler", "actor_kind": "person" if person else "service",
        "automated": not person, "summary": str(activity.get("Description") or cause)[:500], "after": cause[:4096],
    }
