"""A page in a real Chromium, with all that it complained about and asked for elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page

PATIENCE = 60_000  # milliseconds: machines are shared


@dataclass
class Visit:
    """A page, and what it complained about, asked for elsewhere, and was refused."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def visiting(browser: Browser, address: str, **wishes: Any) -> Iterator[Visit]:
    """A visit to the server at this address, in a context of its own; `wishes` are the context's."""
    known = (address, address.replace("http", "ws"), "data:", "blob:")
    context = browser.new_context(**wishes)
    context.set_default_timeout(PATIENCE)
    seen = Visit(context.new_page())

    def requested(url: str) -> None:
        if not url.startswith(known):
            seen.elsewhere.append(url)

    seen.page.on("console", lambda m: seen.complaints.append(m.text) if m.type == "error" else None)
    seen.page.on("pageerror", lambda e: seen.complaints.append(str(e)))
    seen.page.on("request", lambda r: requested(r.url))
    seen.page.on(
        "response",
        lambda r: seen.refused.append(f"{r.status} {r.url}") if r.status >= 400 else None,
    )
    try:
        yield seen
    finally:
        context.close()
