"""What a row that was killed leaves behind, and cannot go on from."""

import shutil
from pathlib import Path


def remove_unfinished_parts(row: Path) -> None:
    """Of the row in this folder, by whoever begins with it or goes on with it."""
    _remove_unbegun_runs(row)
    remove_unfinished(row, "consensus", "dataset.json")
    remove_unfinished(row, "predictions", "predictions.json")


def remove_unfinished(place: Path, name: str, last: str) -> None:
    """Folders of this name in a place that lack the file which is written last, and what a kill left beside them."""
    unfinished = [folder for folder in place.glob(name) if folder.is_dir() and not (folder / last).exists()]
    for folder in {*unfinished, *place.glob(f".writing-{name}-*")}:
        shutil.rmtree(folder)


def _remove_unbegun_runs(row: Path) -> None:
    """Those that were killed before they were written down: they cannot be resumed."""
    from umanet.training.checkpoints import FOLDER  # here, as pages need no training
    from umanet.training.run_folder import CONFIG

    for checkpoints in list(row.rglob(FOLDER)):
        if not (checkpoints.parent / CONFIG).exists():
            shutil.rmtree(checkpoints.parent)
