"""The commands of `costwhy`."""
