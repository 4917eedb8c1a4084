"""`umanet predict RUN SERIES`: label maps that lie in the patient where the series lies."""

import json

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from fake_data.arrays import make_method, tiny_config
from fake_data.dicom import OBLIQUE, write_series
from fake_data.dicom_annotations import write_seg
from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.data.dicom import read_series
from umanet.data.geometry import from_ras
from umanet.errors import ImageError
from umanet.inference.image_files import find_images
from umanet.inference.model_file import load_model, save_model
from umanet.inference.predict import predict_case
from umanet.inference.unread import samples_of_images

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained model for volumes."""
    folder = tmp_path_factory.mktemp("discs")
    index = write_discs(folder, (10, 12, 8), train=1, validation=2)
    save_model(make_method(index.task, tiny_config()), index, tiny_config(), folder / "run")
    return folder / "run"


def labels_in_slices(run, series):
    """Predicted labels as slices, rows, columns, in the order in which the slices were written."""
    model = load_model(run)
    sample = next(iter(samples_of_images(model, [series])[1]))
    labels = predict_case(model, sample).probabilities[0].argmax(0).numpy()
    labels = from_ras(labels, sample.geometry).transpose(2, 1, 0)
    stored = from_ras(sample.image[0].numpy(), sample.geometry).transpose(2, 1, 0)
    return labels[np.argsort(stored[:, 0, 0])]


def check_place(path, expected):
    """A voxel of the file lies where the tags of the series say that its row and column of its slice lie."""
    found = nib.load(path)
    row, column = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
    inverse = np.linalg.inv(found.affine)
    for s, r, c in np.ndindex(*expected.shape):
        x, y, z = np.array([-40, 15, -120]) + c * 0.7 * row + r * 0.8 * column + s * 2.5 * np.cross(row, column)
        voxel = (inverse @ [-x, -y, z, 1])[:3]
        assert np.abs(voxel - voxel.round()).max() < 1e-3
        assert found.dataobj[tuple(voxel.round().astype(int))] == expected[s, r, c]


def write_numbered(folder):
    """The first voxel of a slice is its number, so that the order can be found again."""
    values = rng.integers(10, 1000, (6, 9, 11)).astype(float)
    values[:, 0, 0] = np.arange(6)
    write_series(folder, values, suffix="")


def test_a_folder_of_one_series_is_one_image(run, tmp_path):
    write_numbered(tmp_path / "P7")
    assert main(["predict", str(run), str(tmp_path / "P7"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    expected = labels_in_slices(run, tmp_path / "P7")
    assert len(np.unique(expected)) > 1
    check_place(tmp_path / "out" / "labels" / "P7.nii.gz", expected)
    for path in (tmp_path / "out").rglob("*.json"):
        assert "SECRET" not in path.read_text().upper()


def test_a_folder_of_series_folders_is_an_image_each(run, tmp_path):
    for name in ("P1", "P2"):
        write_numbered(tmp_path / "in" / name)
    assert main(["predict", str(run), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert set(json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"]) == {"P1", "P2"}
    check_place(tmp_path / "out" / "labels" / "P2.nii.gz", labels_in_slices(run, tmp_path / "in" / "P2"))
    assert read_series(tmp_path / "in" / "P2")[1].suffix == ".dcm"


def test_a_folder_of_two_series_is_refused(run, tmp_path, capsys):
    write_numbered(tmp_path / "P1")
    write_series(tmp_path / "P1", np.zeros((3, 4, 4)), suffix=".b")
    assert main(["predict", str(run), str(tmp_path / "P1"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "2 series found" in said and "SECRET" not in said.upper()


def test_a_tree_of_patients_studies_and_series_is_an_image_per_series(run, tmp_path, caplog):
    root = tmp_path / "CD"
    for place in ("P1/ST1/AX", "P1/ST1/COR", "P2/ST9/AX"):
        write_numbered(root / place)
    write_seg(root / "P2" / "ST9" / "SEG" / "drawn.dcm", write_series(tmp_path / "other", np.zeros((3, 4, 4))), DRAWN)
    write_directory(root / "DICOMDIR")
    (root / "P2" / "ST9" / "up").symlink_to(root)  # no way without end
    (root / "VIEWER").mkdir()
    (root / "VIEWER" / "run.exe").touch()
    cases, _ = samples_of_images(load_model(run), [root])
    places = ("P1/ST1/AX", "P1/ST1/COR", "P2/ST9/AX")
    assert [(case.id, case.image) for case in cases] == [(p.replace("/", "_"), (root / p,)) for p in places]
    assert "3 other files (DICOMDIR, P2/ST9/SEG/drawn.dcm, VIEWER/run.exe) left out" in caplog.text
    words = ["predict", str(run), str(root / "P2"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*words, "--also", "dicom-seg"]) == 0
    check_place(tmp_path / "out" / "labels" / "ST9_AX.nii.gz", labels_in_slices(run, root / "P2/ST9/AX"))
    assert (tmp_path / "out" / "dicom-seg" / "ST9_AX.dcm").is_file()


DRAWN = {"mass": np.ones((3, 4, 4), bool)}


def write_directory(path):
    """What lies beside the folders on a disc, and says where they are."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MediaStorageDirectoryStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    directory.FileSetID = "MADE_UP"
    directory.save_as(path, enforce_file_format=True)


def test_a_folder_without_an_image_says_what_is_there(run, tmp_path, capsys):
    (tmp_path / "CD").mkdir()
    write_directory(tmp_path / "CD" / "DICOMDIR")
    assert main(["predict", str(run), str(tmp_path / "CD"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "1 other file (DICOMDIR)" in capsys.readouterr().err


def test_radiographs_in_one_folder_are_an_image_each(tmp_path):
    for name in ("left", "right"):
        write_series(tmp_path / name, np.zeros((1, 8, 8)))
        next((tmp_path / name).iterdir()).rename(tmp_path / f"{name}.dcm")
    found = find_images([tmp_path], 2)
    assert found == [("left", tmp_path / "left.dcm"), ("right", tmp_path / "right.dcm")]
    assert [read_series(path, 2)[0].shape for _, path in found] == [(1, 8, 8)] * 2
    with pytest.raises(ImageError, match=r"2 series found in .*name one file of each"):
        find_images([tmp_path], 3)
