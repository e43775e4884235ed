"""TODO sources/registry.py"""

from types import ModuleType

from costwhy.sources.changes import autoscaling, cdevents, cloudtrail
from costwhy.sources.owners import backstage, codeowners
from costwhy.sources.signals import long_table as signals

READERS: dict[str, tuple[ModuleType, str]] = {
    "cloudtrail": (cloudtrail, "changes"),
    "cdevents": (cdevents, "changes"),
    "autoscaling": (autoscaling, "changes"),
    "signals": (signals, "signals"),
    "backstage": (backstage, "catalog"),
    "codeowners": (codeowners, "catalog"),
}
