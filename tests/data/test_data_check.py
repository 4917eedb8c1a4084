import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from umanet.data.check import check
from umanet.data.index import DatasetIndex
from umanet.data.sources import folder

DISC = (np.hypot(*np.mgrid[-8:8, -10:10]) < 6).astype(np.uint8)


@pytest.fixture
def index(tmp_path) -> DatasetIndex:
    """Three good cases with two annotators and a truth, every file of its own."""
    for n, case in enumerate("abc"):
        disc = np.roll(DISC, n - 1, 1)
        for kind, array in {
            "images": np.random.default_rng(n).integers(0, 255, DISC.shape, dtype=np.uint8),
            "annotations/anna": disc,
            "annotations/ben": np.roll(disc, 1, 0),
            "truth": disc,
        }.items():
            save(tmp_path / kind / f"{case}.png", array)
    return folder.index(tmp_path)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def found(index: DatasetIndex) -> set[tuple[str, str, str | None, str | None]]:
    return {(p.severity, p.code, p.case, p.annotator) for p in check(index).problems}


def with_case(index: DatasetIndex, number: int, **changes) -> DatasetIndex:
    cases = list(index.cases)
    cases[number] = replace(cases[number], **changes)
    return index.model_copy(update={"cases": tuple(cases)})


def test_a_good_data_set_has_no_problems(index):
    report = check(index)
    assert report.ok
    assert report.problems == ()
    assert report.to_text().splitlines() == [
        f"{index.name}: 3 cases, 0 errors, 0 warnings, 0 notes.",
        "annotator anna: 3 drawn, 0 empty, 0 missing.",
        "annotator ben: 3 drawn, 0 empty, 0 missing.",
        "class background (0): 6 annotations, 1266 voxels.",
        "class foreground (1): 6 annotations, 654 voxels.",
    ]


def test_progress_is_told_after_every_case(index):
    told = []
    check(index, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def spoil_shape(root):
    save(root / "annotations/ben/b.png", DISC[:5])


def spoil_value(root):
    save(root / "annotations/ben/b.png", DISC * 9)


def spoil_truth(root):
    save(root / "truth/b.png", DISC * 9)


def truncate_annotation(root):
    path = root / "annotations/ben/b.png"
    path.write_bytes(path.read_bytes()[:60])


def truncate_image(root):
    path = root / "images/b.png"
    path.write_bytes(path.read_bytes()[:60])


def remove_annotation(root):
    (root / "annotations/ben/b.png").unlink()


def remove_image(root):
    (root / "images/b.png").unlink()


def colour_image(root):
    save(root / "images/b.png", np.random.default_rng(9).integers(0, 255, (*DISC.shape, 3), dtype=np.uint8))


def colour_annotation(root):
    save(root / "annotations/ben/b.png", np.stack([DISC, DISC, DISC * 2], 2))


def flatten_image(root):
    save(root / "images/b.png", DISC * 0)


def empty_annotation(root):
    save(root / "annotations/ben/b.png", DISC * 0)


def empty_truth(root):
    save(root / "truth/b.png", DISC * 0)


def copy_annotation(root):
    save(root / "annotations/ben/b.png", DISC)


def copy_image(root):
    (root / "images/b.png").write_bytes((root / "images/a.png").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoil_shape, ("error", "geometry", "b", "ben")),
        (spoil_value, ("error", "unknown-value", "b", "ben")),
        (spoil_truth, ("error", "unknown-value", "b", None)),
        (truncate_annotation, ("error", "unreadable", "b", "ben")),
        (truncate_image, ("error", "unreadable", "b", None)),
        (remove_annotation, ("error", "missing-file", "b", "ben")),
        (remove_image, ("error", "missing-file", "b", None)),
        (colour_image, ("error", "channels", "b", None)),
        (colour_annotation, ("error", "not-labels", "b", "ben")),
        (flatten_image, ("warning", "constant-image", "b", None)),
        (empty_annotation, ("note", "empty-annotation", "b", "ben")),
        (empty_truth, ("note", "empty-truth", "b", None)),
        (copy_annotation, ("warning", "identical-annotations", "b", "ben")),
        (copy_image, ("warning", "same-image", "b", None)),
    ],
)
def test_one_spoilt_file_is_one_problem(index, tmp_path, spoil, expected):
    spoil(tmp_path)
    assert found(index) == {expected}


@pytest.mark.parametrize(
    ("spoil", "counts"),
    [
        (empty_annotation, (2, 1, 0, ())), (remove_annotation, (2, 0, 0, ("b",))), (spoil_shape, (2, 0, 1, ())),
        (truncate_annotation, (2, 0, 1, ())),
    ],
)  # fmt: skip
def test_the_coverage_tells_drawn_empty_unusable_and_missing_apart(index, tmp_path, spoil, counts):
    spoil(tmp_path)
    ben = next(row for row in check(index).coverage if row.annotator == "ben")
    assert (ben.present, ben.empty, ben.unusable, ben.missing) == counts


def test_all_problems_come_in_one_report_errors_first(index, tmp_path):
    for spoil in (empty_annotation, truncate_image):
        spoil(tmp_path)
    save(tmp_path / "annotations/anna/a.png", DISC[:5] * 9)
    save(tmp_path / "annotations/anna/c.png", np.roll(DISC, (1, 1), (0, 1)))
    report = check(index)
    assert [(p.code, p.case) for p in report.problems] == [
        ("geometry", "a"),
        ("unknown-value", "a"),
        ("unreadable", "b"),
        ("identical-annotations", "c"),
        ("empty-annotation", "b"),
    ]
    assert not report.ok


def test_the_report_is_json_and_text(index, tmp_path):
    remove_annotation(tmp_path)
    report = check(index)
    stored = json.loads(json.dumps(report.to_json()))
    assert stored["ok"] is False
    assert stored["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert stored["problems"][0]["code"] == "missing-file"
    text = report.to_text()
    assert "error [missing-file] b/ben: No file found at" in text
    assert f"{report.cases} cases, 1 error, 0 warnings, 0 notes." in text


def test_what_is_the_same_in_many_cases_is_one_line(index):
    many = [replace(index.cases[0], id=f"{n}", image=index.cases[n % 3].image) for n in range(6)]
    copies = [replace(case, annotations=dict.fromkeys(("anna", "ben"), case.annotations["anna"])) for case in many]
    report = check(index.model_copy(update={"cases": tuple(copies)}))
    identical = [problem for problem in report.problems if problem.code == "identical-annotations"]
    assert [problem.case for problem in identical] == list("012345")
    lines = [line for line in report.to_text().splitlines() if "identical" in line]
    assert lines == [
        "warning [identical-annotations] ben, 6 times (0, 1, 2 ...; --json has all), the first: Identical to the "
        "annotation of anna, one of their "
        "own expected. See that it is no copy."
    ]


def with_values(root: Path, count: int, **odd: np.ndarray) -> DatasetIndex:
    """Data set of ``count`` cases of one annotator; cases ``c<number>`` in ``odd`` get other annotations."""
    for number in range(count):
        save(root / "images" / f"c{number}.png", np.random.default_rng(number).integers(255, size=BIG).astype(np.uint8))
        save(root / "annotations/anna" / f"c{number}.png", odd.get(f"c{number}", np.full(BIG, 255, np.uint8)))
    return folder.index(root)


BIG = (60, 60)
STRAY = np.full(BIG, 255, np.uint8)
STRAY[0, 0] = 254
HALF = np.full(BIG, 255, np.uint8)
HALF[:30] = 254


@pytest.mark.parametrize(
    ("count", "odd", "rare"),
    [
        (20, {"c3": STRAY}, True),  # a stray voxel
        (40, {"c3": STRAY, "c4": STRAY}, True),  # in 5 % of the annotations
        (40, {"c3": STRAY, "c4": STRAY, "c5": STRAY}, False),  # a small structure that occurs again and again
        (40, {"c3": HALF, "c4": HALF}, False),  # a rare but solid class
        (20, {"c3": HALF}, True),  # one file is as another program wrote it
        (19, {"c3": STRAY}, False),  # too few to tell
    ],
)
def test_a_class_that_looks_like_stray_values_is_reported(tmp_path, count, odd, rare):
    report = check(with_values(tmp_path, count, **odd))
    # The odd annotations are the same in several cases.
    assert [p.code for p in report.problems if p.code != "same-annotation"] == (["rare-class"] if rare else [])
    if rare:
        assert f"'class_254' (value 254) found in {len(odd)} of {count} annotations" in report.to_text()
        assert "first in c3/anna" in report.to_text() and "umanet import --classes" in report.to_text()


def test_two_empty_annotations_are_no_copies(index, tmp_path):
    empty_annotation(tmp_path)
    save(tmp_path / "annotations/anna/b.png", DISC * 0)
    assert {code for _, code, *_ in found(index)} == {"empty-annotation"}


def test_a_patient_in_two_splits_is_an_error(index):
    mixed = with_case(with_case(index, 0, patient="p", split="train"), 1, patient="p", split="test")
    assert found(mixed) == {("error", "patient-in-two-splits", None, None)}
    assert "Patient 'p' found in the splits test and train, one expected" in check(mixed).to_text()


def test_the_same_image_in_two_splits_is_an_error(index, tmp_path):
    copy_image(tmp_path)
    leaking = with_case(with_case(index, 0, split="train"), 1, split="test")
    assert found(leaking) == {("error", "same-image", "b", None)}


@pytest.mark.parametrize(("split", "severity"), [("train", "error"), (None, "error"), ("test", "warning")])
def test_a_case_that_nobody_annotated_is_reported(index, split, severity):
    assert found(with_case(index, 1, annotations={}, split=split)) == {(severity, "no-annotation", "b", None)}


def test_a_data_set_that_nobody_annotated_has_one_error(index):
    bare = index.model_copy(update={"cases": tuple(replace(case, annotations={}) for case in index.cases)})
    assert found(bare) == {("error", "no-annotation", None, None)}


def test_names_and_classes_without_any_annotation_are_reported(index):
    idle = index.model_copy(
        update={
            "annotators": (*index.annotators, "carl"),
            "classes": (*index.classes, index.classes[1].model_copy(update={"name": "other", "values": (7,)})),
        }
    )
    assert found(idle) == {
        ("warning", "annotator-without-annotation", None, "carl"),
        ("warning", "class-without-annotation", None, None),
    }


def test_a_volume_among_slices_is_an_error(index, tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((16, 20, 4), np.uint8), np.eye(4)), tmp_path / "b.nii")
    mixed = with_case(index, 1, image=(tmp_path / "b.nii",))
    assert found(mixed) == {("error", "geometry", "b", None)}
    assert "A 3D image of shape (16, 20, 4) found, 2D expected" in check(mixed).to_text()


def test_nan_and_another_affine_are_errors(tmp_path):
    for case in "ab":
        volume = np.random.default_rng(ord(case)).random((6, 7, 8), dtype=np.float32)
        volume[0, 0, 0] = np.nan if case == "a" else 0
        for kind, array, shift in [("images", volume, 0), ("annotations/anna", volume > 0.5, 3 * (case == "b"))]:
            affine = np.eye(4)
            affine[0, 3] = shift
            (tmp_path / kind).mkdir(parents=True, exist_ok=True)
            nib.save(
                nib.Nifti1Image(array if kind == "images" else array.astype(np.uint8), affine),
                tmp_path / kind / f"{case}.nii.gz",
            )
    index = folder.index(tmp_path)
    assert found(index) == {("error", "not-finite", "a", None), ("error", "geometry", "b", "anna")}
    text = check(index).to_text()
    assert "1 NaN or infinite value found" in text
    assert "grids whose corners lie 3 mm apart" in text


def test_an_empty_split_is_a_warning_once_there_are_splits(index):
    only_test = index
    for number in range(3):
        only_test = with_case(only_test, number, split="test")
    assert found(only_test) == {("warning", "empty-split", None, None)}
