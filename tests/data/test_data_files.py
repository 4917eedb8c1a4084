"""Outputs are whole or not there, also where the output folder cannot be replaced."""

import errno
import os
from pathlib import Path

import pytest

from umanet.data.files import whole_file, whole_folder
from umanet.errors import OutputError


@pytest.fixture(params=["new", "empty", "mount point"])
def output(request, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    if request.param != "new":
        folder.mkdir()
    if request.param == "mount point":
        rmdir = Path.rmdir

        def busy(path):
            if path == folder:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
            rmdir(path)

        monkeypatch.setattr(Path, "rmdir", busy)
    return folder


def write_some(place):
    (place / "labels").mkdir()
    (place / "labels" / "a.png").write_text("a")
    (place / "manifest.json").write_text("all")


def test_what_is_written_is_in_the_output(output):
    with whole_folder(output) as place:
        # dataset.json holds paths relative to its folder.
        assert os.path.relpath(output.parent, place) == ".."
        write_some(place)
    found = {path.relative_to(output.parent).as_posix() for path in output.parent.rglob("*")}
    assert found == {"out", "out/labels", "out/labels/a.png", "out/manifest.json"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_output_as_it_was(output, error):
    before = list(output.parent.rglob("*"))
    with pytest.raises(error), whole_folder(output) as place:
        write_some(place)
        raise error
    assert list(output.parent.rglob("*")) == before


def test_what_is_in_the_way_is_kept(output):
    output.mkdir(exist_ok=True)
    (output / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="a new or empty folder expected"), whole_folder(output):
        pass
    assert (output / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "Free some space"), (errno.EROFS, "Check the permissions"), (errno.EIO, "Choose another place")],
)
@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_the_advice_fits_the_fault(tmp_path, whole, number, advice):
    with pytest.raises(OutputError, match=rf"out could not be written: .*\. {advice}"), whole(tmp_path / "out"):
        raise OSError(number, os.strerror(number))
