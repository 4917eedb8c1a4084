"""Commands that work on many cases, and all that they take."""

from pathlib import Path

import torch

from fake_data.arrays import make_method, tiny_config
from fake_data.discs import write_discs
from umanet.cli import main
from umanet.data.index import write_index
from umanet.inference.model_file import save_model


def make(folder: Path) -> Path:
    """A data set with empty annotations and absent annotators, a run, and a consensus as predictions."""
    index = write_discs(folder, (20, 26), train=4, validation=2)
    write_index(index, folder / "dataset.json")
    release(index, folder / "run")
    assert main(["fuse", str(folder / "dataset.json"), "--with", "majority", "-o", str(folder / "predictions")]) == 0
    return folder


def release(index, run, *, other=False):
    method = make_method(index.task, tiny_config("uma-net"))
    if other:
        for values in method.parameters():
            torch.nn.init.normal_(values)
    torch.nn.init.normal_(method.uncertainty.out.weight, std=12.0)
    save_model(method, index, tiny_config("uma-net"), run)


def commands(made: Path) -> dict[str, list[str]]:
    data, run = str(made / "dataset.json"), str(made / "run")
    return {
        "check": ["check", data],
        "evaluate": ["evaluate", str(made / "predictions"), data],
        "predict": ["predict", run, data, "--device", "cpu"],
        "grade": ["grade", run, data, "--device", "cpu"],
        "fuse": ["fuse", data, "--with", "staple"],
        "fuse --with run": ["fuse", data, "--with", run, "--device", "cpu"],
    }


def tree(place: Path) -> dict[str, bytes]:
    files = place.rglob("*") if place.is_dir() else [place]
    return {str(path.relative_to(place)): path.read_bytes() for path in files if path.is_file()}
