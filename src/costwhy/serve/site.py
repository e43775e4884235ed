"""What is served: under which names, from where, within which bounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from costwhy.serve.requests import GuardedRequest


@dataclass(frozen=True)
class Site:
    """The settings of a guard.

    `origins`: Origin by Host, {"costs.example.com": "https://costs.example.com"}. `most_bytes`: of
    a request's body; of a login's the 64th part. `patience`: seconds within which a body must
    arrive. `watch`: seconds between two checks of an open page's visitor. `keep`: seconds that a
    session keeps its owner after its last WebSocket, longer than marimo keeps the session.
    """

    origins: Mapping[str, str]
    published: str
    notebook: Path
    most_bytes: int = 256 * 1024
    patience: float = 20.0
    watch: float = 10.0
    keep: float = 300.0

    def is_https(self, request: GuardedRequest) -> bool:
        """Whether the viewer's browser speaks HTTPS."""
        return request.https or self.origin_of(request).startswith("https:")

    def is_same_origin(self, request: GuardedRequest) -> bool:
        """Whether a page of this site sent the request."""
        return request.header("origin") == self.origin_of(request) != ""

    def origin_of(self, request: GuardedRequest) -> str:
        """The Origin that belongs to the request's Host; empty where the Host is not ours."""
        return self.origins.get(request.header("host") or "", "")
