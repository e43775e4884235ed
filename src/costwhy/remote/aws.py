"""Clients of AWS from the usual configuration, and what went wrong with them in our words, without credentials.

Region, profile, endpoint and credentials come from where every AWS tool takes them: AWS_REGION, AWS_PROFILE,
AWS_ENDPOINT_URL, ~/.aws. botocore repeats calls that were throttled or failed, more slowly each time.
"""

import errno
import logging
import os
import re
from typing import Any

import boto3
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

FAULTS = (BotoCoreError, ClientError, ResponseParserError, OSError, ValueError)
"""What a call to AWS raises: ValueError where an endpoint or a region is no such thing."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""What this machine's own disk says: no fault of AWS, and no further attempt will change it."""
CONFIG = Config(
    retries={"mode": "adaptive", "total_max_attempts": 6},
    connect_timeout=10,
    read_timeout=60,
    max_pool_connections=8,
    user_agent_extra="costwhy",
)
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "403",
    "Forbidden",
    "AllAccessDisabled",
)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{8,}\b")
_USERINFO = re.compile(r"(?<=://)[^\s/@\"']*@")
_QUERY = re.compile(r"(\w+://[^\s?\"']*)\?[^\s\"']*")
_SIGNATURE = re.compile(
    r"(?i)((?:x-amz-)?(?:signature|security-token|credential)\s*[=:]\s*)[^\s,&\"']+"
)


def client(service: str, region: str | None = None, config: Config = CONFIG) -> Any:
    """A boto3 client; region null: that of the configuration. Raises UnreachableError where the configuration is wrong."""
    for name in ("boto3", "botocore"):  # at DEBUG they write session tokens
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.INFO))
    try:
        made = boto3.session.Session().client(service, region_name=region, config=config)  # type: ignore[call-overload]
    except FAULTS as error:
        raise unreachable(f"AWS's {service} cannot be asked", error) from None
    if service != "s3":  # whose objects may well be pages
        made.meta.events.register("before-parse", _refuse_page)
    return made


def _refuse_page(response_dict: dict[str, Any], **_: object) -> None:
    """A page of a proxy or of a login, with 200 OK, would be read as an answer in which nothing happened."""
    if re.match(rb"\s*<(!doctype\s+html|html)", response_dict["body"] or b"", re.IGNORECASE):
        raise ValueError(
            "a web page came in place of AWS's answer; see AWS_ENDPOINT_URL, or sign in to the network"
        )


def default_region() -> str:
    """The region of the usual configuration. Raises UnreachableError where it names none."""
    try:
        region = boto3.session.Session().region_name
    except FAULTS as error:
        raise unreachable("the AWS configuration cannot be read", error) from None
    if not region:
        fix = "name `regions` in costwhy.toml, or set AWS_REGION"
        raise UnreachableError(
            "no AWS region is named",
            found="neither in costwhy.toml nor in the AWS configuration",
            fix=fix,
        )
    return region


def code_of(error: Exception) -> str:
    """AWS's code of the error: `AccessDenied`, `404`; empty where AWS did not answer."""
    return (
        str(error.response.get("Error", {}).get("Code", ""))
        if isinstance(error, ClientError)
        else ""
    )


def unreachable(problem: str, error: Exception) -> UnreachableError:
    """The error that a person may read; raise it `from None`, for the original may carry more."""
    return UnreachableError(problem, found=words(error), fix=_todo(error))


def words(error: Exception) -> str:
    """What AWS or the network said, in one line: no credentials, no signatures, no query of an address."""
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        text = f"{said.get('Code', 'an error')}: {said.get('Message', '')}"
    else:
        text = f"{type(error).__name__}: {error}"
    for secret in _secrets(error):
        text = text.replace(secret, "***")
    text = _QUERY.sub(r"\1", _USERINFO.sub("", text))
    return one_line(_SIGNATURE.sub(r"\1***", _KEY_ID.sub("***", text)), 500)


def _secrets(error: Exception) -> list[str]:
    """The credentials that are in use, longest first, wherever they come from."""
    found = [os.environ.get(name, "") for name in _SECRETS]
    if not isinstance(error, NoCredentialsError | ProfileNotFound | PartialCredentialsError):
        try:
            held = boto3.session.Session().get_credentials()
            found += (
                [held.secret_key or "", held.token or "", held.access_key or ""] if held else []
            )
        except FAULTS:
            pass
    return sorted({secret for secret in found if secret}, key=lambda secret: -len(secret))


def _todo(error: Exception) -> str:
    if isinstance(
        error, NoCredentialsError | PartialCredentialsError | ProfileNotFound
    ) or "Expired" in code_of(error):
        return "sign in, or name a profile: AWS_PROFILE, `aws configure`, `aws sso login`"
    if isinstance(error, NoRegionError):
        return "name a region: AWS_REGION, or `regions` in costwhy.toml"
    if code_of(error) in _DENIED:
        return "allow the call: docs/aws.md has the policy of each source"
    if isinstance(error, OSError) and error.errno in DISK:
        return "free space or mend the permissions, and run it again"
    return "see whether the service and the network are up, and run it again"
