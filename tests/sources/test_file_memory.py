"""What is remembered of files that did not change."""

import os
from pathlib import Path

import pytest

from costwhy.sources.file_memory import FileMemory, recall, remembered


class Asked:
    """Finds a fact, and counts how often it is asked."""

    def __init__(self, fact: bytes = b"fact") -> None:
        self.fact, self.times = fact, 0

    def __call__(self) -> bytes:
        self.times += 1
        return self.fact


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.csv"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    return file


def ask(place: Path, file: Path, find: Asked, *, code: str = "1", forget: bool = False) -> bytes:
    with remembered(FileMemory(place / "files.known", code, forget=forget)):
        return recall(file, "kind", find)


def test_a_file_that_did_not_change_is_read_once(tmp_path: Path, file: Path) -> None:
    find = Asked()
    assert [ask(tmp_path, file, find) for _ in range(3)] == [b"fact"] * 3
    assert find.times == 1


@pytest.mark.parametrize("way", ["content", "time", "another file", "code", "rehash", "damaged"])
def test_what_may_have_changed_is_read_again(tmp_path: Path, file: Path, way: str) -> None:
    find = Asked()
    ask(tmp_path, file, find)
    if way == "content":
        file.write_bytes(b"longer")
        os.utime(file, (1, 1))
    elif way == "time":
        os.utime(file, (2, 2))
    elif way == "another file":
        file.rename(tmp_path / "before.csv")
        file.write_bytes(b"two")
        os.utime(file, (1, 1))
    elif way == "damaged":
        (tmp_path / "files.known").write_bytes(b"\xc1 no memory")
    find.fact = b"new"
    code = "2" if way == "code" else "1"
    assert ask(tmp_path, file, find, code=code, forget=way == "rehash") == b"new"
    assert ask(tmp_path, file, find, code=code) == b"new"
    assert find.times == 2


def test_a_file_that_changed_a_moment_ago_may_change_again_unseen(
    tmp_path: Path, file: Path
) -> None:
    os.utime(file)
    find = Asked()
    ask(tmp_path, file, find)
    ask(tmp_path, file, find)
    assert find.times == 2


def test_what_fails_is_not_remembered_and_without_a_memory_all_is_found(
    tmp_path: Path, file: Path
) -> None:
    find = Asked()

    def fail() -> None:
        with remembered(FileMemory(tmp_path / "files.known", "1")):
            recall(file, "kind", find)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    ask(tmp_path, file, find)
    recall(file, "kind", find)
    assert find.times == 3


def test_a_folder_that_cannot_be_written_is_read_without(tmp_path: Path, file: Path) -> None:
    (tmp_path / "full").write_text("a file where a folder should be")
    assert ask(tmp_path / "full", file, Asked()) == b"fact"
