"""TODO remote/s3.py"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime

import boto3

from costwhy.errors import LakeError, UnreachableError
from costwhy.remote import aws

_REFUSED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
_ABSENT = ("NoSuchKey", "404")


def storage_options() -> dict[str, str]:
    """What Delta and polars must be told to find the same S3 as boto3. Raises UnreachableError without credentials."""
    try:
        session = boto3.session.Session()
        held = session.get_credentials()
        frozen = held.get_frozen_credentials() if held else None
        endpoint = aws.client("s3").meta.endpoint_url
    except aws.FAULTS as error:
        raise aws.unreachable("there are no AWS credentials for the lake", error) from None
    if frozen is None:
        fix = "sign in, or name a profile: AWS_PROFILE, `aws configure`, `aws sso login`"
        raise UnreachableError(
            "there are no AWS credentials for the lake",
            found="none in the AWS configuration",
            fix=fix,
        )
    options = {"conditional_put": "etag"}
    more = {
        "aws_access_key_id": frozen.access_key,
        "aws_secret_access_key": frozen.secret_key,
        "aws_session_token": frozen.token,
    }
    more |= {"aws_region": session.region_name, "aws_endpoint": _own_endpoint(endpoint)}
    allow = {"aws_allow_http": "true"} if endpoint.startswith("http://") else {}
    return options | {name: value for name, value in more.items() if value} | allow


def _own_endpoint(endpoint: str) -> str | None:
    """Null for AWS's own, which Delta finds by the region."""
    return None if endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn")) else endpoint


class Store:
    """Objects below an address; what S3 refuses becomes LakeError or UnreachableError."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.bucket, _, self.prefix = address.removeprefix("s3://").partition("/")
        self.client = aws.client("s3")

    def names(self, folder: str) -> list[str]:
        """Names of the objects directly in a folder."""
        prefix = self._key(folder) + "/"
        with self._calling():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            )
            return [
                content["Key"].removeprefix(prefix)
                for page in pages
                for content in page.get("Contents", [])
            ]

    def get(self, name: str) -> tuple[bytes, str, float]:
        """Content, ETag, and age in seconds by S3's own clock; no content where there is no such object."""
        try:
            with self._calling():
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name))
                served = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
                return (
                    answer["Body"].read(),
                    answer["ETag"],
                    (served - answer["LastModified"]).total_seconds(),
                )
        except FileNotFoundError:
            return b"", "", 0.0

    def put(self, name: str, content: bytes, *, over: str | None = None) -> str | None:
        """Create an object, or replace the one with the ETag `over`. Returns its ETag; null: it was there, or is another one."""
        condition = {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        try:
            with self._calling():
                answer = self.client.put_object(
                    Bucket=self.bucket, Key=self._key(name), Body=content, **condition
                )
                return str(answer["ETag"])
        except (FileExistsError, FileNotFoundError):
            return None

    def delete(self, name: str, etag: str) -> None:
        """Delete the object with this ETag; another one stays."""
        with suppress(FileExistsError, FileNotFoundError), self._calling():
            self.client.delete_object(Bucket=self.bucket, Key=self._key(name), IfMatch=etag)

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Raises FileExistsError where a condition did not hold, FileNotFoundError where there is no such object."""
        try:
            yield
        except aws.FAULTS as error:
            code = aws.code_of(error)
            if code in _REFUSED:
                raise FileExistsError from None
            if code in _ABSENT:
                raise FileNotFoundError from None
            if code == "NoSuchBucket":
                raise LakeError(
                    f"there is no bucket {self.bucket}",
                    found=self.address,
                    fix="correct `lake.path`",
                ) from None
            raise aws.unreachable(f"the lake {self.address} cannot be reached", error) from None
