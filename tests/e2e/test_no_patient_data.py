"""What DICOM files say of the patient goes into DICOM segmentations, and nowhere else."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fake_data.arrays import ball
from fake_data.dicom import write_series
from umanet.__main__ import main
from umanet.data.images import read_image, write_labels
from umanet.data.index import ClassDefinition, DatasetIndex, write_index
from umanet.types import Case

SHAPE = (10, 16, 14)
"""Slices, rows, columns."""
CLASSES = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="organ", values=(1,)))
SPLITS = ("train", "train", "train", "validation", "test", "test")
TAGS = (b"secret", b"19700101", b"20200102")
"""Name, identity, birthday and day of the study, as ``fake_data.dicom`` has them."""


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0, words


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What is said of patients, the folder of the images, and one with all that the commands wrote."""
    raw, work = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    cases, uids = [], set()
    for number, split in enumerate(SPLITS):
        name = f"case{number}"
        organ = ball(SHAPE, (5, 8, 7), 4.5).numpy()
        for dataset in write_series(raw / "images" / name, 100.0 * organ + rng.normal(0, 10, SHAPE)):
            uids |= {str(dataset[tag].value).encode() for tag in ("SOPInstanceUID", "SeriesInstanceUID")}
            uids.add(str(dataset.StudyInstanceUID).encode())
        image, geometry = read_image([raw / "images" / name], 3)
        drawn = {}
        for who, least in (("anna", 50), ("bert", 90)):
            drawn[who] = raw / "annotations" / who / f"{name}.nii.gz"
            labels = (image[0] > least).astype(np.uint8)
            write_labels(drawn[who], labels, replace(geometry, suffix=".nii.gz"), CLASSES)
        cases.append(Case(name, (raw / "images" / name,), drawn, patient=name, split=split))
    index = DatasetIndex(
        name="series",
        spatial_dims=3,
        channels=("ct",),
        classes=CLASSES,
        annotators=("anna", "bert"),
        cases=tuple(cases),
    )
    dataset = work / "dataset.json"
    write_index(index, dataset)
    small = ["--trainer.max-steps", 2, "--trainer.batch-size", 2, "--trainer.validate-every", 1, "--device", "cpu"]
    small += ["--backbone.channels", 4, 8, "--backbone.features", 4, "--data.largest-patch", 16]
    run("check", dataset)
    run("train", dataset, "-o", work / "run", "--preset", "cpu-small", *small)
    also = ("--also", "dicom-seg", "dicom-seg-fractional", "nrrd", "mha", "bids")
    run("predict", work / "run", dataset, "--split", "test", "-o", work / "predictions", *also)
    run("predict", work / "run", raw / "images" / "case0", "-o", work / "of images", "--also", "nrrd")
    run("grade", work / "run", dataset, "-o", work / "grades")
    run("evaluate", work / "predictions", dataset, "--split", "test", "-o", work / "evaluation")
    run("agreement", dataset, "-o", work / "agreement")
    run("fuse", dataset, "--with", "staple", "-o", work / "consensus")
    run("report", work / "run", "-o", work / "report.html")
    return (*TAGS, *uids), raw, work


def written(folder: Path, *words: bytes) -> set[str]:
    """The files in which one of the words stands, in any case, compressed or not."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content = (gzip.decompress(content) if path.suffix == ".gz" else content).lower()
            if any(word in content or word.decode().encode("utf-16-le") in content for word in words):
                found.add(path.relative_to(folder).as_posix())
    return found


def test_tags_of_the_images_are_in_no_file_but_the_segmentations_in_dicom(files):
    said, raw, work = files
    kinds = ("dicom-seg", "dicom-seg-fractional")
    names = {f"predictions/{kind}/case{number}.dcm" for kind in kinds for number in (4, 5)}
    assert written(work, *said) == names
    assert len(written(raw, *said)) == len(SPLITS) * SHAPE[0]  # the search finds them


def test_absolute_paths_of_images_are_in_no_file(files):
    _, raw, work = files
    assert written(work, str(raw).lower().encode()) == set()
