"""The team tags of the bill as owners; nothing else is read. docs/owners.md"""

from costwhy.sources.format import Format, SourceConfig


class Config(SourceConfig, frozen=True, kw_only=True):
    """The team tags of cost rows; there is nothing to name."""


FORMAT = Format(section="owners", source="tags", config=Config)
