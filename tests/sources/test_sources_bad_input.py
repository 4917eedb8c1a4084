"""What is no download of a source, or a spoiled one: a line that says so for every source alike, and exit code 2."""

import io
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from test_sources_contract import DOWNLOADS

from fake_data.files import claiming_png
from umanet.__main__ import main
from umanet.cli.sources import SOURCES
from umanet.data.index import read_index

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


@pytest.mark.parametrize("source", DOWNLOADS)
def test_a_place_that_cannot_be_written_is_said_once_and_is_no_fault_of_the_data(source: str, tmp_path: Path, capsys):
    raw = import_module(f"fake_data.raw.{source.replace('-', '_')}").write(tmp_path / "raw")
    (tmp_path / "letter.txt").write_text("Dear colleague")
    assert main(["import", source, str(raw), "-o", str(tmp_path / "letter.txt/dataset.json"), *FLAGS[source]]) == 2
    shown = capsys.readouterr().err
    assert shown.count("could not be written") == 1 and "Choose another place" in shown.splitlines()[-1]
    assert "fault" not in shown and "--leave-out" not in shown


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FIRST_IMAGES = {
    "bids": ("sub-01/ses-a/anat/sub-01_ses-a_acq-mprage_T1w.nii.gz", "sub-01_ses-a_acq-mprage"),
    "csv": ("my images/Röntgen 0.png", "case 0"),
    "lidc-crops": ("images/LIDC-IDRI-0001_nodule-0.png", "LIDC-IDRI-0001_nodule-0"),
    "nnunet": ("imagesTr/scan 00_0000.nii.gz", "scan 00"),
}


@pytest.mark.parametrize("source", FIRST_IMAGES)
def test_a_first_image_that_cannot_be_read_does_not_hide_the_others(source: str, tmp_path: Path, capsys):
    raw = import_module(f"fake_data.raw.{source.replace('-', '_')}").write(tmp_path / "raw")
    name, case = FIRST_IMAGES[source]
    halved((raw.parent if raw.is_file() else raw) / name)
    assert main(["import", source, str(raw), "-o", str(tmp_path / "dataset.json"), *FLAGS[source]]) == 0
    assert f"{case}: " in capsys.readouterr().err
    assert case in {found.id for found in read_index(tmp_path / "dataset.json").cases}
    assert main(["check", str(tmp_path / "dataset.json")]) == 1
    shown = capsys.readouterr().out
    assert "1 error," in shown and f"error [unreadable] {case}: " in shown


def no_series(raw: Path) -> None:
    for path in (raw / "LIDC-IDRI/LIDC-IDRI-0008").rglob("*.*"):
        if path.is_file():
            path.unlink()


def bomb_of(side: int) -> Callable[[Path], None]:
    def spoil(raw: Path) -> None:
        claiming_png(raw / "scr/scratch/fold1/masks/heart/JPCLN001.gif", side)

    return spoil


@pytest.mark.parametrize(
    ("source", "spoil", "said"),
    [
        ("curvas", lambda raw: (raw / "testing_set").rename(raw / "tests"), "Cases found in .*tests, .*testing_set"),
        ("lidc", no_series, "LIDC-IDRI-0008: No DICOM and no XML file found"),
        ("jsrt", bomb_of(10_000), "JPCLN001: 10000 x 10000 pixels"),
        ("jsrt", bomb_of(60_000), "JPCLN001: 3600000000 pixels found"),
    ],
)
def test_what_would_be_skipped_or_fill_the_memory_is_refused(source, spoil, said, tmp_path: Path, capsys):
    raw = import_module(f"fake_data.raw.{source}").write(tmp_path / "raw")
    spoil(raw)
    assert main(["import", source, str(raw), "-o", str(tmp_path / "dataset.json"), *FLAGS[source]]) == 2
    shown = capsys.readouterr().err
    assert re.search(said, shown) and "1 fault found" in shown.splitlines()[-1]
    assert not (tmp_path / "dataset.json").exists()


def test_a_part_of_riga_that_is_not_there_is_said(tmp_path: Path, capsys):
    raw = import_module("fake_data.raw.riga").write(tmp_path / "raw")
    shutil.rmtree(raw / "Magrabia/MagrabiaMale")
    assert main(["import", "riga", str(raw), "-o", str(tmp_path / "dataset.json")]) == 0
    warning = next(line for line in capsys.readouterr().err.splitlines() if "No pictures of" in line)
    assert "MagrabiaMale" in warning and "MESSIDOR" not in warning
