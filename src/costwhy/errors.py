"""Every error that costwhy raises on purpose.

    CostwhyError                 base of all; `exit_code` is what the command line returns
    ├── UsageError          2    the command line, or a call, asks for what does not exist
    ├── InputError          3    an input file or the configuration is wrong
    │   ├── ConfigError     3    costwhy.toml: names the key's path in the file
    │   └── SourceError     3    a source's files: none found, unreadable as a whole
    ├── LakeError           3    the lake is missing, of another format, or locked by another writer
    ├── UnreachableError    4    a source could not be reached: network, credentials, service down
    │   └── SendError       4    a message could not be delivered
    └── DifferenceError     5    `verify` found other numbers

A message has up to three parts: the problem, what was found, and how to fix it. A row that cannot
be read is no error: it is set aside with its reason, counted and shown.
"""


class CostwhyError(Exception):
    """Base of all errors raised on purpose; `str(error)` is a message for people."""

    exit_code = 1

    def __init__(self, problem: str, *, found: str = "", fix: str = "") -> None:
        self.problem, self.found, self.fix = problem, found, fix
        parts = [problem, f"Found: {found}" if found else "", f"To do: {fix}" if fix else ""]
        super().__init__("\n".join(part for part in parts if part))


class UsageError(CostwhyError):
    """The command line, or a call, asks for something that does not exist."""

    exit_code = 2


class InputError(CostwhyError):
    """An input file or the configuration is wrong."""

    exit_code = 3


class ConfigError(InputError):
    """costwhy.toml is wrong; the message names the key's path in the file."""


class SourceError(InputError):
    """A source's files are missing or unreadable as a whole."""


class LakeError(CostwhyError):
    """The lake is missing, of another format, or locked by another writer."""

    exit_code = 3


class UnreachableError(CostwhyError):
    """A source could not be reached: network, credentials, or the service is down."""

    exit_code = 4


class SendError(UnreachableError):
    """A message could not be delivered to its channel."""


class DifferenceError(CostwhyError):
    """`verify` recomputed a case and found other numbers."""

    exit_code = 5
