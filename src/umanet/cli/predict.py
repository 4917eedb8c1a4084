from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from umanet.cli.case_parallel import CaseParallel
from umanet.cli.model import Device, open_model
from umanet.cli.terminal import next_step, progress, say
from umanet.errors import ConfigError, counted
from umanet.inference.also import AlsoFormat

if TYPE_CHECKING:
    from umanet.inference.model_file import Model
    from umanet.inference.predict import Wanted
    from umanet.inference.unread import UnreadSamples
    from umanet.types import Case


@dataclass(frozen=True)
class Predict(CaseParallel):
    """Predict label maps, probabilities and entropy, in the images' own geometry and file type."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(name="run", metavar="RUN")]
    """A trained run."""
    inputs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DATASET|FOLDER|IMAGE...")]
    """A dataset.json, or images and folders of them, trees of DICOM series too; of several channels, one file with all,
    or CASE_0000 and so on."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A new folder for what is predicted."""
    split: str | None = None
    """Only the cases of this split of the data set."""
    annotators: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also what each annotator would draw, where the method says it: annotators/NAME."""
    samples: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also label maps drawn from the prediction, where the method draws some: samples/01 and so on; `evaluate` then
    scores their diversity."""
    also: tuple[AlsoFormat, ...] = ()
    """Further copies: label maps as nrrd or mha, DICOM segmentations (of DICOM images), outlines of pictures as geojson
    (QuPath) or coco, a bids derivative."""
    mirror: tuple[int, ...] = ()
    """Axes of the array, from 0: the mean over the image and its mirror images along them, at twice the time for each.
    Only where both sides are alike: a mirrored chest has its heart on the wrong side."""
    runtime: Literal["torch", "onnx"] = "torch"
    """onnx: by ONNX Runtime on the CPU, quicker for pictures; needs umanet[export]. The graph is kept as
    RUN/model.onnx."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """bf16: in bfloat16, on a CPU too: volumes may take half the time there, pictures longer, and single voxels change
    their label. auto: on a CUDA device as it was trained, else 32."""
    device: Device = "auto"
    """Where the network computes."""
    threads: int | None = None
    """CPU threads of the runtime, where there is one worker. Default: as many as the run was trained with."""

    def run(self) -> None:
        from umanet.inference.also.copies import Copies
        from umanet.inference.predict import predict

        executor = self.executor()
        model = open_model(self.run_folder, self._device, self.threads)
        cases, samples = self._samples(model)
        also = Copies(self.also, cases, model)
        wanted = self._wanted(model, elsewhere=executor.elsewhere)
        with progress("Predicting") as report:
            predict(
                model, samples, self.output, total=len(cases), split=self.split, wanted=wanted, also=also,
                executor=executor, run=self.run_folder, progress=report,
            )  # fmt: skip
        copies = f", and copies as {', '.join(self.also)}," if self.also else ""
        say(f"Labels, probabilities and entropy of {counted(len(cases), 'case')}{copies} in {self.output}.")
        if self._dataset:
            next_step("evaluate", self.output, self._dataset)

    @property
    def _device(self) -> Device:
        if self.runtime == "torch":
            return self.device
        if self.device not in ("auto", "cpu"):
            raise ConfigError(
                f"--device {self.device} with --runtime onnx found, cpu expected: it runs on the CPU. Leave "
                "one of them out."
            )
        return "cpu"

    def _wanted(self, model: "Model", *, elsewhere: bool) -> "Wanted":
        from umanet.inference.predict import Wanted

        precision = None if self.precision == "auto" else self.precision
        wanted = Wanted(self.annotators, self.samples, self.mirror, precision=precision)
        if self.runtime == "torch":
            return wanted
        import torch

        from umanet.inference.onnx_runtime import Onnx

        network = Onnx(self.run_folder.resolve(), 1 if elsewhere else torch.get_num_threads())
        if elsewhere:
            network(model)  # the file is then there for all workers
        return replace(wanted, network=network)

    @property
    def _dataset(self) -> Path | None:
        """A folder that holds a data set counts: reading it says which file to name."""
        if len(self.inputs) != 1:
            return None
        only = self.inputs[0]
        return only if only.suffix == ".json" or (only / "dataset.json").is_file() else None

    def _samples(self, model: "Model") -> "tuple[list[Case], UnreadSamples]":
        from umanet.data.index import read_index
        from umanet.inference.unread import samples_of_images, samples_of_index

        if self._dataset:
            return samples_of_index(model, read_index(self._dataset), self.split)
        if self.split:
            raise ConfigError(f"--split {self.split} found with images, a dataset.json expected. Leave --split out.")
        return samples_of_images(model, list(self.inputs))
