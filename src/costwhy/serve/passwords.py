"""The users' file: a name and the scrypt hash of a password on each line."""

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path

from costwhy.errors import ConfigError, UsageError

Cost = tuple[int, int, int]
SCRYPT: Cost = (2**15, 8, 3)
"""n, r, p of new hashes: 32 MB and about 0.2 s; OWASP's first choice, in less memory."""
_MOST_MEMORY = 128 * 2**20  # bytes that a hash of the users' file may ask for
_NAME = re.compile(r"[^\s:\x00-\x1f\x7f]{1,64}")


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
    salt = secrets.token_bytes(16)
    return _line(name, salt, _scrypt(password, salt, SCRYPT))


def _line(name: str, salt: bytes, digest: bytes) -> str:
    parts = [base64.b64encode(part).decode("ascii") for part in (salt, digest)]
    return ":".join([name, "scrypt", *map(str, SCRYPT), *parts])


def _scrypt(password: str, salt: bytes, cost: Cost) -> bytes:
    n, r, p = cost
    most = _MOST_MEMORY + 2**20
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=most, dklen=32)


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
        name = line.partition(":")[0]
        if name in users or not _NAME.fullmatch(name) or _read_hash(line) is None:
            raise ConfigError(
                "a line of the users' file is not a user",
                found=f"{file}, line {number}",
                fix="one line a user, as made by `costwhy serve --add-user`",
            )
        users[name] = line
    if not users:
        raise ConfigError(
            "the users' file has no user",
            found=str(file),
            fix="add one with `costwhy serve --add-user`",
        )
    return users


def _read_hash(line: str) -> tuple[Cost, bytes, bytes] | None:
    """Cost, salt and digest of a line; None where it is not valid, or asks for too much memory."""
    try:
        _, kind, *numbers, salt_text, digest_text = line.split(":")
        n, r, p = map(int, numbers)
        salt, digest = (base64.b64decode(t, validate=True) for t in (salt_text, digest_text))
    except ValueError:
        return None
    has_cost = n >= 2**14 and n.bit_count() == 1 and r >= 8 and 1 <= p <= 8
    is_valid = kind == "scrypt" and has_cost and 128 * n * r <= _MOST_MEMORY
    return ((n, r, p), salt, digest) if is_valid and len(salt) >= 16 and len(digest) == 32 else None


NOBODY = _line("nobody", bytes(16), bytes(32))
"""Compared with for an unknown name, so that it takes as long as a wrong password."""


def is_password(line: str, password: str) -> bool:
    """Whether the password belongs to this line; compared in constant time."""
    read = _read_hash(line)
    if read is None:
        return False
    cost, salt, digest = read
    return hmac.compare_digest(_scrypt(password, salt, cost), digest)
