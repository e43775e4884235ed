"""Which Prometheus is asked, with which credentials."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import botocore.session
import httpx2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, NoCredentialsError

from costwhy.errors import ConfigError
from costwhy.remote import aws, http
from costwhy.remote.http import secret_of_file, secret_of_variable
from costwhy.sources.format import SourceConfig
from costwhy.text import shown

_HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    "User-Agent": "costwhy",
}
# Which kind of `auth` a key belongs to
_AUTH_OF = {
    "user": "basic",
    "password_env": "basic",
    "password_file": "basic",
    "token_env": "bearer",
    "token_file": "bearer",
    "region": "sigv4",
}


class AuthConfig(SourceConfig, frozen=True, kw_only=True):
    """The address of a Prometheus. Secrets are named here, never written."""

    url: str | None = None
    auth: Literal["none", "basic", "bearer", "sigv4"] = "none"
    user: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    token_env: str | None = None
    token_file: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        for name, auth in _AUTH_OF.items():
            if auth != self.auth and getattr(self, name) is not None:
                raise ValueError(f"`{name}` belongs to auth {auth!r}, not to {self.auth!r}")


@dataclass(frozen=True)
class Endpoint:
    """A Prometheus.

    key    its entry in costwhy.toml
    place  host and path, fit to be shown
    sign   makes the headers of a request from its address and its body
    """

    key: str
    url: str = field(repr=False)
    place: str
    sign: Callable[[str, bytes], Mapping[str, str]] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def find_endpoint(entry: AuthConfig, key: str, folder: Path) -> Endpoint:
    """A Prometheus with its credentials, from the environment or from files relative to `folder`.

    Raises ConfigError where something is missing or wrong.
    """
    url = _address(entry, key)
    place = http.host(str(url)) + url.path.rstrip("/").removesuffix("/api/v1").rstrip("/")
    address = f"{url.scheme}://{place}"
    if entry.auth == "sigv4":
        return Endpoint(key, address, place, _signer(find_region(entry, key, place)))
    if entry.auth == "none":
        return Endpoint(key, address, place, lambda _url, _body: _HEADERS)
    secret = _secret(entry, key, "password" if entry.auth == "basic" else "token", folder)
    header = f"Bearer {secret}"
    if entry.auth == "basic":
        if not entry.user or ":" in entry.user or not entry.user.isprintable():
            raise ConfigError(
                f"`{key}.user` is missing or wrong",
                found=shown(entry.user or "no user"),
                fix="name one, without a colon",
            )
        header = "Basic " + b64encode(f"{entry.user}:{secret}".encode()).decode()
    if not header.isascii():
        raise ConfigError(
            f"the token of `{key}` is not ASCII",
            found="a character beyond ASCII",
            fix="set it again",
        )
    signed, secrets = _HEADERS | {"Authorization": header}, (secret, header.split(" ", 1)[1])
    return Endpoint(key, address, place, lambda _url, _body: signed, secrets)


def _address(entry: AuthConfig, key: str) -> httpx2.URL:
    """The address. Raises ConfigError where it is none, or has a secret in it."""
    fix = 'write it as url = "https://prometheus.example:9090/prefix"'
    try:
        url = httpx2.URL(entry.url or "")
    except (httpx2.InvalidURL, ValueError):
        raise ConfigError(
            f"`{key}.url` is no address", found="a malformed address", fix=fix
        ) from None
    if url.scheme not in {"http", "https"} or not url.host:
        # it is not shown: where it was mistyped it may have a password in it
        raise ConfigError(
            f"`{key}.url` is missing, or no http address",
            found=("an address of another kind" if entry.url else "nothing"),
            fix=fix,
        )
    if url.userinfo or url.query or url.fragment:
        raise ConfigError(
            f"`{key}.url` holds a user, a password or a query",
            found=f"an address at {http.host(str(url))}",
            fix='leave them out; `auth = "basic"`, `user` and `password_env` name a secret '
            "without showing it",
        )
    return url


def _secret(entry: AuthConfig, key: str, word: str, folder: Path) -> str:
    variable, file = getattr(entry, f"{word}_env"), getattr(entry, f"{word}_file")
    if variable and not file:
        return secret_of_variable(variable, f"{key}.{word}_env")
    if file and not variable:
        return secret_of_file(folder / file, f"{key}.{word}_file")
    raise ConfigError(
        f"`{key}`: one of {word}_env and {word}_file is needed",
        found="both" if file else "neither",
        fix=f"name an environment variable or a file that holds the {word}",
    )


def find_region(entry: AuthConfig, key: str, place: str) -> str:
    """The region of Amazon's Prometheus: as configured, in its address, or in the environment."""
    name = place.split("/", maxsplit=1)[0].split(".")
    region = (
        entry.region
        or (name[1] if name[0] == "aps-workspaces" and len(name) > 2 else None)
        or botocore.session.get_session().get_config_variable("region")
    )
    if not region:
        raise ConfigError(
            f"`{key}.region` is missing",
            found="none in the address or the environment",
            fix="name the region",
        )
    return str(region)


def _signer(region: str) -> Callable[[str, bytes], Mapping[str, str]]:
    """Headers signed for Amazon's managed Prometheus, with the credentials that boto3 finds."""
    session = botocore.session.get_session()

    def sign(url: str, body: bytes) -> Mapping[str, str]:
        try:
            if not (credentials := session.get_credentials()):
                raise NoCredentialsError
            frozen = credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise aws.unreachable(
                "there are no AWS credentials to ask Prometheus with", error
            ) from None
        request = AWSRequest(method="POST", url=url, data=body, headers=dict(_HEADERS))
        SigV4Auth(frozen, "aps", region).add_auth(request)
        return dict(request.headers.items())

    return sign
