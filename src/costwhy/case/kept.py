"""The model of a lake's version, kept beside the lake, so that it is learned once.

    LAKE/models/DIGEST.model    of a lake on S3: in the user's cache folder

DIGEST is that of the snapshot and of costwhy's own code: whoever changes either learns anew. The
file is typed msgpack, so what somebody else puts there can be wrong but cannot run. It is a copy of
what the lake says, and may be deleted at any time.
"""

import functools
import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, get_origin

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from platformdirs import user_cache_path

from costwhy import own_code
from costwhy.lake.lake import Lake
from costwhy.lake.store import create_once, is_remote
from costwhy.model.rates import Model
from costwhy.spikes.detect import Spike

FOLDER, ENDING, CODEC = "models", ".model", "lz4"


@dataclass(frozen=True)
class Learned:
    """A model, and the spikes in it."""

    model: Model
    spikes: tuple[Spike, ...]


def load(lake: object) -> Learned | None:
    """What was learned of this version of a lake by this version of the code; None: not kept."""
    if not isinstance(lake, Lake):
        return None
    try:
        return _decoder().decode(_file(lake).read_bytes())
    except (OSError, ValueError, pa.ArrowException, pl.exceptions.PolarsError, MemoryError):
        return None


def keep(lake: object, learned: Learned) -> None:
    """Writes it whole or not at all, and removes what was kept of other versions.

    A lake that cannot be written is read without.
    """
    if not isinstance(lake, Lake):
        return
    content, file = msgspec.msgpack.Encoder(enc_hook=_encoded).encode(learned), _file(lake)
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True, parents=is_remote(lake.place))
        if create_once(file, content):
            for other in file.parent.glob(f"*{ENDING}"):
                if other != file:
                    other.unlink(missing_ok=True)


def _file(lake: Lake) -> Path:
    about = (
        lake.place,
        lake.version,
        lake.created_at.isoformat(),
        own_code.digest(),
        np.__version__,
        pl.__version__,
    )
    name = hashlib.sha256(repr(about).encode()).hexdigest()[:24] + ENDING
    if not is_remote(lake.place):
        return Path(lake.place, FOLDER, name)
    place = hashlib.sha256(lake.place.encode()).hexdigest()[:12]
    return user_cache_path("costwhy") / f"{FOLDER}-{place}" / name


@functools.cache
def _decoder() -> msgspec.msgpack.Decoder[Learned]:
    return msgspec.msgpack.Decoder(Learned, dec_hook=_decoded)


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, pa.compress(value.tobytes(), CODEC, asbytes=True))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pl.DataFrame):
        value.write_ipc(into := BytesIO())
        return into.getvalue()
    raise NotImplementedError(f"nothing keeps a {type(value)}")


def _decoded(kind: Any, value: Any) -> Any:
    if kind is pl.DataFrame:
        return pl.read_ipc(BytesIO(value))
    if (get_origin(kind) or kind) is np.ndarray:
        dtype, shape, content = value
        size = math.prod(shape) * np.dtype(dtype).itemsize
        plain = pa.decompress(content, size, CODEC) if size else b""
        return np.frombuffer(plain, np.dtype(dtype)).reshape(shape)
    raise NotImplementedError(f"nothing keeps a {kind}")
