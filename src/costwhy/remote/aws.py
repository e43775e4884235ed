"""Clients of AWS from the usual configuration, and their errors in our words without credentials.

Region, profile, endpoint and credentials come from where every AWS tool takes them: AWS_REGION,
AWS_PROFILE, AWS_ENDPOINT_URL, ~/.aws. botocore retries calls that were throttled or failed, more
slowly each time.
"""

import errno
import logging
import os
import re
from contextlib import suppress
from typing import Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError

from costwhy.errors import UnreachableError
from costwhy.text import one_line

# What a call to AWS raises: ValueError where an endpoint or a region is not valid.
FAULTS = (BotoCoreError, ClientError, ResponseParserError, OSError, ValueError)
NOT_SIGNED_IN = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)
SIGN_IN = "sign in, or name a profile: AWS_PROFILE, `aws configure`, `aws sso login`"
# Errors of this machine's own disk: no fault of AWS, and a retry will not help.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
CONFIG = Config(
    retries={"mode": "adaptive", "total_max_attempts": 6},
    connect_timeout=10,
    read_timeout=60,
    max_pool_connections=8,
    user_agent_extra="costwhy",
)
_HIDDEN = (
    (re.compile(r"(?<=://)[^\s/@\"']*@"), ""),  # user and password of an address
    (re.compile(r"(\w+://[^\s?\"']*)\?[^\s\"']*"), r"\1"),  # its query
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{8,}\b"), "***"),
    (
        re.compile(
            r"(?i)((?:x-amz-)?(?:signature|security-token|credential)\s*[=:]\s*)[^\s,&\"']+"
        ),
        r"\1***",
    ),
)


def client(service: str, region: str | None = None, config: Config = CONFIG) -> Any:
    """A boto3 client; region null: the configured one. Raises UnreachableError if it is wrong."""
    for name in ("boto3", "botocore"):  # at DEBUG they write session tokens
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.INFO))
    try:
        made = _session().client(service, region_name=region, config=config)
    except FAULTS as error:
        raise unreachable(f"AWS's {service} cannot be asked", error) from None
    if service != "s3":  # an object may well be a page
        made.meta.events.register("before-parse", _refuse_page)
    return made


def _refuse_page(response_dict: dict[str, Any], **_: object) -> None:
    """The page of a proxy or a login, with 200 OK, would be read as an empty answer."""
    if re.match(rb"\s*<(!doctype\s+html|html)", response_dict["body"] or b"", re.IGNORECASE):
        raise ValueError(
            "a web page came in place of AWS's answer; "
            "see AWS_ENDPOINT_URL, or sign in to the network"
        )


def _session() -> Any:
    """boto3's session: Any, since its types want the service as a literal."""
    import boto3  # noqa: PLC0415 - half a second, for those who ask AWS

    return boto3.session.Session()


def default_region() -> str:
    """The region of the usual configuration. Raises UnreachableError where it names none."""
    try:
        region: str | None = _session().region_name
    except FAULTS as error:
        raise unreachable("the AWS configuration cannot be read", error) from None
    if not region:
        raise UnreachableError(
            "no AWS region is named",
            found="neither in costwhy.toml nor in the AWS configuration",
            fix="name `regions` in costwhy.toml, or set AWS_REGION",
        )
    return region


def code_of(error: Exception) -> str:
    """AWS's code of the error: `AccessDenied`, `404`; empty where AWS did not answer."""
    answer = error.response if isinstance(error, ClientError) else {}
    return str(answer.get("Error", {}).get("Code", ""))


def unreachable(problem: str, error: Exception) -> UnreachableError:
    """The error to show; raise it `from None`, for the original may contain secrets."""
    return UnreachableError(problem, found=reason_of(error), fix=_fix_for(error))


def reason_of(error: Exception) -> str:
    """What AWS or the network answered, as one line without credentials and signatures."""
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        text = f"{answer.get('Code', 'an error')}: {answer.get('Message', '')}"
    else:
        text = f"{type(error).__name__}: {error}"
    for secret in _secrets(error):
        text = text.replace(secret, "***")
    for pattern, instead in _HIDDEN:
        text = pattern.sub(instead, text)
    return one_line(text, 500)


def _secrets(error: Exception) -> list[str]:
    """The credentials in use, longest first, wherever they come from."""
    found = [
        os.environ.get(f"AWS_{name}")
        for name in ("SECRET_ACCESS_KEY", "SESSION_TOKEN", "ACCESS_KEY_ID")
    ]
    if not isinstance(error, NOT_SIGNED_IN):
        with suppress(*FAULTS):
            if (credentials := _session().get_credentials()) is not None:
                found += [credentials.secret_key, credentials.token, credentials.access_key]
    return sorted({secret for secret in found if secret}, key=len, reverse=True)


def _fix_for(error: Exception) -> str:
    if isinstance(error, NOT_SIGNED_IN) or "Expired" in code_of(error):
        return SIGN_IN
    if isinstance(error, NoRegionError):
        return "name a region: AWS_REGION, or `regions` in costwhy.toml"
    if code_of(error) in (
        *("AccessDenied", "AccessDeniedException", "AllAccessDisabled"),
        *("UnauthorizedOperation", "Forbidden", "403"),
    ):
        return "allow the call: docs/aws.md has the policy of each source"
    return (
        "free space or fix the permissions, and run it again"
        if isinstance(error, OSError) and error.errno in DISK
        else "see whether the service and the network are up, and run it again"
    )
