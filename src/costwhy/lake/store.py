"""Where the files of a lake are: in a folder, or objects on S3."""

from costwhy.lake.folder import Folder
from costwhy.remote.s3 import Store

Files = Folder | Store


def is_remote(place: str) -> bool:
    """Whether a place is on S3."""
    return place.startswith("s3://")


def store_of(place: str) -> Files:
    """The files of a place: a folder, or an s3:// address."""
    return Store(place) if is_remote(place) else Folder(place)
