"""What every source says of a folder that is not what it should be."""

import pytest

from umanet.data.sources.raw_folder import Unusable, files_beside, folder_in, raw_folder, require_cases
from umanet.errors import DatasetError, GeometryError, OutputError


def test_an_archive_is_to_be_unpacked(tmp_path):
    archive = tmp_path / "Data.ZIP"
    archive.write_bytes(b"PK")
    with pytest.raises(DatasetError, match=r"An archive found at .*Unpack it"):
        raw_folder(archive, "cases")
    with pytest.raises(DatasetError, match=r"Only archives found in .*Data\.ZIP; cases expected\. Unpack"):
        raw_folder(tmp_path, "cases")


@pytest.mark.parametrize(
    ("name", "said"), [("gone", "No folder found"), ("file", "A file found"), ("empty", "An empty")]
)
def test_what_is_no_folder_of_data_is_named(tmp_path, name, said):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=rf"{said}.* cases expected"):
        raw_folder(tmp_path / name, "cases")


def test_a_half_download_is_found_however_deep(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "image.nii.gz.part").touch()
    with pytest.raises(DatasetError, match=r"half download .*image\.nii\.gz\.part found"):
        raw_folder(tmp_path, "cases")


def test_a_renamed_folder_is_recognised(tmp_path):
    (tmp_path / "training").mkdir()
    with pytest.raises(DatasetError, match=r"only training; .*Did you mean 'training'\?"):
        folder_in(tmp_path, "Training")


def test_no_case_at_all_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="No case found"):
        require_cases([], tmp_path, "cases")


def test_everything_that_is_unusable_is_said_before_it_is_refused(caplog):
    unusable = Unusable(leave_out=False)
    for case in ("a", "b"):
        with unusable.collected(case):
            raise GeometryError("Tilted slices found.")
    with pytest.raises(DatasetError, match="2 faults found"):
        unusable.settle()
    assert [record.getMessage() for record in caplog.records] == ["a: Tilted slices found.", "b: Tilted slices found."]


def test_what_may_be_left_out_is_said_all_the_same(caplog):
    unusable = Unusable(leave_out=True)
    unusable.add("a/anna", "No contour found.")
    unusable.settle()
    assert [record.getMessage() for record in caplog.records] == [
        "a/anna: No contour found.", "1 fault named above: left out, with all that it concerns.",
    ]  # fmt: skip


def test_the_way_up_is_taken_as_the_system_has_it(tmp_path):
    (tmp_path / "raw/images").mkdir(parents=True)
    (tmp_path / "far/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/deep")
    (tmp_path / "far/data").mkdir()
    (tmp_path / "far/data/a").touch()
    assert raw_folder(tmp_path / "link/../data", "files") == (tmp_path / "far/data").resolve()


def test_converted_files_go_where_an_import_fails(tmp_path):
    with pytest.raises(DatasetError), files_beside(tmp_path / "d.json") as files:
        files.mkdir()
        (files / "half").touch()
        raise DatasetError("no")
    assert list(tmp_path.iterdir()) == []


def test_files_of_another_import_are_never_touched(tmp_path):
    theirs = tmp_path / "d-files" / "theirs"
    theirs.parent.mkdir()
    theirs.touch()
    with pytest.raises(OutputError), files_beside(tmp_path / "d.json"):
        pass
    assert theirs.exists()
