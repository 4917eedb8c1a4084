"""Further copies of predictions lie where the image lies, and say what the labels say."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from fake_data.arrays import make_method, tiny_config
from fake_data.dicom import write_series
from fake_data.discs import write_discs
from fake_data.files import LPS, rng, saved_nifti
from umanet.data.geometry import grid_difference
from umanet.data.images import read_annotation_values, read_image, read_map
from umanet.data.index import ClassDefinition
from umanet.errors import ConfigError, DatasetError, OutputError
from umanet.evaluation.prediction_folder import find_predictions
from umanet.export import export_dataset
from umanet.inference.also.bids import BidsCopies
from umanet.inference.also.copies import Copies
from umanet.inference.model_file import load_model, save_model
from umanet.inference.predict import predict
from umanet.inference.unread import samples_of_images, samples_of_index
from umanet.types import Case

CLASSES = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="disc", values=(300,)))
OBLIQUE = LPS.copy()
OBLIQUE[:3, :3] = np.array([[0.9848, -0.1736, 0], [0.1736, 0.9848, 0], [0, 0, 1]]) @ LPS[:3, :3]


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def discs(request, tmp_path_factory):
    return made(tmp_path_factory.mktemp("discs"), request.param)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return made(tmp_path_factory.mktemp("volumes"), 3)


def made(folder, spatial_dims):
    """A data set and an untrained model, whose disc has the value 300 in files."""
    index = write_discs(folder, (20, 26) if spatial_dims == 2 else (10, 12, 8), train=1, validation=2)
    named = index.model_copy(update={"classes": CLASSES})
    save_model(make_method(index.task, tiny_config()), named, tiny_config(), folder / "run")
    return named, load_model(folder / "run")


def predicted(model, images, output, *formats):
    cases, samples = samples_of_images(model, images)
    manifest = predict(model, samples, output, also=Copies(formats, cases, model))
    return json.loads(manifest.read_text())["cases"]


def test_copies_are_listed_and_the_folder_is_evaluated_as_ever(discs, tmp_path):
    index, model = discs
    formats = ("nrrd", "mha", "geojson", "coco") if index.spatial_dims == 2 else ("nrrd", "mha", "bids")
    cases, samples = samples_of_index(model, index, "validation")
    manifest = predict(model, samples, tmp_path / "out", also=Copies(formats, cases, model))
    for case, files in json.loads(manifest.read_text())["cases"].items():
        assert list(files["also"]) == list(formats)
        assert all((tmp_path / "out" / path).is_file() for path in files["also"].values())
        labels = read_annotation_values(tmp_path / "out" / files["labels"], index.spatial_dims)[0]
        for name in ("nrrd", "mha"):
            assert files["also"][name] == f"{name}/{case}.{name}"
            again = read_annotation_values(tmp_path / "out" / files["also"][name], index.spatial_dims)[0]
            assert np.array_equal(again, labels)
    known = index.model_copy(update={"cases": tuple(cases)})
    assert list(find_predictions(tmp_path / "out", known).cases) == [case.id for case in cases]


def test_without_further_formats_nothing_is_added(discs, tmp_path):
    index, model = discs
    entry = predicted(model, [index.cases[0].image[0]], tmp_path / "out")["disc0"]
    assert set(entry) == {"labels", "probabilities", "entropy"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "labels", "probabilities", "entropy", "predictions.json",
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_an_oblique_volume_is_predicted_on_its_own_grid_in_every_type(volumes, tmp_path, suffix):
    _, model = volumes
    source = saved_nifti(tmp_path / "a.nii.gz", rng.random((9, 11, 7), dtype=np.float32), OBLIQUE)
    if suffix != ".nii.gz":
        image = sitk.ReadImage(str(source))
        source = tmp_path / f"a{suffix}"
        sitk.WriteImage(image, str(source))
    entry = predicted(model, [source], tmp_path / "out", "nrrd", "mha", "bids")["a"]
    _, geometry = read_image([source], 3)
    assert entry["labels"] == f"labels/a{suffix}"
    written = [entry["labels"], entry["entropy"], *entry["probabilities"].values(), *entry["also"].values()]
    for path in written:
        before, after = sitk.ReadImage(str(source)), sitk.ReadImage(str(tmp_path / "out" / path))
        assert after.GetSize() == before.GetSize()
        for ask in ("GetOrigin", "GetSpacing", "GetDirection"):
            np.testing.assert_allclose(getattr(after, ask)(), getattr(before, ask)(), atol=1e-4)
        assert grid_difference(geometry, read_image([tmp_path / "out" / path], 3)[1]) is None
    if suffix == ".nii.gz":
        before, after = (nib.load(path) for path in (source, tmp_path / "out" / entry["labels"]))
        assert np.array_equal(after.affine, before.affine) and after.shape == before.shape
        for code in ("qform_code", "sform_code"):
            assert after.header[code] == before.header[code]


def test_bids_names_keep_the_entities_of_the_case(volumes, tmp_path):
    _, model = volumes
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("sub-01_ses-2_run-1_T1w", "case_7"):
        saved_nifti(folder / f"{name}.nii.gz", rng.random((9, 11, 7), dtype=np.float32), OBLIQUE)
    entries = predicted(model, [folder], tmp_path / "out", "bids")
    assert entries["case_7"]["also"]["bids"] == "bids/sub-case7/anat/sub-case7_dseg.nii.gz"
    start = "bids/sub-01/ses-2/anat/sub-01_ses-2_run-1"
    assert entries["sub-01_ses-2_run-1_T1w"]["also"]["bids"] == f"{start}_dseg.nii.gz"
    values = read_map(tmp_path / "out" / f"{start}_label-disc_probseg.nii.gz", 3)
    own = entries["sub-01_ses-2_run-1_T1w"]["probabilities"]["disc"]
    assert np.array_equal(values, read_map(tmp_path / "out" / own, 3))
    described = json.loads((tmp_path / "out/bids/dataset_description.json").read_text())
    assert (described["DatasetType"], described["GeneratedBy"][0]["Name"]) == ("derivative", "umanet")
    assert (tmp_path / "out/bids/dseg.tsv").read_text() == "index\tname\n0\tbackground\n300\tdisc\n"


def test_what_bids_cannot_name_is_refused(tmp_path):
    def check(*names, suffix=".nii.gz"):
        BidsCopies().check([Case(name, (tmp_path / f"{name}{suffix}",)) for name in names], CLASSES, 3)

    check("a", "b")
    with pytest.raises(DatasetError, match="'a-b' and 'ab' found, names that differ in letters and digits"):
        check("a-b", "ab")
    with pytest.raises(DatasetError, match="'sub-1_T1w' and 'sub-1_T2w' found"):
        check("sub-1_T1w", "sub-1_T2w")
    with pytest.raises(DatasetError, match="'ü' found, names that differ in letters and digits"):
        check("ü")
    with pytest.raises(ConfigError, match=r"a picture \(\.tif\) found, a volume in NIfTI"):
        check("a", suffix=".tif")


def test_cases_are_called_alike_in_bids_predictions_and_exports(volumes, tmp_path):
    index, model = volumes
    cases = [replace(case, patient=f"P-{number // 2}") for number, case in enumerate(index.cases[:3])]
    index = index.model_copy(update={"cases": tuple(cases)})
    _, samples = samples_of_index(model, index, None)
    predict(model, samples, tmp_path / "out", also=Copies(["bids"], cases, model))
    drawn = (CLASSES[0], ClassDefinition(name="disc", values=(1,)))
    export_dataset(index.model_copy(update={"classes": drawn}), "bids", tmp_path / "exported")
    predicted_names = {path.name.split("_dseg")[0] for path in (tmp_path / "out/bids").rglob("*_dseg.nii.gz")}
    exported = {path.name.split("_desc")[0] for path in (tmp_path / "exported").rglob("*_dseg.nii.gz")}
    assert predicted_names == exported == {f"sub-P0_acq-{cases[0].id}", f"sub-P0_acq-{cases[1].id}", "sub-P1"}


def test_formats_that_cannot_be_are_refused_before_any_work(discs):
    index, model = discs
    with pytest.raises(ConfigError, match=r"dicom-seg needs DICOM images: .* found, one DICOM series expected"):
        Copies(["dicom-seg"], index.cases, model)
    with pytest.raises(ConfigError, match=r"Format 'nrdd' found.*Did you mean 'nrrd'"):
        Copies(["nrdd"], index.cases, model)
    wrong = "geojson" if index.spatial_dims == 3 else "bids"
    with pytest.raises(ConfigError, match=f"{wrong} needs"):
        Copies([wrong], index.cases, model)


def test_a_dicom_series_gets_segmentations_of_labels_and_of_probabilities(volumes, tmp_path):
    _, model = volumes
    datasets = write_series(tmp_path / "head", rng.integers(0, 200, (7, 9, 8)).astype(float))
    formats = ("dicom-seg", "dicom-seg-fractional", "nrrd", "bids")
    entry = predicted(model, [tmp_path / "head"], tmp_path / "out", *formats)["head"]
    assert entry["also"]["dicom-seg"] == "dicom-seg/head.dcm"
    for name, kind in (("dicom-seg", "BINARY"), ("dicom-seg-fractional", "FRACTIONAL")):
        segmentation = pydicom.dcmread(tmp_path / "out" / entry["also"][name])
        assert segmentation.SegmentationType == kind
        assert segmentation.StudyInstanceUID == datasets[0].StudyInstanceUID
        assert [one.SegmentLabel for one in segmentation.SegmentSequence] == ["disc"]
    labels = read_image([tmp_path / "out" / entry["labels"]], 3)
    again = read_image([tmp_path / "out" / entry["also"]["nrrd"]], 3)
    assert np.array_equal(again[0], labels[0]) and grid_difference(again[1], labels[1]) is None


def test_a_copy_that_fails_leaves_no_predictions(volumes, tmp_path):
    _, model = volumes
    datasets = write_series(tmp_path / "head", rng.integers(0, 200, (7, 9, 8)).astype(float))
    for path, dataset in zip(sorted((tmp_path / "head").iterdir()), datasets, strict=True):
        dataset = pydicom.dcmread(path)
        del dataset.StudyInstanceUID
        dataset.save_as(path)
    with pytest.raises(OutputError, match="without StudyInstanceUID"):
        predicted(model, [tmp_path / "head"], tmp_path / "out", "dicom-seg")
    assert not (tmp_path / "out").exists()
