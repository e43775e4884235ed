"""TODO lake/checkpoint.py"""


def step(_name: str) -> None:
    """A point at which the tests of recovery kill the writer; otherwise nothing."""
