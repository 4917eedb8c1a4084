import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from umanet.cli.model import check_device
from umanet.cli.overrides import ConfigFlags
from umanet.cli.terminal import next_step, progress, say
from umanet.config import PRESETS, PRESETS_3D, RunConfig, build_config, merge, read_toml
from umanet.errors import ConfigError, DatasetError, counted

if TYPE_CHECKING:
    from umanet.data.index import DatasetIndex

log = logging.getLogger("umanet")


@dataclass(frozen=True)
class Train:
    """Train a network on all annotations of a data set: the preset, then run.toml, then flags decide."""

    dataset: tyro.conf.Positional[Path]
    """A dataset.json with the splits train and validation."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The run folder to make."""
    config: Path | None = None
    """A TOML file with any of the options below. With --resume, by default that of the run."""
    resume: Literal["never", "auto", "must"] = "never"
    """never: the run folder must be new. auto: go on where there is a checkpoint. must: refuse to start afresh."""
    skip_check: tyro.conf.FlagCreatePairsOff[bool] = False
    """Do not read every file before training."""
    options: Annotated[ConfigFlags, tyro.conf.arg(name="")] = field(default_factory=dict)

    def run(self) -> None:
        from umanet.data.index import read_index
        from umanet.ranks import launch
        from umanet.training import train
        from umanet.training.progress import StepReports
        from umanet.training.run_folder import find_checkpoint, is_finished

        index = read_index(self.dataset)
        config = self.build_config(index.spatial_dims)
        check_device(config.device)
        leads = launch().leads
        # First: reading every file takes long.
        find_checkpoint(self.output, self.resume, leads=leads)
        finished = is_finished(self.output)
        if not leads:
            log.setLevel(logging.WARNING)
            train(config, index, self.output, resume=self.resume)
            return
        if not self.skip_check and not finished:
            _check(index, self.dataset)
        with progress("Training") as report:
            train(config, index, self.output, resume=self.resume, callbacks=[StepReports(report)])
        if finished:
            say("The run was finished before: nothing was trained.")
        say(f"The model is in {self.output}: model.json, model.safetensors, run.toml, metrics.csv.")
        split = ("--split", "test") if index.select("test") else ()
        next_step("predict", self.output, self.dataset, *split, "-o", "predictions")

    def build_config(self, spatial_dims: int) -> RunConfig:
        """The configuration that file and flags make. A fault is reported with the place that it came from."""
        file = self.config
        if file is None and self.resume != "never" and (self.output / "run.toml").exists():
            file = self.output / "run.toml"
        values: dict[str, Any] = {} if file is None else read_toml(file)
        build_config(values, spatial_dims, str(file))
        _refuse_two_presets(values, self.options, file)
        return build_config(merge(values, self.options), spatial_dims, "the flags")


def _refuse_two_presets(values: dict[str, Any], options: dict[str, Any], file: Path | None) -> None:
    """Raises: ConfigError: The file's values would leave nothing of the preset that a flag names."""
    before, now = values.get("preset"), options.get("preset")
    if before is None or now is None or now == before:
        return
    presets = (*PRESETS.values(), *PRESETS_3D.values())
    sizes = {(part, key) for preset in presets for part, changed in preset.items() for key in changed}
    kept = [f"{part}.{key}" for part, key in sorted(sizes) if key in values.get(part, {})]
    if kept:
        more = f" and {len(kept) - 1} more values" if len(kept) > 1 else ""
        raise ConfigError(
            f"--preset {now} found, {before!r} expected, because {file} sets {kept[0]}{more} that a preset sets. Leave "
            "--preset out, or start from a file that holds only your changes."
        )


def _check(index: "DatasetIndex", path: Path) -> None:
    """Count the warnings about training and validation cases.

    Raises:
        DatasetError: They have errors; the first is named.
    """
    from umanet.data.check import check

    cases = tuple(case for case in index.cases if case.split in ("train", "validation"))
    if not cases:
        return  # train() says what is missing
    with progress("Checking") as report:
        found = check(index.model_copy(update={"cases": cases}), progress=report)
    if not found.ok:
        first, count = found.problems[0], found.count("error")
        where = "/".join(part for part in (first.case, first.annotator) if part)
        raise DatasetError(
            f"{where + ': ' if where else ''}{first.message} ({counted(count, 'error')} in all; "
            f"'umanet check {path}' lists them.)"
        )
    if warnings := found.count("warning"):
        log.warning(
            "%s found in training and validation cases; 'umanet check %s' lists them.",
            counted(warnings, "warning"),
            path,
        )
