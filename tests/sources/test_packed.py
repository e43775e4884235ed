"""Packed files: whatever the packing and whatever the name, the same content or one reason."""

import gzip
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packings import PACKINGS, protected, tarred, zipped

from costwhy.errors import SourceError
from costwhy.sources import packed, records, streams

TEXT = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(2000))


def problems(file: Path) -> dict[str, str]:
    return {c.path.relative_to(file).as_posix(): c.problem for c in packed.contents(file)}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ["bill.csv", "BILL.CSV.GZ", "000000", "x.zip", "wrong.parquet"])
def test_the_content_says_how_a_file_is_packed(tmp_path: Path, packing: str, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(PACKINGS[packing](TEXT))
    assert records.read_bytes(file) == TEXT
    with packed.opened(file, plain=True) as real:
        assert (real.suffix, real.read_bytes()) == (".csv", TEXT)
    assert not real.exists(), "it is there only while it is read"
    with packed.opened(file) as real, packed.open_stream(real) as stream:
        assert real.name.endswith((".csv", ".csv.gz", ".csv.zst"))
        assert stream.read() == TEXT
    assert file.exists()


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_file_that_is_cut_off_is_an_error_and_never_half_a_file(
    tmp_path: Path, packing: str
) -> None:
    file = tmp_path / "x"
    whole = PACKINGS[packing](TEXT)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError):
        records.read_bytes(file)
    with pytest.raises(SourceError, match=r"x cannot be"), packed.opened(file, plain=True):
        pass


def test_a_file_that_is_as_it_should_be_is_not_copied(tmp_path: Path) -> None:
    for name, data in (("a.csv", TEXT), ("a.csv.gz", gzip.compress(TEXT))):
        (tmp_path / name).write_bytes(data)
        with packed.opened(tmp_path / name) as real:
            assert real == tmp_path / name


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.csv"])
def test_the_members_of_a_tar_are_files(tmp_path: Path, mode: str, name: str) -> None:
    members = {"a.csv": TEXT, "./deep/b.csv.gz": gzip.compress(TEXT), "deep/c": b""}
    file = tarred(tmp_path / name, members, mode)
    with packed.kept():
        kinds = {c.path.relative_to(file).as_posix(): c.kind for c in packed.contents(file)}
        assert kinds == {"a.csv": "text", "deep/b.csv.gz": "text", "deep/c": "empty"}
        assert records.read_bytes(file / "deep/b.csv.gz") == TEXT
        assert packed.digest_of(file / "a.csv") == packed.digest_of(file / "a.csv")
    assert records.read_bytes(file / "a.csv") == TEXT, "and after it was put away"


def test_the_members_of_a_zip_are_files(tmp_path: Path) -> None:
    file = zipped(tmp_path / "a.csv", {"a.csv": TEXT, "b/c.csv.gz": gzip.compress(TEXT)})
    assert set(problems(file).values()) == {""}
    for name in ("a.csv", "b/c.csv.gz"):
        with packed.opened(file / name, plain=True) as real:
            assert real.read_bytes() == TEXT
    assert packed.bytes_of(file / "a.csv") == len(TEXT)
    with pytest.raises(FileNotFoundError):
        packed.open_stream(file / "none.csv")


HOSTILE = ("../up.csv", "/etc/abs.csv", "..\\win.csv", "C:\\win.csv", "a/../../up.csv")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_member_never_leads_out_of_its_archive(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    file = pack(tmp_path / "a", {**dict.fromkeys(HOSTILE, TEXT), "good.csv": TEXT})
    found = packed.contents(file)
    assert [c.path.name for c in found if not c.problem] == ["good.csv"]
    assert [c.problem for c in found if c.problem] == [
        "its name would lead out of the archive"
    ] * len(HOSTILE)
    assert all(c.path.is_relative_to(file) and ".." not in c.path.parts for c in found)


def test_links_and_devices_of_a_tar_are_no_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"x{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert set(problems(tmp_path / "a.tar").values()) == {"it is a link or a device, no file"}


def test_two_members_of_one_name_are_one_file_and_a_reason(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", b"first")
        archive.writestr("./a.csv", b"second")
    first, second = packed.contents(tmp_path / "a.zip")
    assert (first.problem, second.problem) == (
        "",
        "another member has the same name: the first one is read",
    )
    assert records.read_bytes(tmp_path / "a.zip/a.csv") == b"first"


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "i.zip", {"a.csv": TEXT}).read_bytes()
    nested = zipped(tmp_path / "n.zip", {"i.zip": inner})
    assert "an archive within an archive" in problems(nested)["i.zip"]
    locked = protected(tmp_path / "l.zip", {"a.csv": TEXT})
    assert "protected by a password" in problems(locked)["a.csv"]
    (tmp_path / "cut.zip").write_bytes(inner[: len(inner) // 2])
    (tmp_path / "cut.tgz").write_bytes(tarred(tmp_path / "t", {"a": TEXT}).read_bytes()[:300])
    for name in ("cut.zip", "cut.tgz"):
        assert "cut off or damaged" in problems(tmp_path / name)["."]
    for file in (nested / "i.zip", locked / "a.csv", tmp_path / "cut.zip", tmp_path / "none.csv"):
        with pytest.raises(SourceError, match="cannot be read"), packed.opened(file):
            pass


@pytest.mark.parametrize("packing", ["gz", "bz2", "zst", "zip", "tar"])
def test_a_bomb_is_stopped_by_what_it_unpacks_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    monkeypatch.setattr(streams, "FREE", 2**20)
    data, file = b"1,2\n" * 2**20, tmp_path / "bomb.csv"
    if packing == "zip":
        file = zipped(tmp_path / "z", {"bomb.csv": data}) / "bomb.csv"
        lying = (
            (tmp_path / "z")
            .read_bytes()
            .replace(len(data).to_bytes(4, "little"), (100).to_bytes(4, "little"))
        )  # what it says of its size is not believed
        (tmp_path / "z").write_bytes(lying)
    elif packing == "tar":
        file = tarred(tmp_path / "bomb.tar.bz2", {"bomb.csv": data}, "w:bz2")
    else:
        file.write_bytes(PACKINGS[packing](data))
    if packing == "zip":  # it stops where the archive said that it ends
        with pytest.raises(SourceError), packed.opened(file, plain=True):
            pass
    elif packing == "tar":
        assert "no sound file does" in problems(file)["."]
    else:
        with (
            pytest.raises(SourceError, match=r"unpacks to more than .* MB from .*"),
            packed.opened(file, plain=True),
        ):
            pass


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PAR1....", "parquet"),
        (b"ORC\x00\x01", "ORC"),
        (b"ORCHARD,COST\n1,2\n", "text"),
        (b"Obj\x01\x04", "Avro"),
        (b"", "empty"),
        (b"\x00\x01\x02" * 99, "binary"),
        ("ä,b\n".encode("utf-16"), "text"),
        ("a,b\n".encode("utf-16-le"), "text"),
        ("ä,b\n".encode("latin-1"), "text"),
    ],
)
def test_the_first_bytes_say_what_a_file_is(head: bytes, kind: str) -> None:
    assert streams.kind_of(head) == kind
