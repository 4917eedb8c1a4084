"""The folder of a run: new or resumed, and resumed only with the settings and the data that it was started with."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from umanet.config import RunConfig, format_config, read_config
from umanet.data.files import replace_file
from umanet.data.index import DatasetIndex, fingerprint, write_index
from umanet.errors import Interrupted, RunError
from umanet.inference.model_file import DESCRIPTION
from umanet.training.checkpoints import FOLDER, LAST

CONFIG, DATA, DATASET = "run.toml", "data.sha256", "dataset.json"
CACHE = "cache"
"""Prepared cases that do not stay in memory, until the run is finished."""
Resume = Literal["never", "auto", "must"]
FREE: dict[str, Any] = {"device": True, "threads": True, "data": {"workers", "cache", "cache_gib"}}
"""Settings that may change when a run goes on: they say where it is computed, not what."""
MOST_NAMED = 6


def find_checkpoint(run: Path, resume: Resume, *, leads: bool = True) -> Path | None:
    """The checkpoint to go on from; None starts afresh.

    Args:
        run: The run folder.
        resume: As of ``train``.
        leads: False: another process judges the folder, and may have begun to fill it.

    Raises:
        RunError: The folder is in use, or there is nothing to go on from.
    """
    last = run / FOLDER / LAST
    if not leads:
        return last if resume != "never" and last.exists() else None
    if resume == "must" and not last.exists():
        raise RunError(
            f"No {FOLDER}/{LAST} found in {run}, one expected by --resume must. Check the path, or start afresh."
        )
    in_use = run.exists() and (not run.is_dir() or any(run.iterdir()))
    if resume == "never" and in_use:
        raise RunError(
            f"The run folder {run} exists already, a new one expected. Choose another --output, "
            "or go on with --resume must."
        )
    if resume == "auto" and in_use and not (run / CONFIG).is_file():
        raise RunError(
            f"{run} exists already and has no {CONFIG}; a run, or a new or empty folder, expected. Choose another "
            "--output."
        )
    return last if resume != "never" and last.exists() else None


def is_finished(run: Path) -> bool:
    """Whether the run's model is released: that is done last."""
    return (run / DESCRIPTION).exists()


@contextmanager
def run_folder(run: Path, *, leads: bool = True) -> Iterator[None]:
    """Makes the folder. One that was new or empty is so again where something fails before there is a checkpoint.

    Of several processes the one that ``leads`` does.
    """
    if not leads:
        yield
        return
    existed = run.exists()
    ours = not existed or not any(run.iterdir())
    (run / FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        yield
    except Interrupted:
        raise
    except BaseException:
        if ours and not any((run / FOLDER).iterdir()):
            for path in run.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not existed:
                run.rmdir()
        raise


def record(run: Path, config: RunConfig, index: DatasetIndex) -> None:
    """Write down what the run is started with."""
    replace_file(run / CONFIG, format_config(config).encode())
    replace_file(run / DATA, (fingerprint(index) + "\n").encode())
    write_index(index, run / DATASET)


def refuse_other_config(run: Path, config: RunConfig, spatial_dims: int) -> None:
    """Raises: RunError: The run was started with other settings; each is named, with both values."""
    before = read_config(run / CONFIG, spatial_dims).model_dump(exclude=FREE)
    if before["data"]["spacing"] == "auto" != config.data.spacing:
        # Runs write what was chosen; those that were started before there was a choice wrote nothing.
        before["data"]["spacing"] = "native"
    changed = list(_changes(before, config.model_dump(exclude=FREE)))
    if changed:
        more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
        raise RunError(
            f"{', '.join(changed[:MOST_NAMED])}{more} found, the settings in {run / CONFIG} expected. Resume with "
            "these, or start a new run."
        )


def refuse_other_data(run: Path, index: DatasetIndex) -> None:
    """Raises: RunError: The run was started with another data set."""
    before = (run / DATA).read_text().strip() if (run / DATA).exists() else "nothing"
    if before != fingerprint(index):
        raise RunError(
            f"Another data set found in {index.name!r} than the one that {run} was started with (cases, splits, "
            "annotators or classes differ). Resume with the same dataset.json, or start a new run."
        )


def _changes(before: dict[str, Any], now: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in now.items():
        if isinstance(value, dict):
            yield from _changes(before[key], value, f"{above}{key}.")
        elif value != before[key]:
            yield f"{above}{key} = {_shown(value)} ({_shown(before[key])} in the run)"


def _shown(value: Any) -> str:
    """As a flag takes it."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
