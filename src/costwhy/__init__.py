"""costwhy: why did the cloud bill move? Which behaviour, which change, whose decision, and is it still running."""

from costwhy.case import Case, explain, find_spikes, investigate, investigate_window, nobody_owns, overview
from costwhy.drivers import find_drivers
from costwhy.lake import Lake, open_lake

__all__ = ["Case", "Lake", "explain", "find_drivers", "find_spikes", "investigate", "investigate_window", "nobody_owns", "open_lake", "overview"]
