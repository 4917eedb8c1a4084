"""What check finds in files, between annotations, and across cases; 2D and 3D alike where both have it."""

import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fake_data.dicom import write_series
from umanet.__main__ import main
from umanet.data.check import CODES, CheckReport, check
from umanet.data.index import ClassDefinition, DatasetIndex, read_index, write_index
from umanet.data.sources import folder
from umanet.executor import INLINE, Executor
from umanet.types import Case

SHAPES = {2: (24, 24), 3: (24, 24, 12)}
AFFINE = np.diag([0.8, 0.8, 2, 1.0])


def blob(dims: int, shift: int = 0) -> np.ndarray:
    """Something that no flip and no swap of axes leaves as it is."""
    mask = np.zeros(SHAPES[dims], np.uint8)
    mask[(slice(2, 6), slice(10 + shift, 20 + shift), slice(1, 5))[:dims]] = 1
    return mask


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        image = nib.Nifti1Image(array, affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, path)
    else:
        Image.fromarray(array).save(path)


def noise(seed: int, dims: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, SHAPES[dims]).astype(np.uint8)


SUFFIX = {2: ".png", 3: ".nii.gz"}


@pytest.fixture(params=[2, 3])
def dims(request) -> int:
    return request.param


def data(root: Path, dims: int = 3, cases: int = 3, annotators: int = 3) -> DatasetIndex:
    for case in range(cases):
        save(root / "images" / f"c{case}{SUFFIX[dims]}", noise(case, dims))
        for annotator in range(annotators):
            mask = blob(dims, case % 3)
            mask.flat[0] = 0
            mask[(3 + case % 3, 12 + annotator, 2)[:dims]] = 0  # no two alike
            mask[(7, case % 20, case % 10)[:dims]] = 1
            save(root / f"annotations/a{annotator}" / f"c{case}{SUFFIX[dims]}", mask)
    return folder.index(root)


def codes(report: CheckReport) -> list[str]:
    return [problem.code for problem in report.problems]


def only(index: DatasetIndex):
    (problem,) = check(index).problems
    return problem


def test_the_data_of_these_tests_is_good(tmp_path, dims):
    assert check(data(tmp_path, dims, cases=12)).problems == ()


def cut_trailer(path):
    path.write_bytes(path.read_bytes()[:-6])


def wrong_checksum(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])


def html(path):
    path.write_bytes(b"\n<!DOCTYPE html>\n<html>Not found</html>")


def archive(path):
    path.write_bytes(b"PK\x03\x04" + bytes(200))


def nothing(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("kind", ["images", "annotations/a1"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_trailer, "end-of-stream"),
        (wrong_checksum, "CRC"),
        (html, "HTML page: a failed download"),
        (archive, "ZIP archive. Unpack it"),
        (nothing, "empty file: an unfinished download"),
    ],
)
def test_a_file_that_is_not_whole_or_something_else_is_unreadable(tmp_path, kind, spoil, said):
    index = data(tmp_path)
    path = tmp_path / kind / "c1.nii.gz"
    spoil(path)
    problem = only(index)
    assert (problem.severity, problem.code, problem.case, problem.file) == ("error", "unreadable", "c1", str(path))
    assert said in problem.message and problem.remedy and problem.message.endswith(problem.remedy)


def test_a_page_in_place_of_a_picture_is_named(tmp_path):
    index = data(tmp_path, 2)
    html(tmp_path / "images/c1.png")
    assert "an HTML page: a failed download. Get the file again." in only(index).message


def test_an_archive_is_to_be_unpacked(tmp_path):
    index = data(tmp_path)
    archive(tmp_path / "c1.zip")
    cases = (replace(index.cases[0], image=(tmp_path / "c1.zip",)), *index.cases[1:])
    assert "unpack it" in only(index.model_copy(update={"cases": cases})).remedy


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_bytes_after_the_values_are_a_warning(tmp_path, suffix):
    index = data(tmp_path)
    path = tmp_path / f"odd{suffix}"
    save(path, blob(3, 1))
    whole = gzip.decompress(path.read_bytes()) if suffix == ".nii.gz" else path.read_bytes()
    path.write_bytes(gzip.compress(whole + b"tail") if suffix == ".nii.gz" else whole + b"tail")
    annotated = replace(index.cases[1], annotations={**index.cases[1].annotations, "a2": path})
    problem = only(index.model_copy(update={"cases": (index.cases[0], annotated, index.cases[2])}))
    assert (problem.severity, problem.code) == ("warning", "file-size")
    assert "4 bytes after the last value" in problem.message


@pytest.mark.parametrize(
    ("millimetres", "expected"),
    [(1e-5, None), (0.01, ("warning", "geometry-noise")), (0.2, ("error", "geometry"))],
)
def test_grids_may_differ_by_noise_only(tmp_path, millimetres, expected):
    index = data(tmp_path)
    affine = AFFINE.copy()
    affine[0, 3] = millimetres
    save(tmp_path / "annotations/a1/c1.nii.gz", blob(3, 1), affine)
    found = [(p.severity, p.code) for p in check(index).problems]
    assert found == ([expected] if expected else [])


def test_annotations_are_compared_with_each_other_where_the_image_is_of_no_use(tmp_path):
    index = data(tmp_path)
    nothing(tmp_path / "images/c1.nii.gz")
    save(tmp_path / "annotations/a2/c1.nii.gz", blob(3, 1)[:-1])
    assert codes(check(index)) == ["unreadable", "geometry"]
    assert "the annotation of a0 and" in check(index).to_text()


@pytest.mark.parametrize("kind", ["images", "annotations/a1"])
def test_two_forms_that_disagree_are_a_warning(tmp_path, kind):
    index = data(tmp_path)
    path = tmp_path / kind / "c1.nii.gz"
    image = nib.Nifti1Image(np.asarray(nib.load(path).dataobj), AFFINE)
    image.header.set_xyzt_units("mm")
    image.set_sform(AFFINE, code=1)
    moved = AFFINE.copy()
    moved[0, 3] = 5
    image.set_qform(moved, code=1)
    nib.save(image, path)
    problem = only(index)
    assert (problem.severity, problem.code) == ("warning", "qform-sform") and "5 mm apart" in problem.message


def test_a_file_of_several_volumes_is_named_so(tmp_path):
    index = data(tmp_path)
    save(tmp_path / "images/c0.nii.gz", np.stack([noise(9, 3)] * 5, 3))
    save(tmp_path / "annotations/a1/c1.nii.gz", np.stack([blob(3), blob(3, 1)], 3))
    image, annotation = check(index).problems
    assert (image.code, annotation.code) == ("volumes", "volumes")
    assert "A 4D file of 5 volumes" in image.message and "2 volumes in one file found" in annotation.message


def test_two_volumes_that_are_the_same_are_no_annotation_either(tmp_path):
    index = data(tmp_path)
    save(tmp_path / "annotations/a1/c1.nii.gz", np.stack([blob(3), blob(3)], 3))
    assert [problem.code for problem in check(index).problems] == ["volumes"]


@pytest.mark.parametrize(
    ("value", "code", "remedy"),
    [
        (0.25, "unknown-value", "probability map or an interpolated"),
        (255, "unknown-value", "--classes background=0 foreground=1,255"),
        (9, "unknown-value", "Add the value to a class"),
        (np.nan, "not-finite", "Replace"),
    ],
)
def test_values_that_mean_nothing_are_errors_with_a_remedy(tmp_path, value, code, remedy):
    index = data(tmp_path)
    index = index.model_copy(update={"classes": (index.classes[0], ClassDefinition(name="foreground", values=(1,)))})
    save(tmp_path / "annotations/a1/c1.nii.gz", blob(3, 1).astype(np.float32) * np.float32(value))
    problem = only(index)
    assert (problem.severity, problem.code) == ("error", code) and remedy in problem.remedy


def test_one_class_may_be_1_in_some_files_and_255_in_others(tmp_path, dims):
    index = data(tmp_path, dims)
    path = tmp_path / f"annotations/a1/c1{SUFFIX[dims]}"
    save(path, blob(dims, 1) * np.uint8(255))
    two = (index.classes[0], *(ClassDefinition(name=f"class_{value}", values=(value,)) for value in (1, 255)))
    assert codes(check(index.model_copy(update={"classes": two}))) == ["mixed-values"]
    classes = (index.classes[0], ClassDefinition(name="lesion", values=(1, 255)))
    assert check(index.model_copy(update={"classes": classes})).problems == ()


def test_ignored_values_mean_nothing_wrong_and_are_counted(tmp_path, dims):
    index = data(tmp_path, dims).model_copy(update={"ignore": (77,)})
    mask = blob(dims, 1)
    mask[0] = 77
    save(tmp_path / f"annotations/a1/c1{SUFFIX[dims]}", mask)
    report = check(index)
    assert report.problems == ()
    assert [(c.name, c.annotations, c.voxels) for c in report.classes][-1] == ("(ignored)", 1, mask[0].size)


def test_a_class_that_its_annotator_does_not_draw_is_an_error(tmp_path, dims):
    index = data(tmp_path, dims)
    both = (*index.classes, ClassDefinition(name="other", values=(2,)))
    mask = blob(dims, 1)
    mask[:, :3] = 2
    save(tmp_path / f"annotations/a1/c1{SUFFIX[dims]}", mask)
    index = index.model_copy(update={"classes": both, "annotator_classes": {"a1": (index.classes[1].name,)}})
    problem = only(index)
    assert (problem.severity, problem.code, problem.annotator) == ("error", "undeclared-class", "a1")


MOVES = {
    "a flip along axis 0": lambda a: np.flip(a, 0),
    "a flip along axis 1": lambda a: np.flip(a, 1),
    "a swap of axes 0 and 1": lambda a: np.swapaxes(a, 0, 1),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_mirrored_annotation_is_a_warning_that_names_the_axis(tmp_path, dims, move):
    index = data(tmp_path, dims)
    path = tmp_path / f"annotations/a1/c1{SUFFIX[dims]}"
    save(path, np.ascontiguousarray(MOVES[move](blob(dims, 1))))
    problem = only(index)
    assert (problem.code, problem.case, problem.annotator) == ("mirrored-annotation", "c1", "a1")
    assert move in problem.message


def test_annotators_who_drew_different_things_are_not_mirrored(tmp_path, dims):
    index = data(tmp_path, dims)
    elsewhere = np.zeros(SHAPES[dims], np.uint8)
    elsewhere[15:18, 2:4] = 1
    save(tmp_path / f"annotations/a1/c1{SUFFIX[dims]}", elsewhere)
    assert check(index).problems == ()


def test_the_annotation_of_another_case_is_a_copy(tmp_path, dims):
    index = data(tmp_path, dims)
    name = f"annotations/a1/c%d{SUFFIX[dims]}"
    (tmp_path / (name % 2)).write_bytes((tmp_path / (name % 1)).read_bytes())
    problem = only(index)
    assert (problem.severity, problem.code, problem.case) == ("warning", "same-annotation", "c2")
    assert "The same as c1/a1" in problem.message


def test_an_image_of_another_scale_is_an_outlier(tmp_path, dims):
    index = data(tmp_path, dims, cases=12)
    save(tmp_path / f"images/c5{SUFFIX[dims]}", noise(5, dims) // 8)
    problem = only(index)
    assert (problem.severity, problem.code, problem.case) == ("warning", "intensity-outlier", "c5")


def test_images_that_agree_closely_have_no_outliers_within_their_contrast(tmp_path, dims):
    index = data(tmp_path, dims, cases=12)
    image = np.asarray(noise(0, dims), np.uint8) // 2
    for k, case in enumerate(index.cases):
        save(case.image[0], np.roll(image, k) + (20 if k == 5 else k % 3))
    assert check(index).problems == ()


def test_few_cases_have_no_outliers(tmp_path, dims):
    index = data(tmp_path, dims, cases=9)
    save(tmp_path / f"images/c5{SUFFIX[dims]}", noise(5, dims) // 8)
    assert check(index).problems == ()


def test_an_unusual_spacing_is_a_note(tmp_path):
    index = data(tmp_path, cases=12)
    thick = np.diag([0.8, 0.8, 7, 1.0])
    case = index.cases[5]
    for path in [*case.image, *case.annotations.values()]:
        save(path, np.asarray(nib.load(path).dataobj), thick)
    problem = only(index)
    assert (problem.severity, problem.code, problem.case) == ("note", "spacing-outlier", case.id)
    assert "0.8 x 0.8 x 7 mm found, about 0.8 x 0.8 x 2 mm" in problem.message


def test_coverage_tells_empty_missing_and_unusable_apart(tmp_path, dims):
    data(tmp_path, dims, cases=4)
    path = f"annotations/a1/c%d{SUFFIX[dims]}"
    save(tmp_path / (path % 0), blob(dims) * np.uint8(0))
    (tmp_path / (path % 1)).unlink()
    index = folder.index(tmp_path)
    nothing(tmp_path / (path % 2))
    report = check(index)
    assert report.to_json()["coverage"][1] == {
        "annotator": "a1", "present": 1, "empty": 1, "unusable": 1, "missing": ("c1",),
    }  # fmt: skip
    assert "annotator a1: 1 drawn, 1 empty, 1 unusable, 1 missing." in report.to_text()
    assert report.classes[1].annotations == 9


def spoilt(root: Path, dims: int) -> DatasetIndex:
    index = data(root, dims, cases=12)
    nothing(index.cases[3].image[0])
    save(index.cases[5].annotations["a1"], blob(dims) * np.uint8(0))
    save(index.cases[7].annotations["a0"], blob(dims)[:-1])
    index.cases[9].annotations["a2"].write_bytes(index.cases[8].annotations["a2"].read_bytes())
    return index


@pytest.mark.parametrize("how", ["processes", "threads"])
def test_any_number_of_workers_gives_the_same_report(tmp_path, dims, how, monkeypatch):
    index = spoilt(tmp_path, dims)
    one = check(index, executor=INLINE)
    assert codes(one) == ["unreadable", "geometry", "same-annotation", "empty-annotation"]
    told = []
    monkeypatch.setattr("umanet.data.check.dataset._threads", lambda index: 4)
    executor = Executor(workers=2) if how == "processes" else None
    assert check(index, executor=executor, progress=lambda done, total: told.append((done, total))) == one
    assert told == [(n, 12) for n in range(1, 13)]


def test_a_folder_of_dicom_slices_is_an_image_as_any(tmp_path):
    pytest.importorskip("highdicom")
    cases = []
    for number in range(3):
        write_series(tmp_path / f"c{number}", np.random.default_rng(number // 2).integers(0, 99, (4, 5, 6)) * 1.0)
        image = tmp_path / f"c{number}"
        cases.append(
            Case(f"c{number}", (image if number else next(iter(sorted(image.iterdir()))),), patient=f"p{number}")
        )
    classes = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="lesion", values=(1,)))
    index = DatasetIndex(spatial_dims=3, channels=("ct",), classes=classes, cases=tuple(cases))
    assert codes(check(index)) == ["no-annotation", "same-image"]
    shutil.rmtree(tmp_path / "c1")
    assert codes(check(index)) == ["no-annotation", "missing-file"]


def test_spaces_letters_and_dots_in_paths_are_no_matter(tmp_path, dims, capsys):
    root = tmp_path / "my däta (1)" / "raw 数据"
    data(root, dims)
    (tmp_path / "work here").mkdir()
    write_index(folder.index(root), tmp_path / "work here" / "dataset.json")
    assert "../my däta (1)/raw 数据" in (tmp_path / "work here" / "dataset.json").read_text(encoding="utf-8")
    assert check(read_index(tmp_path / "work here" / "dataset.json")).problems == ()
    output = tmp_path / "work here" / "repört.json"
    assert main(["check", str(tmp_path / "work here" / ".." / "work here" / "dataset.json"), "-o", str(output)]) == 0
    assert json.loads(output.read_text(encoding="utf-8"))["ok"] is True


def test_the_file_that_is_written_is_the_json_that_is_printed(tmp_path, capsys):
    index = spoilt(tmp_path, 3)
    write_index(index, tmp_path / "dataset.json")
    words = ["check", str(tmp_path / "dataset.json"), "--json", "-o", str(tmp_path / "report.json"), "--workers", "2"]
    assert main(words) == 1
    stored = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert stored == json.loads(capsys.readouterr().out)
    problem = stored["problems"][0]
    assert problem["file"] == str(index.cases[3].image[0])
    assert problem["remedy"] and problem["code"] in CODES


def test_the_page_of_codes_has_every_code_with_its_severities():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "check.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ((?:error|warning|note)\b.*?) \|", page, re.MULTILINE))
    assert list(rows) == list(CODES)
