"""A manifest: rows become annotations, and rows that contradict each other are refused."""

import csv
from datetime import date
from pathlib import Path

import pytest

from fake_data.raw.csv import FIRST, manifest, write
from umanet.data.images import read_case
from umanet.data.index import ClassDefinition
from umanet.data.sources import csv as source
from umanet.errors import DatasetError


@pytest.fixture
def raw(tmp_path) -> Path:
    return write(tmp_path / "raw")


def rows_of(raw: Path) -> list[list[str]]:
    with raw.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))[1:]


def test_rows_become_annotations_whatever_their_paths_look_like(raw):
    index = source.index(raw)
    assert (len(index.cases), index.annotators, index.channels) == (8, ("anna", "bert"), ("grey",))
    assert [c.values for c in index.classes] == [(0,), (255,)]
    assert [case.split for case in index.cases[:3]] == ["test", "test", None]
    assert index.cases[3].patient == "P3"
    sample = read_case(index.cases[0], index)
    assert sample.present.tolist() == [True, False]
    assert sample.annotations[0, 24, 20] == 1 and sample.annotations[0, 2, 2] == 0


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_are_read(raw, delimiter):
    before = source.index(raw)
    manifest(raw, rows_of(raw), delimiter=delimiter)
    assert source.index(raw) == before


def test_a_file_per_channel_a_truth_and_dates(raw):
    first = ("case", "image:late", "image:early", "annotator", "annotation", "truth", "date")
    rows = [(r[0], r[1], r[1], r[2], r[3], r[3] if r[2] == "anna" else "", "2024-05-31") for r in rows_of(raw)]
    rows.append(("nobody", rows[0][1], rows[0][1], "", "", rows[0][4], ""))
    index = source.index(manifest(raw, rows, first), classes=None, annotators_are_identified=False)
    assert index.channels == ("late", "early")
    assert not index.annotators_are_identified
    assert index.cases[2].dates == {"anna": date(2024, 5, 31), "bert": date(2024, 5, 31)}
    assert index.cases[-1].truth is not None and not index.cases[-1].annotations
    assert read_case(index.cases[0], index).image.shape[0] == 2


def test_classes_and_ignored_values_may_be_given(raw):
    classes = [ClassDefinition(name="background", values=(0,)), ClassDefinition(name="disc", values=(1,))]
    index = source.index(raw, classes=classes, ignore=(255,))
    assert (index.classes[1].name, index.ignore) == ("disc", (255,))


def changed(column, value, line=2):
    def spoil(rows):
        rows[line][FIRST.index(column)] = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message", "left"),
    [
        (changed("annotation", "nowhere.png"), "line 4: No file found at", 8),
        (changed("annotation", ""), "both or neither expected", 8),
        (changed("patient", "P9"), "patient 'P9' found, but 'P1' in another row of case 'case 1'", 8),
        (changed("split", "tset", line=0), "Split 'tset' found", 7),
        (changed("case", ""), "No case found", 8),
        (changed("annotator", "anna"), "A second annotation of 'case 1' by 'anna' found", 8),
        (lambda rows: rows[0].append("more"), "More columns than in the first line", 7),
        (changed("image", "nowhere.png", line=0), "case 0: No file found at", 7),
    ],
)
def test_what_is_wrong_is_said_and_left_out_on_demand(raw, caplog, spoil, message, left):
    rows = rows_of(raw)
    spoil(rows)
    manifest(raw, rows)
    with pytest.raises(DatasetError, match="usable rows expected"):
        source.index(raw)
    assert message in caplog.text
    assert len(source.index(raw, leave_out=True).cases) == left


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (("case", "image", "annotator", "mask", "patient", "split"), "No column 'annotation' found"),
        (("case", "picture", "annotator", "annotation", "patient", "split"), "No column 'image' found"),
        (("case", "image", "annotator", "annotation", "patien", "split"), "Column 'patien' found.*'patient'"),
        (("case", "image", "annotator", "annotation", "image:a", "split"), "one kind expected"),
        (("case", "image", "annotator", "annotation", "split", "split"), "A column twice found"),
    ],
)
def test_columns_that_are_missing_or_unknown_are_named(raw, first, message):
    manifest(raw, rows_of(raw), first)
    with pytest.raises(DatasetError, match=message):
        source.index(raw)


def test_a_folder_and_other_files_are_no_manifest(raw):
    with pytest.raises(DatasetError, match=r"A folder found .* a CSV file expected\. Name the file, as .*manifest"):
        source.index(raw.parent)
    with pytest.raises(DatasetError, match="No such file or directory found"):
        source.index(raw.with_name("none.csv"))
    raw.write_bytes(b"\xff\xfe\x00case")
    with pytest.raises(DatasetError, match=r"Another file found at .* a CSV file in UTF-8 expected"):
        source.index(raw)
