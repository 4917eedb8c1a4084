from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from umanet.cli.terminal import say


@dataclass(frozen=True)
class ExportModel:
    """Write the network of a run as one file that ONNX Runtime or torch.export reads, without umanet."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(name="run", metavar="RUN")]
    """A trained run."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A new file: .onnx, or .pt2 for torch."""
    to: Literal["onnx", "torch"] = "onnx"
    """onnx: needs umanet[export]. torch: a program of torch.export."""

    def run(self) -> None:
        from umanet.inference.exported import export_model

        any_size = export_model(self.run_folder, self.output, self.to)
        takes = "images of any size that the network halves evenly" if any_size else "one patch at a time"
        say(f"The network as {self.output}. It takes prepared images and gives class probabilities; {takes}.")
