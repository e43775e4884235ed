"""Walls for the tests of publishing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from walls import TOKEN, Site, wall

from costwhy.served.auth import Auth


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A wall that asks for a token."""
    with wall(tmp_path, Auth(token=TOKEN), patience=0.5, watch=0.1) as running:
        yield running
