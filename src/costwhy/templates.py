"""Jinja2 for all of costwhy's pages: every value is escaped, a missing name is an error."""

import jinja2


def environment(package: str) -> jinja2.Environment:
    """Templates of the folder `templates` in the package."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
