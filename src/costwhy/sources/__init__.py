"""What costwhy reads: `cost`, `changes`, `signals` and `owners`, the four lists of costwhy.toml.

`registry.py` names every format; docs/add-a-source.md says how to add one.
"""
