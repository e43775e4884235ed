"""TODO remote/secrets.py"""

import os
from pathlib import Path

from costwhy.errors import ConfigError


def secret_of_variable(name: str, key: str) -> str:
    """A secret from an environment variable; `key`: where costwhy.toml names it. Raises ConfigError."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"`{key}` names an environment variable that is not set", found=name, fix=f"set {name}"
        )
    return _one_line(value, key)


def secret_of_file(file: Path, key: str) -> str:
    """A secret from a file, such as one that Kubernetes mounts. Raises ConfigError."""
    try:
        value = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        found = f"{file}: {type(error).__name__}"
        raise ConfigError(
            f"`{key}` names a file that cannot be read",
            found=found,
            fix="mend the path or its permissions",
        ) from None
    if not value:
        raise ConfigError(
            f"`{key}` names an empty file", found=str(file), fix="write the secret into it"
        )
    return _one_line(value, key)


def _one_line(value: str, key: str) -> str:
    if not value.isprintable():
        raise ConfigError(
            f"the secret of `{key}` is not one line of text",
            found="a control character in it",
            fix="set it again",
        )
    return value
