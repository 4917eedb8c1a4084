"""The real data sets, where they are at hand."""

from collections import Counter

import pytest

from umanet.data.check import check
from umanet.data.images import file_name, read_case, read_labels, write_labels
from umanet.data.index import read_index, write_index
from umanet.data.sources import folder

pytestmark = pytest.mark.data

PATIENT = r"LIDC-IDRI-\d+"
OBSERVED = r"(?P<case>.+)_(1st|2nd)HO"
OPTIONS = {
    "lidc-2d": {"patient_pattern": PATIENT, "annotators_are_identified": False},
    "lidc-3d": {"patient_pattern": PATIENT, "annotators_are_identified": False},
    "chase-db1": {"annotation_pattern": OBSERVED, "patient_pattern": r"\d+"},
    "chest-xray": {},
    "hippocampus": {},
}
EXPECTED = {
    "lidc-2d": (566, 2, 1, 4, 2),
    "lidc-3d": (289, 3, 1, 4, 2),
    "chase-db1": (28, 2, 3, 2, 2),
    "chest-xray": (332, 2, 1, 0, 2),
    "hippocampus": (180, 3, 1, 0, 3),
}


@pytest.fixture(scope="module", params=OPTIONS)
def index(request, data_root):
    """Indexed from the folder alone, in its true layout."""
    fractions = {"train": 0.7, "validation": 0.1, "test": 0.2}
    return folder.index(data_root / request.param, fractions=fractions, **OPTIONS[request.param])


def test_the_whole_data_set_is_found(index):
    task = index.task
    found = (len(index.cases), task.spatial_dims, len(task.channels), len(task.annotators), task.num_classes)
    assert found == EXPECTED[index.name]
    splits = {}
    for case in index.cases:
        assert splits.setdefault(case.patient, case.split) == case.split
    assert set(Counter(splits.values())) == {"train", "validation", "test"}


def test_cases_are_read_and_label_maps_go_round(index, tmp_path):
    write_index(index, tmp_path / "dataset.json")
    again = read_index(tmp_path / "dataset.json")
    assert again == index
    for case in again.cases[:2]:
        sample = read_case(case, again)
        assert sample.image.shape == (len(again.channels), *sample.geometry.shape)
        assert sample.present.tolist() == [name in case.annotations for name in again.annotators]
        labels = sample.annotations[0] if len(sample.annotations) else sample.truth
        path = tmp_path / file_name(case.id, sample.geometry)
        write_labels(path, labels.numpy(), sample.geometry, again.classes)
        assert (read_labels(path, again, sample.geometry) == labels.numpy()).all()


def test_the_only_errors_are_missing_annotations(index):
    few = index.model_copy(update={"cases": index.cases[:20]})
    codes = {problem.code for problem in check(few).problems if problem.severity == "error"}
    assert codes == (set() if index.annotators else {"no-annotation"})
