"""The users' file: a name and the scrypt hash of a password on each line.

A line is `NAME:scrypt:N:R:P:SALT:HASH`, with N, R and P of scrypt, salt and hash in base64.
"""

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path

from costwhy.errors import ConfigError, UsageError

SCRYPT = (2**15, 8, 3)
"""n, r, p of new hashes: 32 MB and about 0.2 s; OWASP's first choice, in less memory."""
_MOST_MEMORY = 128 * 2**20  # bytes that a hash of the users' file may ask for; scrypt takes 128 n r
_NAME = re.compile(r"[^\s:\x00-\x1f\x7f]{1,64}")
_LINE = re.compile(
    rf"(?P<name>{_NAME.pattern}):scrypt:"
    r"(?P<n>16384|32768|65536|131072):(?P<r>[89]|[1-9][0-9]):[1-8]:"
    r"(?:[A-Za-z0-9+/]{4}){5,}[A-Za-z0-9+/]{2}(?:[A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==):"  # >= 16 bytes
    r"[A-Za-z0-9+/]{43}="
)
NOBODY = ":".join(["nobody", "scrypt", *map(str, SCRYPT), "A" * 22 + "==", "A" * 43 + "="])
"""Compared with for an unknown name, so that it takes as long as a wrong password."""


def hash_line(name: str, password: str) -> str:
    """A line of the users' file: the name, and the hash of the password with a salt of its own.

    Raises UsageError where the name has a space or a colon, or the password is too short.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "not a valid user name",
            found=repr(name),
            fix="1 to 64 characters without space and colon",
        )
    if len(password) < 10:
        raise UsageError(
            "the password is too short", found=f"{len(password)} characters", fix="use 10 or more"
        )
    return _line(name, password, secrets.token_bytes(16), *SCRYPT)


def _line(name: str, password: str, salt: bytes, n: int, r: int, p: int) -> str:
    memory = _MOST_MEMORY + 2**20
    digest = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=32)
    texts = [base64.b64encode(part).decode("ascii") for part in (salt, digest)]
    return ":".join([name, "scrypt", str(n), str(r), str(p), *texts])


def is_password(line: str, password: str) -> bool:
    """Whether the password belongs to this valid line; compared in constant time."""
    name, _, n, r, p, salt, _ = line.split(":")
    again = _line(name, password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(again.encode(), line.encode())


def read_users(file: Path) -> dict[str, str]:
    """Lines by user, without empty lines and those that begin with #.

    Raises ConfigError where the file cannot be read, a line is wrong or a name is there twice (with
    the line's number), or no user is left.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the users' file cannot be read",
            found=f"{file}: {error}",
            fix="give a text file of hash lines",
        ) from error
    users: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        user = _LINE.fullmatch(line)
        if (
            not user
            or user["name"] in users
            or 128 * int(user["n"]) * int(user["r"]) > _MOST_MEMORY
        ):
            raise ConfigError(
                "a line of the users' file is not a user",
                found=f"{file}, line {number}",
                fix="one line a user, as made by `costwhy serve --add-user`",
            )
        users[user["name"]] = line
    if not users:
        raise ConfigError(
            "the users' file has no user",
            found=str(file),
            fix="add one with `costwhy serve --add-user`",
        )
    return users
