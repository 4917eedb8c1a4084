"""`umanet check --fix`: a header is copied where that is surely right, and everything else is left alone."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from umanet.__main__ import main
from umanet.data.check import check
from umanet.data.check.mend import mend_headers
from umanet.data.index import DatasetIndex, read_index, write_index
from umanet.data.sources import folder

AFFINE = np.array([[-0.7, 0, 0, 30], [0, -0.7, 0, 20], [0, 0, 2.5, -100], [0, 0, 0, 1.0]])
SHAPE = (16, 18, 10)


def data(root: Path, affine: np.ndarray, *, suffix: str = ".nii.gz", shape: tuple[int, ...] = SHAPE) -> DatasetIndex:
    """One case, whose image lies at AFFINE and whose annotations at ``affine`` and at AFFINE."""
    blob = np.zeros(shape, np.uint8)
    blob[2:9, 3:8, 1:6] = 1
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    for kind, array, where in [("images", image, AFFINE), ("annotations/anna", blob, affine)]:
        path = root / kind / f"a{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        saved = nib.Nifti1Image(array, where)
        saved.header.set_xyzt_units("mm")
        nib.save(saved, path)
    return folder.index(root)


def values(path: Path) -> bytes:
    """The bytes after the header."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content)[352:]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("shift", [None, 3.0, 0.01])
def test_a_lost_or_shifted_header_is_copied_and_the_values_stay_to_the_byte(tmp_path, suffix, shift):
    affine = np.eye(4) if shift is None else AFFINE.copy()
    if shift is not None:
        affine[0, 3] += shift
    index = data(tmp_path, affine, suffix=suffix)
    path = index.cases[0].annotations["anna"]
    before, whole = values(path), path.read_bytes()
    (mended,) = mend_headers(index, check(index))
    assert mended.reason == "" and mended.backup == path.with_name(f"{path.name}.bak-1")
    assert mended.backup.read_bytes() == whole
    assert values(path) == before
    after, image = nib.load(path), nib.load(index.cases[0].image[0])
    assert np.array_equal(after.affine, image.affine) and after.header.get_zooms() == image.header.get_zooms()
    assert np.array_equal(after.get_qform(), image.get_qform())
    assert check(index).problems == ()


def test_a_backup_is_never_written_over(tmp_path):
    index = data(tmp_path, np.eye(4))
    path = index.cases[0].annotations["anna"]
    first = path.with_name(f"{path.name}.bak-1")
    first.write_bytes(b"older")
    (mended,) = mend_headers(index, check(index))
    assert first.read_bytes() == b"older" and mended.backup == path.with_name(f"{path.name}.bak-2")


def flipped() -> np.ndarray:
    affine = AFFINE.copy()
    affine[0] = -affine[0]
    return affine


@pytest.mark.parametrize(
    ("affine", "shape", "reason"),
    [
        (flipped(), SHAPE, "its axes run otherwise"),
        (AFFINE, (16, 18, 9), "differ as stored"),
    ],
)
def test_what_needs_resampling_is_left_alone(tmp_path, affine, shape, reason):
    index = data(tmp_path, affine, shape=shape)
    path = index.cases[0].annotations["anna"]
    whole = path.read_bytes()
    (looked_at,) = mend_headers(index, check(index))
    assert looked_at.backup is None and reason in looked_at.reason
    assert path.read_bytes() == whole and sorted(p.name for p in path.parent.iterdir()) == ["a.nii.gz"]


def test_a_good_data_set_is_not_touched(tmp_path):
    index = data(tmp_path, AFFINE)
    assert mend_headers(index, check(index)) == []


def test_the_command_says_what_it_changed_and_checks_again(tmp_path, capsys):
    write_index(data(tmp_path / "my däta", np.eye(4)), tmp_path / "dataset.json")
    assert main(["check", str(tmp_path / "dataset.json")]) == 1
    assert "check --fix" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "dataset.json"), "--fix"]) == 0
    out, said = capsys.readouterr()
    path = read_index(tmp_path / "dataset.json").cases[0].annotations["anna"]
    assert f"Header of the image copied to {path}; as it was: {path}.bak-1" in said
    assert "Look at these annotations" in said and "0 errors" in out
    again = folder.index(tmp_path / "my däta")
    assert again.annotators == ("anna",) and again.cases[0].annotations == {"anna": path}  # the backup is none
    write_index(data(tmp_path / "other", np.eye(4)), tmp_path / "other.json")
    assert main(["check", str(tmp_path / "other.json"), "--fix", "--json"]) == 0
    (mended,) = json.loads(capsys.readouterr().out)["mended"]
    assert mended["backup"] == f"{mended['file']}.bak-1" and mended["reason"] == ""
