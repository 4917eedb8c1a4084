"""What DICOM files say of the patient goes into DICOM segmentations, but into no other file and no message."""

import logging
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation

from fake_data.arrays import ball, make_method, tiny_config
from fake_data.dicom import write_series
from fake_data.dicom_annotations import write_seg
from fake_data.patient_data import mark, written
from fake_data.raw.dicom import write as write_scans
from fake_data.raw.lidc import write as write_lidc
from umanet.__main__ import main
from umanet.data.index import read_index
from umanet.inference.model_file import save_model

SEGMENTATIONS = ("dicom-seg", "dicom-seg-fractional")
VOLUMES = (*SEGMENTATIONS, "nrrd", "mha", "bids")
PICTURES = (*SEGMENTATIONS, "geojson", "coco")
SMALL = (
    "--preset", "cpu-small", "--trainer.max-steps", 2, "--trainer.batch-size", 2, "--trainer.validate-every", 1,
    "--device", "cpu", "--backbone.channels", 4, 8, "--backbone.features", 4, "--data.largest-patch", 16,
)  # fmt: skip


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0, words


def write_radiographs(folder: Path) -> Path:
    """Radiographs that lie nowhere in the patient, each with two annotators' segmentations."""
    rng = np.random.default_rng(0)
    for number in range(8):
        disc = ball((32, 32), (16 + number % 3, 15), 7).numpy()
        place = folder / f"P{number}"
        (image,) = write_series(place / "dx", 100 * disc[None] + rng.normal(0, 9, (1, 32, 32)))
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "SliceThickness"):
            delattr(image, name)
        image.save_as(next((place / "dx").iterdir()))
        for annotator, moved in (("anna", 0), ("bert", 1)):
            write_seg(place / f"{annotator}.dcm", [image], {"lung": np.roll(disc, moved, 1)[None] > 0})
    return folder


def check_written(tmp_path: Path, words: set[bytes], segmentations: set[str], said: str) -> None:
    """Nothing in ``work`` but the segmentations holds a word, and nothing that was said."""
    assert written(tmp_path / "work", words) == segmentations
    for path in segmentations:
        assert b"zqperson00" in (tmp_path / "work" / path).read_bytes().lower()
    assert [word for word in words if word in said.lower().encode()] == []


def segmentations_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for kind in SEGMENTATIONS for path in folder.rglob(f"{kind}/*.dcm")}


def test_importing_predicting_and_exporting_write_no_tag(tmp_path, capsys, caplog):
    caplog.set_level(logging.DEBUG, "umanet")
    raw, work = write_scans(tmp_path / "raw", patients=4), tmp_path / "work"
    words = mark(raw)
    dataset = work / "dataset.json"
    run("import", "dicom", raw, "-o", dataset)
    run("check", dataset, "-o", work / "check.json")
    index = read_index(dataset)
    save_model(make_method(index.task, tiny_config()), index, tiny_config(), work / "run")
    # From the folder of the patient: contours and segmentations lie beside the series.
    run("predict", work / "run", raw / "P01", "-o", work / "predictions", "--also", *VOLUMES, "--device", "cpu")
    for to in ("nnunet", "monai", "bids"):
        run("export-dataset", dataset, "--to", to, "-o", work / to)
    said = caplog.text + "".join(capsys.readouterr())
    assert len(segmentations_of(work)) == 2 and len(written(raw, words)) >= 4 * 9  # the search finds them
    check_written(tmp_path, words, segmentations_of(work), said)
    assert written(work, {str(raw).lower().encode()}) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "write", "also"),
    [("dicom", write_scans, VOLUMES), ("dicom", write_radiographs, PICTURES), ("lidc --side 32", write_lidc, VOLUMES)],
    ids=["scans", "radiographs", "LIDC"],
)
def test_the_whole_way_writes_no_tag(tmp_path, capsys, caplog, source, write, also):
    caplog.set_level(logging.DEBUG, "umanet")
    raw, work = write(tmp_path / "raw"), tmp_path / "work"
    words = mark(raw)
    dataset = work / "dataset.json"
    run("import", *source.split(), raw, "-o", dataset)
    run("check", dataset, "-o", work / "check.json")
    run("train", dataset, "-o", work / "run", *SMALL)
    copies = also if source == "dicom" else ("nrrd", "mha", "bids")  # crops of scans are no DICOM images
    run("predict", work / "run", dataset, "--split", "test", "-o", work / "predictions", "--also", *copies)
    if source != "dicom":
        scan = next(path.parent for path in raw.rglob("*.xml"))
        run("predict", work / "run", scan, "-o", work / "of a scan", "--also", *also)
    run("grade", work / "run", dataset, "-o", work / "grades")
    run("evaluate", work / "predictions", dataset, "--split", "test", "-o", work / "evaluation")
    run("agreement", dataset, "-o", work / "agreement")
    run("fuse", dataset, "--with", "staple", "-o", work / "consensus")
    run("report", work / "run", "-o", work / "report.html")
    for to in ("nnunet", "monai", "bids"):
        run("export-dataset", dataset, "--to", to, "-o", work / to, "--with", work / "run")
    said = caplog.text + "".join(capsys.readouterr())
    assert segmentations_of(work)
    check_written(tmp_path, words, segmentations_of(work), said)
    assert written(work, {str(raw).lower().encode()}) == set()
