"""What is no download of a source: one line for every source alike, exit code 2, and nothing written."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from test_sources_contract import DOWNLOADS

from umanet.__main__ import main
from umanet.cli.sources import SOURCES

FLAGS = {source: DOWNLOADS.get(source, ()) for source in SOURCES}


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "download.zip", "w") as archive:
        archive.writestr("images/a.png", b"")
    return folder / "download.zip"


def only_archives(folder: Path) -> Path:
    (folder / "unpack me ü").mkdir()
    with tarfile.open(folder / "unpack me ü" / "part 1.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return folder / "unpack me ü"


def nothing_there(folder: Path) -> Path:
    return folder / "no such folder"


def empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty" / ".." / "empty"


def foreign(folder: Path) -> Path:
    (folder / "letters" / "deeper").mkdir(parents=True)
    (folder / "letters" / "deeper" / "letter.txt").write_text("Dear colleague")
    return folder / "letters"


def half(folder: Path) -> Path:
    (folder / "half" / "deeper").mkdir(parents=True)
    (folder / "half" / "deeper" / "image.nii.gz.part").write_bytes(b"\x1f\x8b")
    return folder / "half"


@pytest.mark.parametrize("make", [zipped, only_archives, nothing_there, empty, foreign, half])
@pytest.mark.parametrize("source", SOURCES)
def test_what_is_no_download_is_one_line(source: str, make: Callable[[Path], Path], tmp_path: Path, capsys):
    root = make(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert main(["import", source, str(root), "-o", str(tmp_path / "dataset.json"), *FLAGS[source]]) == 2
    shown = capsys.readouterr()
    line = shown.err.splitlines()[-1]
    assert shown.out == "" and line.startswith("umanet: ") and "Traceback" not in shown.err
    assert Path(root).name.replace("..", "") in line and "expected" in line
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("source", DOWNLOADS)
def test_what_was_imported_before_is_not_overwritten(source: str, tmp_path: Path, capsys):
    raw = import_module(f"fake_data.raw.{source.replace('-', '_')}").write(tmp_path / "raw")
    (tmp_path / "dataset.json").write_text("mine")
    before = set(tmp_path.rglob("*"))
    assert main(["import", source, str(raw), "-o", str(tmp_path / "dataset.json"), *FLAGS[source]]) == 2
    assert "dataset.json" in capsys.readouterr().err.splitlines()[-1]
    assert set(tmp_path.rglob("*")) == before and (tmp_path / "dataset.json").read_text() == "mine"
