from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from umanet.cli.fuse import run_folder
from umanet.cli.model import Device, open_model
from umanet.cli.terminal import progress, say


@dataclass(frozen=True)
class ExportDataset:
    """Write images and labels as nnU-Net, MONAI or BIDS tools read them."""

    dataset: tyro.conf.Positional[Path]
    """A dataset.json."""
    to: Literal["nnunet", "monai", "bids"]
    """The layout."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A new folder; for nnU-Net it may be used as nnUNet_raw: DatasetXXX_Name is made in it."""
    how: Annotated[str | None, tyro.conf.arg(name="with", metavar="FUSION|truth|RUN")] = None
    """One label map per case: majority, staple, mean, union, intersection, random, single (of --annotator), truth, or a
    run folder (its image-aware consensus). Default: the annotations, one by one."""
    annotator: str | None = None
    """single: whose annotations to take, as they were drawn."""
    split: str | None = None
    """Only the cases of this split."""
    id: int = 501
    """Number of nnU-Net's data set."""
    device: Device = "auto"
    """Where a run's network computes."""
    threads: int | None = None
    """CPU threads for a run's network. Default: as many as the run was trained with."""

    def run(self) -> None:
        from umanet.data.index import read_index
        from umanet.export import export_dataset
        from umanet.fusion import FUSIONS

        index = read_index(self.dataset)
        how = self.how
        if how is not None and how not in (*FUSIONS, "truth"):
            how = open_model(run_folder(how), self.device, self.threads, grading=True)
        with progress("Exporting") as report:
            made = export_dataset(
                index, self.to, self.output, how=how, annotator=self.annotator, split=self.split, number=self.id,
                progress=report,
            )  # fmt: skip
        say(f"{index.name} for {self.to} in {made}.")
        if self.to == "nnunet" and how is None:
            say("nnU-Net trains on labelsTr: export --with a fusion, or --with single --annotator NAME.")
