"""Files: the home folder, suffixes, and failures in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallline.core.errors import ConfigError
from fallline.core.files import writable_path, write_file


def write(path: Path) -> None:
    path.write_text("written", encoding="utf-8")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert write_file("~/a.txt", (".txt",), write) == tmp_path / "a.txt"
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "written"


def test_suffixes_are_told_in_any_case_and_one_may_be_left_out(tmp_path: Path) -> None:
    assert writable_path(tmp_path / "a.TXT", (".txt",)) == tmp_path / "a.TXT"
    assert writable_path(tmp_path / "a", (".txt", "")) == tmp_path / "a"
    for name in ("a", "a.text", ".txt"):
        with pytest.raises(ConfigError, match=r"cannot write .*: give a name that ends in \.txt$"):
            writable_path(tmp_path / name, (".txt",))
    with pytest.raises(ConfigError, match=r"give a name that ends in \.a, \.b or \.c$"):
        writable_path("a.d", (".a", ".b", ".c"))


@pytest.mark.parametrize(
    "path, told",
    [
        (3, "a path is needed, given 3: write the name of a file as text"),
        ("~nobody-of-that-name/a.txt", r"cannot write ~nobody.*: there is no home folder of that name"),
        ("none/a.txt", r"cannot write none/a\.txt: No such file or directory; choose another place"),
    ],
)
def test_what_cannot_be_written_is_told(
    path: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^{told}$"):
        write_file(path, (".txt",), write)  # type: ignore[arg-type]
