"""costwhy itself as a wheel, made from what is installed: pure Python, so a zip with records."""

import base64
import hashlib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content makes the same file
LEFT_OUT = ("__pycache__", "_sample", "_notebooks")


def make_wheel(folder: Path) -> Path:
    """The wheel of the running version (PEP 427), without notebooks and the sample company."""
    about = distribution("costwhy")
    package = Path(__file__).resolve().parent.parent
    info = f"costwhy-{about.version}.dist-info"
    files = {
        f"costwhy/{f.relative_to(package).as_posix()}": f.read_bytes()
        for f in sorted(package.rglob("*"))
        if f.is_file() and not set(LEFT_OUT) & set(f.parts)
    }
    files[f"{info}/METADATA"] = (about.read_text("METADATA") or "").encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: costwhy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/RECORD"] = "".join(
        [*(_record(name, data) for name, data in files.items()), f"{info}/RECORD,,\n"]
    ).encode()
    out = folder / f"costwhy-{about.version}-py3-none-any.whl"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
    return out


def _record(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"
