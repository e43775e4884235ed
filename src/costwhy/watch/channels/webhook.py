"""Messages to a webhook, signed; and JSON to any address that is a secret."""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import replace

import httpx2

from costwhy.config import WebhookChannel
from costwhy.errors import ConfigError, UnreachableError
from costwhy.remote import http
from costwhy.remote.http import Limits, Post
from costwhy.remote.secrets import secret_of_variable
from costwhy.text import shown
from costwhy.watch.channels.message import JSON_HEADERS, LIMITS, Message, as_json


def send_webhook(channel: WebhookChannel, message: Message) -> None:
    """Raises UnreachableError, ConfigError."""
    secret = secret_of_variable(channel.secret_env, f"watch.channels.{channel.name}.secret_env")
    body = as_json(message)

    def headers() -> dict[str, str]:
        signature = sign(secret, int(time.time()), body)
        return JSON_HEADERS | {"X-Costwhy-Signature": signature, "Idempotency-Key": message.id}

    post_json(
        channel.name, channel.url_env, headers, body, replace(LIMITS, repeatable=True), (secret,)
    )


def sign(secret: str, at: int, body: bytes) -> str:
    """The signature header: t=SECONDS,v1=DIGEST.

    SECONDS are those since 1970; DIGEST is the HMAC-SHA256 in hex over them, a full stop and the
    body.
    """
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def post_json(
    name: str,
    url_env: str,
    headers: Callable[[], dict[str, str]],
    body: bytes,
    limits: Limits,
    secrets: tuple[str, ...] = (),
) -> None:
    """Post JSON to the address in the variable `url_env` of the channel `name`.

    Raises UnreachableError where it is not accepted, ConfigError where the address is not valid.
    """
    key = f"watch.channels.{name}.url_env"
    url = secret_of_variable(url_env, key)
    if not url.startswith(("https://", "http://")) or not http.host(url):
        raise ConfigError(
            f"`{key}` names a variable without an http address",
            found=url_env,
            fix="set it to https://...",
        )
    secrets += (url, httpx2.URL(url).path, httpx2.URL(url).raw_path.decode())
    reply = http.post(Post(url, body, headers, secrets), limits)
    if not 200 <= reply.status < 300:
        text = shown(reply.body[:2000].decode("utf-8", "replace"), secrets)
        raise UnreachableError(
            f"{http.host(url)} refused the message",
            found=f"{reply.status}: {text or 'nothing more'}",
            fix=f"check the address in {url_env}",
        )
