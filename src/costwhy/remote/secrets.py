"""Secrets named in costwhy.toml: from environment variables, or from files."""

import os
from pathlib import Path

from costwhy.errors import ConfigError


def secret_of_variable(name: str, key: str) -> str:
    """A secret from an environment variable; `key`: where costwhy.toml names it.

    Raises ConfigError.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"`{key}` names an environment variable that is not set", found=name, fix=f"set {name}"
        )
    return _printable(value, key)


def secret_of_file(file: Path, key: str) -> str:
    """A secret from a file, such as one that Kubernetes mounts. Raises ConfigError."""
    try:
        value = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"`{key}` names a file that cannot be read",
            found=f"{file}: {type(error).__name__}",
            fix="fix the path or its permissions",
        ) from None
    if not value:
        raise ConfigError(f"`{key}` names an empty file", found=str(file), fix="write it there")
    return _printable(value, key)


def _printable(value: str, key: str) -> str:
    if not value.isprintable():
        raise ConfigError(
            f"the secret of `{key}` is not one line of text",
            found="a control character in it",
            fix="set it again",
        )
    return value
