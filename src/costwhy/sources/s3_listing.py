"""What lies at an address on S3: the objects of a prefix or a glob, or one object."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from costwhy.errors import SourceError
from costwhy.remote import aws

SCHEME = "s3://"
ROOT = "s3:"  # the folder of a mirror that stands for the scheme


class S3Object(msgspec.Struct, frozen=True):
    """One object as the bucket lists it."""

    key: str
    etag: str
    size: int
    modified: datetime


def is_address(path: str) -> bool:
    """Whether a path of costwhy.toml is an address on S3."""
    return path.startswith(SCHEME)


def local_path(address: str) -> str:
    """The address as a path below a mirror's folder: s3://bucket/key -> s3:/bucket/key."""
    return "/".join([ROOT, *(part for part in address.removeprefix(SCHEME).split("/") if part)])


def address_of(file: Path) -> str | None:
    """The address of a mirrored file; null for a file that is not of a mirror."""
    _, root, below = f"/{file.as_posix()}".partition(f"/{ROOT}/")
    return SCHEME + below if root else None


def split_address(address: str) -> tuple[str, str]:
    """Bucket and key, prefix or glob. Raises SourceError where the address is none."""
    bucket, _, rest = address.removeprefix(SCHEME).partition("/")
    if not is_address(address) or not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", bucket
    ):
        raise SourceError(
            f"{address!r} is no address on S3",
            found=bucket or "no bucket",
            fix="write s3://bucket/prefix/",
        )
    return bucket, rest


def list_objects(
    client: Any, address: str, wanted: Callable[[str], bool]
) -> tuple[list[S3Object], list[S3Object]]:
    """The objects of an address that are wanted, and the others, in order of key.

    Raises SourceError where none is wanted.
    """
    bucket, rest = split_address(address)
    try:
        found, others = _listed(client, bucket, rest, wanted)
    except aws.FAULTS as error:
        if aws.code_of(error) == "NoSuchBucket":
            raise SourceError(
                f"there is no bucket {bucket}", found=address, fix="correct `path` in costwhy.toml"
            ) from None
        raise aws.unreachable(f"{address} could not be listed", error) from None
    if not found:
        raise SourceError(
            f"there is nothing to read at {address}",
            found=", ".join(["no object of this kind", *(one.key for one in others[:6])]),
            fix="correct `path` in costwhy.toml; names that only begin so are written PREFIX*",
        )
    return found, others


def _listed(
    client: Any, bucket: str, rest: str, wanted: Callable[[str], bool]
) -> tuple[list[S3Object], list[S3Object]]:
    """Those that are wanted, and the others."""
    if rest and not rest.endswith("/"):  # in order of key one that is the whole prefix comes first
        first = client.list_objects_v2(Bucket=bucket, Prefix=rest, MaxKeys=1).get("Contents", [])
        if first and first[0]["Key"] == rest:
            return [_object(first[0])], []
    is_glob = any(mark in rest for mark in "*?[")
    prefix = (
        re.split(r"[*?\[]", rest, maxsplit=1)[0] if is_glob else rest and rest.rstrip("/") + "/"
    )
    pattern = _pattern(rest if is_glob else "**")
    found: tuple[list[S3Object], list[S3Object]] = ([], [])
    for content in (
        content
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for content in page.get("Contents", [])
    ):
        key = content["Key"]
        if not key.endswith("/") and pattern.fullmatch(key):
            found[not wanted(key)].append(_object(content))
    return found


def _object(content: dict[str, Any]) -> S3Object:
    try:
        return S3Object(*(content[name] for name in ("Key", "ETag", "Size", "LastModified")))
    except KeyError as error:
        raise ValueError(f"the listing names an object without its {error}") from None


def _pattern(glob: str) -> re.Pattern[str]:
    """The glob as for files: `*` and `?` stay within a folder, `**/` is any number of them."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", glob, re.DOTALL)
    sets = (part.replace("[!", "[^", 1) if len(part) > 2 else re.escape(part) for part in parts)
    return re.compile(
        "".join((words.get(part, one) for part, one in zip(parts, sets, strict=True))), re.DOTALL
    )
