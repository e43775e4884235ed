"""The server's secret key, and what it signs."""

import hashlib
import os
import secrets
from pathlib import Path

from itsdangerous import URLSafeSerializer

from costwhy.errors import InputError, UsageError
from costwhy.lake.store import create_once

ENV = "COSTWHY_SECRET"
_LEAST = 32  # characters of the secret key


def owner_only(path: str, flags: int) -> int:
    """Opener for `open`: a new file can be read by its owner only."""
    return os.open(path, flags, 0o600)


def read_secret(state: Path) -> bytes:
    """The secret key: COSTWHY_SECRET, or the file `secret` in the state folder.

    The file is made once, with mode 0600. Whoever has the key can make cookies and links, so the
    state folder must be outside the published folder.

    Raises UsageError where COSTWHY_SECRET is too short; InputError where the file is, or where
    others than its owner may read it.
    """
    given = os.environ.get(ENV, "")
    if given and len(given) < _LEAST:
        raise UsageError(
            f"{ENV} is too short",
            found=f"{len(given)} characters",
            fix=f"give {_LEAST} or more random characters",
        )
    if given:
        return given.encode()
    file = state / "secret"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_once(file, f"{secrets.token_urlsafe(48)}\n".encode(), 0o600)
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        raise InputError(
            "the secret key can be read by others",
            found=f"{file}, mode {mode:o}",
            fix=f"chmod 600 {file}",
        )
    key = file.read_bytes().strip()
    if len(key) < _LEAST:
        raise InputError(
            "the secret key is too short",
            found=f"{file}, {len(key)} bytes",
            fix="delete it; the next start makes a new one",
        )
    return key


def signer(key: bytes, purpose: str) -> URLSafeSerializer:
    """Signs JSON with HMAC-SHA256. A signature for one purpose is not valid for another."""
    return URLSafeSerializer(
        key,
        salt=f"costwhy {purpose}",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
