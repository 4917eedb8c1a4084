"""Prepared cases on disk: never out of date, whole or not there, and no loss where the disk cannot be written."""

import hashlib
import logging
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fake_data.discs import write_array, write_discs
from umanet.config import DataOptions
from umanet.data import case_cache
from umanet.data.case_cache import CaseCache
from umanet.data.dataset import PreparedCases
from umanet.data.files import replace_file
from umanet.data.images import read_case
from umanet.data.prepared_case import prepare_case
from umanet.errors import ImageError, OutputError
from umanet.fusion import staple


@pytest.fixture
def index(tmp_path):
    return write_discs(tmp_path / "data")


def majority(sample):
    share = (sample.annotations.float() * sample.present.view(-1, *[1] * (sample.image.ndim - 1))).sum(0)
    share /= sample.present.sum()
    return torch.stack([1 - share, share])


def cases_of(index, folder, made_by="majority", target=majority, **options):
    options = DataOptions(cache=folder, **options)
    return PreparedCases(index.select("train"), index, options, CaseCache(folder, index, options), target, made_by)


def entries(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("v*/[!.]*.safetensors")}


def assert_same(found, expected):
    for name, value in vars(expected).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(vars(found)[name], value), name
    assert (found.case, found.clip, found.geometry.shape) == (expected.case, expected.clip, expected.geometry.shape)


@pytest.mark.parametrize("shape", [(20, 26), (12, 14, 10)], ids=["2D", "3D"])
@pytest.mark.parametrize("options", [{}, {"normalise": "unit"}, {"longest_side": 9}])
def test_a_case_is_the_same_from_disk(tmp_path, shape, options):
    index = write_discs(tmp_path / "data", shape)
    kept, again = cases_of(index, tmp_path / "cache", **options), cases_of(index, tmp_path / "cache", **options)
    for number, case in enumerate(index.select("train")):
        expected = prepare_case(read_case(case, index), kept.options, 2)
        expected = expected.taught(majority(expected.whole()))
        assert_same(kept[number], expected)
        assert_same(again[number], expected)
    assert len(entries(tmp_path / "cache")) == 8


def test_nothing_is_prepared_or_fused_twice(index, tmp_path, monkeypatch):
    cases = cases_of(index, tmp_path / "cache")
    for number in range(4):
        cases[number]
    before = entries(tmp_path / "cache")
    monkeypatch.setattr("umanet.data.dataset.read_case", lambda *_: pytest.fail("read again"))
    again = cases_of(index, tmp_path / "cache", target=lambda _: pytest.fail("fused again"))
    for number in range(4):
        assert again[number] is again[number]
    assert entries(tmp_path / "cache") == before


def test_methods_share_cases_but_not_targets(index, tmp_path):
    cases_of(index, tmp_path / "cache")[0]
    other = cases_of(index, tmp_path / "cache", "another", lambda sample: 1 - majority(sample))
    assert_same(replace(other[0], target=None), replace(cases_of(index, tmp_path / "cache")[0], target=None))
    assert torch.equal(other[0].target[0], 1 - cases_of(index, tmp_path / "cache")[0].target[0])
    assert len(entries(tmp_path / "cache")) == 3


def changes():
    def image(index, _):
        array = np.random.default_rng(9).uniform(0, 255, (20, 26))
        write_array(index.cases[0].image[0].parent, "disc0", array)
        return index

    def annotation(index, _):
        write_array(index.cases[0].annotations["bert"].parent, "disc0", np.zeros((20, 26)))
        return index

    def swapped(index, _):
        case = index.cases[0]
        drawn = dict(case.annotations) | {"anna": case.annotations["carl"], "carl": case.annotations["anna"]}
        return index.model_copy(update={"cases": (replace(case, annotations=drawn), *index.cases[1:])})

    def fewer(index, _):
        case = index.cases[0]
        drawn = {name: path for name, path in case.annotations.items() if name != "carl"}
        return index.model_copy(update={"cases": (replace(case, annotations=drawn), *index.cases[1:])})

    def silent(index, _):
        return index.model_copy(update={"ignore": (7,)})

    return [image, annotation, swapped, fewer, silent]


@pytest.mark.parametrize("change", changes(), ids=lambda change: change.__name__)
def test_whatever_changes_is_prepared_anew(index, tmp_path, change):
    cases_of(index, tmp_path / "cache")[0]
    times = [path.stat() for path in index.cases[0].image]
    index = change(index, tmp_path)
    for path, before in zip(index.cases[0].image, times, strict=True):
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync leaves it
    expected = prepare_case(read_case(index.cases[0], index), DataOptions(), 2)
    assert_same(replace(cases_of(index, tmp_path / "cache")[0], target=None), expected)
    assert len(entries(tmp_path / "cache")) == 4


@pytest.mark.parametrize(
    "options", [{"normalise": "unit"}, {"longest_side": 9}, {"size": (8, 8)}, {"spacing": (2.0, 1.0)}]
)
def test_another_working_grid_is_another_case(index, tmp_path, options):
    cases_of(index, tmp_path / "cache")[0]
    cases_of(index, tmp_path / "cache", **options)[0]
    assert len(entries(tmp_path / "cache")) == 4


def test_another_place_or_name_of_the_same_files_is_not(index, tmp_path):
    cases_of(index, tmp_path / "cache")[0]
    (tmp_path / "data").rename(tmp_path / "moved")
    case = index.cases[0]

    def moved(path):
        return tmp_path / "moved" / path.relative_to(tmp_path / "data")

    drawn = {name: moved(path) for name, path in case.annotations.items()}
    renamed = replace(case, id="other", image=(moved(case.image[0]),), annotations=drawn, truth=moved(case.truth))
    found = cases_of(index.model_copy(update={"cases": (renamed,)}), tmp_path / "cache")[0]
    assert found.case == "other"
    assert len(entries(tmp_path / "cache")) == 2


def test_patches_need_no_more_of_the_file_than_they_show(tmp_path):
    """The tensors are pages of the file: none is read into this process's own memory."""
    index = write_discs(tmp_path / "data", (12, 14, 10))
    cases = cases_of(index, tmp_path / "cache")
    cases[0]
    path = max(tmp_path.glob("cache/v*/*.safetensors"), key=lambda path: path.stat().st_size)
    assert str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("damage", [b"", b"no such file", None], ids=["empty", "other", "truncated"])
def test_an_entry_that_cannot_be_read_is_made_again(index, tmp_path, damage, caplog):
    expected = cases_of(index, tmp_path / "cache")[0]
    for path in tmp_path.glob("cache/v*/*.safetensors"):
        content = path.read_bytes()
        path.unlink()  # a file that is mapped must not be shortened in its place
        path.write_bytes(content[:-9] if damage is None else damage)
    assert_same(cases_of(index, tmp_path / "cache")[0], expected)
    assert "is prepared anew" in caplog.text
    caplog.clear()
    cases_of(index, tmp_path / "cache")[0]
    assert not caplog.text


def test_cases_of_another_version_are_not_touched_but_named(index, tmp_path, caplog):
    old = tmp_path / "cache" / "v0" / "abc.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of another format")
    disk = cases_of(index, tmp_path / "cache").disk
    disk.tidy()
    assert "v0" in caplog.text
    assert "another version" in caplog.text
    assert old.read_bytes() == b"of another format"


def test_half_files_of_killed_processes_go_after_a_day(index, tmp_path):
    cache = cases_of(index, tmp_path / "cache")
    cache[0]
    place = next(tmp_path.glob("cache/v*"))
    for name, age in ((".writing-old.safetensors", 25 * 3600), (".writing-new.safetensors", 60)):
        (place / name).write_bytes(b"half")
        os.utime(place / name, (time.time() - age,) * 2)
    cache.disk.tidy()
    assert {path.name for path in place.glob(".writing-*")} == {".writing-new.safetensors"}
    assert len(entries(tmp_path / "cache")) == 2


def test_a_file_in_the_place_of_the_folder_is_refused(index, tmp_path):
    (tmp_path / "cache").write_text("x")
    with pytest.raises(OutputError, match="a folder for prepared cases expected"):
        cases_of(index, tmp_path / "cache").disk.tidy()


def refused(*_):
    raise OutputError("cache could not be written: No space left on device. Free some space; nothing was left.")


@pytest.mark.parametrize("from_case", [0, 2], ids=["read-only", "full later"])
def test_a_disk_that_cannot_be_written_loses_nothing(index, tmp_path, monkeypatch, caplog, from_case):
    expected = [PreparedCases(index.select("train"), index, DataOptions(), target=majority)[n] for n in range(4)]
    cases = cases_of(index, tmp_path / "cache")
    for number in range(from_case):
        cases[number]
    monkeypatch.setattr(case_cache, "replace_file", refused)
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            assert_same(cases[number], expected[number])
            assert cases[number] is cases[number]
    assert caplog.text.count("No space left on device") == 1
    assert caplog.text.count("memory has to do") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said(index, tmp_path, caplog):
    (tmp_path / "cache").mkdir(mode=0o500)
    cases_of(index, tmp_path / "cache")[0]
    assert "Permission denied" in caplog.text


def test_a_missing_file_is_said_as_without_a_cache(index, tmp_path):
    index.cases[0].image[0].unlink()
    with pytest.raises(ImageError, match="No file found"):
        cases_of(index, tmp_path / "cache")[0]


@pytest.mark.parametrize(
    "header", ["ElementDataFile = voxels.raw", "ElementDataFile = LIST\nvoxels.raw", "data file: v%03d.raw 1 1 1"]
)
def test_the_data_beside_a_header_count(index, tmp_path, header):
    path, data = tmp_path / "a.mhd", tmp_path / "voxels.raw"
    path.write_text(f"NDims = 2\n{header}\n")
    case = replace(index.cases[0], image=(path,))
    disk = CaseCache(tmp_path / "cache", index, DataOptions())
    digests = set()
    for content in (b"one", b"two"):
        data.write_bytes(content)
        digests.add(disk.digest(case))
    assert len(digests) == 2


def fill(index, folder):
    cases = cases_of(index, folder)
    for number in range(len(cases)):
        cases[number]


def test_two_processes_at_once_end_with_whole_cases(tmp_path):
    index = write_discs(tmp_path / "data", train=12)
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=fill, args=(index, tmp_path / "cache")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    fresh = tmp_path / "fresh"
    fill(index, fresh)
    written = {path.name: path.read_bytes() for path in (tmp_path / "cache").glob("v*/*")}
    assert written == {path.name: path.read_bytes() for path in fresh.glob("v*/*")}


def slowly(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / ".writing-half.safetensors").write_bytes(content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_while_it_writes_leaves_no_half_case(index, tmp_path, monkeypatch):
    monkeypatch.setattr(case_cache, "replace_file", slowly)
    process = multiprocessing.get_context("fork").Process(target=fill, args=(index, tmp_path / "cache"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.setattr(case_cache, "replace_file", replace_file)
    assert not entries(tmp_path / "cache")
    fill(index, tmp_path / "cache")
    assert len(entries(tmp_path / "cache")) == 8


def test_what_preparing_gives_is_that_of_this_version(tmp_path):
    """Where this fails, cases that users have kept are no longer what would be made: raise ``VERSION``, then this."""

    def fused(sample):
        return torch.from_numpy(staple(sample.annotations.numpy(), sample.present.numpy(), 2)[0])

    index = write_discs(tmp_path / "data", (12, 14, 10), train=2, validation=1)
    cases = cases_of(index, tmp_path / "cache", target=fused, longest_side=9, normalise="unit")
    found, means = hashlib.sha256(), []
    for number in range(2):
        for _, value in sorted(vars(cases[number]).items()):
            if isinstance(value, torch.Tensor) and value.is_floating_point():  # other processors round otherwise
                means.append(value.mean().item())
            elif isinstance(value, torch.Tensor):
                found.update(value.contiguous().numpy().tobytes())
    assert (case_cache.VERSION, found.hexdigest()[:16]) == (1, "2bf9bdc20db37798")
    assert means == pytest.approx([65.3014, 85.8192, 0.5, 65.1981, 85.1246, 0.5], abs=1e-3)
