"""TODO serve/passwords.py"""

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path

from costwhy.errors import ConfigError, UsageError

SCRYPT = (2**15, 8, 3)
"""n, r, p of new hashes: 32 MB and about 0.2 s each; the equal of OWASP's first choice in less memory."""
_LARGEST = 128 * 2**20  # bytes that a hash of the users' file may ask for
_NAME = re.compile(r"[^\s:\x00-\x1f\x7f]{1,64}")


def hash_line(name: str, password: str) -> str:
    """A line of the users' file: the name and the scrypt hash of the password with a salt of its own.

    Raises UsageError where the name has a space or a colon, or the password is shorter than 10 characters.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("this is no user's name", found=repr(name), todo="1 to 64 characters without space and colon")
    if len(password) < 10:
        raise UsageError("the password is too short", found=f"{len(password)} characters", todo="use 10 or more")
    salt = secrets.token_bytes(16)
    parts = [base64.b64encode(part).decode("ascii") for part in (salt, _scrypt(password, salt, SCRYPT))]
    return ":".join([name, "scrypt", *map(str, SCRYPT), *parts])


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    n, r, p = cost
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_LARGEST + 2**20, dklen=32)


def read_users(file: Path) -> dict[str, str]:
    """Lines by user. Empty lines and those that begin with # are left out.

    Raises ConfigError where it is unreadable, a line is wrong or doubled (named by its number), or no user is left.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the users' file cannot be read", found=f"{file}: {error}", todo="give a text file of hash lines") from error
    users: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name = line.partition(":")[0]
        if name in users or not _NAME.fullmatch(name) or _read_hash(line) is None:
            raise ConfigError(
                "a line of the users' file is no user", found=f"{file}, line {number}", todo="one line a user, as made by hash_line"
            )
        users[name] = line
    if not users:
        raise ConfigError("the users' file has no user", found=str(file), todo="add a line made by hash_line")
    return users


def _read_hash(line: str) -> tuple[tuple[int, int, int], bytes, bytes] | None:
    """Cost, salt and hash of a line; None where it is none, or asks for too much memory."""
    try:
        _, kind, n, r, p, salt, digest = line.split(":")
        cost = int(n), int(r), int(p)
        parts = base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except ValueError:
        return None
    sound = kind == "scrypt" and cost[0] >= 2**14 and cost[0] & (cost[0] - 1) == 0 and cost[1] >= 8 and 1 <= cost[2] <= 8
    return (cost, *parts) if sound and 128 * cost[0] * cost[1] <= _LARGEST and len(parts[0]) >= 16 and len(parts[1]) == 32 else None


NOBODY = f"nobody:scrypt:{SCRYPT[0]}:{SCRYPT[1]}:{SCRYPT[2]}:{base64.b64encode(bytes(16)).decode()}:{base64.b64encode(bytes(32)).decode()}"
"""Compared with when the user is unknown, so that an unknown name takes as long as a wrong password."""


def is_password(line: str, password: str) -> bool:
    """Whether the password belongs to this hash line; compared in constant time."""
    read = _read_hash(line)
    if read is None:
        return False
    cost, salt, digest = read
    return hmac.compare_digest(_scrypt(password, salt, cost), digest)
