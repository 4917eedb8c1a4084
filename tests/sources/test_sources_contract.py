"""From the official download of every source to a report, by the command line alone."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from umanet.__main__ import main
from umanet.cli.sources import SOURCES
from umanet.data.index import read_index

# Source to the module of fake_data.raw that writes its download, and the flags that its import needs.
DOWNLOADS: dict[str, tuple[str, ...]] = {
    "bids": (),
    "breast-dce": (),
    "chase-db1": (),
    "dicom": (),
    "csv": (),
    "nnunet": (),
    "curvas": (),
    "jsrt": ("--as", "annotator", "--split-by-fold"),
    "qubiq": ("--dataset", "brain-tumor", "--task", "1"),
    "riga": (),
    "lidc": ("--side", "32"),
    "lidc-crops": (),
}
OTHERWISE: tuple[tuple[str, tuple[str, ...], dict[str, bool]], ...] = (
    ("lidc", ("--side", "32", "--dims", "2"), {}),
    ("nnunet", (), {"ignored": True}),
    ("qubiq", ("--dataset", "brain-tumor", "--task", "all"), {"gap": True}),
    ("riga:riga-masks", (), {}),
)
"""The same downloads with other flags, or written with more in them, which make another kind of data of them, or
another download of the same."""
ELSEWHERE = {"folder"}
"""Tested in tests/e2e."""


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0, words


def test_every_source_has_a_made_up_download():
    assert set(DOWNLOADS) | ELSEWHERE == set(SOURCES)


@pytest.mark.parametrize(
    ("source", "flags", "more"), [*((source, flags, {}) for source, flags in DOWNLOADS.items()), *OTHERWISE]
)
def test_the_whole_way(source: str, flags: tuple[str, ...], more: dict[str, bool], tmp_path: Path, capsys):
    source, _, download = source.partition(":")
    module = import_module(f"fake_data.raw.{(download or source).replace('-', '_')}")
    raw = module.write(tmp_path / "raw data ü", **more)
    dataset, work = tmp_path / "dataset.json", tmp_path / "run"
    run("import", source, raw, "-o", dataset, *flags)
    index = read_index(dataset)
    assert all(case.split for case in index.cases) and {"train", "validation", "test"} <= {c.split for c in index.cases}
    capsys.readouterr()
    run("check", dataset, "--json")
    found = json.loads(capsys.readouterr().out)
    # Made-up annotators of made-up patients draw alike.
    assert [p for p in found["problems"] if p["severity"] != "note" and p["code"] != "same-annotation"] == []
    small = ["--trainer.max-steps", 2, "--trainer.batch-size", 2, "--trainer.validate-every", 2, "--device", "cpu"]
    small += ["--backbone.channels", 4, 8, "--backbone.features", 4, "--data.largest-patch", 32]
    run("train", dataset, "-o", work, "--preset", "cpu-small", *small)
    run("predict", work, dataset, "--split", "test", "-o", tmp_path / "predictions")
    run("evaluate", tmp_path / "predictions", dataset, "--split", "test")
    run("report", work, "-o", tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000
