"""The objects that travel: Case -> Sample -> Batch -> Prediction; and Task, all that a method knows of the data.

``IGNORE`` in annotations: the annotator says nothing about this voxel.

Axis letters, here and in every annotation of a shape: ``B`` images, ``C`` image channels, ``K`` classes (background
included), ``R`` annotators, ``M`` drawn samples, ``F`` features, ``*spatial`` in array order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer, UInt8
from torch import Tensor

IGNORE = 255
"""Label of a voxel of which an annotation says nothing: neither background nor any class."""


@dataclass(frozen=True)
class Task:
    """All that a method knows of the data.

    Attributes:
        spatial_dims: 2 or 3.
        channels: Names of the image channels, in order.
        classes: Names of the classes; index 0 is the background.
        annotators: Names of the annotators, in the order of the axis ``R``.
        annotators_are_identified: False where ``reader1`` is not one person (LIDC): nothing may then be learned
            or said about an annotator across cases.
        drawn: Per annotator the foreground classes that they draw, ascending; empty: everybody draws all. Label 0 of an
            annotator who draws some only means "none of these": background or any class that they do not draw.
    """

    spatial_dims: int
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    annotators: tuple[str, ...]
    annotators_are_identified: bool = True
    drawn: tuple[tuple[int, ...], ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def who_draws(self, k: int) -> Bool[np.ndarray, " R"]:
        """Which annotators draw class ``k``."""
        return np.array([not self.drawn or k in self.drawn[r] for r in range(len(self.annotators))], bool)


@dataclass(frozen=True)
class Geometry:
    """Where an array lies in the file it came from, and where the file lies in the patient.

    Attributes:
        shape: Spatial shape of the array as the code sees it: RAS+ axis order where there is an affine, else as stored.
        spacing: Millimetres per voxel along each axis of the array; ones where the file does not know.
        spacing_is_known: False where the file holds no spacing (most PNG and JPEG files).
        affine: 4 x 4, voxel index *of the file as stored* to RAS+ millimetres; None for file types without one.
        file_shape: Spatial shape as stored, with singleton axes that the array leaves out (``(H, W, 1)`` NIfTI).
        orientation: One pair (file axis, flip) per axis of ``file_shape``, in nibabel's sense, that leads from the
            file to RAS+; None where the array is as stored.
        suffix: Type of the file in lower case, ``.png`` or ``.nii.gz``: outputs are written in the same type.
        qform: As ``affine``, of the qform of a NIfTI file, which may differ from its sform; None: it does not.
        codes: NIfTI codes of qform and sform: 0 unknown, 1 scanner, 2 aligned, 3 Talairach, 4 MNI.
        plane: Of NRRD and MetaImage files with two axes: column and row to millimetres, 3 x 3. Only carried to outputs.
        resolution: Of PNG and TIFF files: pixels per unit along a row and along a column, and the unit as TIFF numbers
            it (1 none, 2 inch, 3 centimetre). Only carried to outputs; None where the file says nothing.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    spacing_is_known: bool = False
    affine: Float[np.ndarray, "4 4"] | None = None
    file_shape: tuple[int, ...] | None = None
    orientation: tuple[tuple[int, int], ...] | None = None
    suffix: str = ".nii.gz"
    qform: Float[np.ndarray, "4 4"] | None = None
    codes: tuple[int, int] = (1, 1)
    resolution: tuple[float, float, int] | None = None
    plane: Float[np.ndarray, "3 3"] | None = None


@dataclass(frozen=True)
class Case:
    """One image and its annotations, on disk. Paths are absolute.

    Attributes:
        id: Unique in its data set; names every file that is written for the case.
        image: One file per channel, or a single file that holds all channels.
        annotations: Annotator to file; annotators who did not annotate this case are not in it.
        truth: Label map of what is really there, only where it is known.
        patient: Splits never separate the cases of a patient.
        split: ``train``, ``validation``, ``test``, or None.
        dates: When each annotator drew, where that is known.
    """

    id: str
    image: tuple[Path, ...]
    annotations: Mapping[str, Path] = field(default_factory=dict)
    truth: Path | None = None
    patient: str = ""
    split: str | None = None
    dates: Mapping[str, date] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A case in memory.

    Attributes:
        case: The case's id.
        image: As read: no normalisation.
        annotations: Labels (class indices, not file values), or ``IGNORE``. All zeros where ``present`` is False: do
            not look at them there.
        present: False where an annotator did not annotate this case. An empty annotation is present.
        geometry: Of the image; the annotations share it.
        truth: Labels, where known.
        target: Fused target, where a method asks for one: class probabilities.
    """

    case: str
    image: Float[Tensor, "C *spatial"]
    annotations: UInt8[Tensor, "R *spatial"]
    present: Bool[Tensor, " R"]
    geometry: Geometry
    truth: UInt8[Tensor, "*spatial"] | None = None
    target: Float[Tensor, "K *spatial"] | None = None


@dataclass(frozen=True)
class Batch:
    """Samples of one shape, stacked."""

    image: Float[Tensor, "B C *spatial"]
    annotations: Integer[Tensor, "B R *spatial"]
    present: Bool[Tensor, "B R"]
    target: Float[Tensor, "B K *spatial"] | None = None

    @cached_property
    def silent(self) -> bool:
        """Whether any annotation is ``IGNORE`` anywhere."""
        return any_silence(self.annotations)

    @cached_property
    def complete(self) -> bool:
        """Whether everybody annotated every image."""
        return bool(self.present.all())

    def to(self, device: object) -> "Batch":
        """A copy on ``device`` (anything that ``Tensor.to`` takes), which knows what it is asked for in every step.

        An answer from an accelerator would have to wait for all that it still has to do.
        """
        target = None if self.target is None else self.target.to(device)  # type: ignore[arg-type]
        moved = Batch(*(t.to(device) for t in (self.image, self.annotations, self.present)), target)  # type: ignore[arg-type]
        vars(moved).update(silent=self.silent, complete=self.complete)
        return moved


@dataclass(frozen=True)
class Prediction:
    """What a method says of images; None where it has nothing to say."""

    probabilities: Float[Tensor, "B K *spatial"]
    annotator_probabilities: Float[Tensor, "B R K *spatial"] | None = None
    samples: Float[Tensor, "B M K *spatial"] | None = None


@dataclass(frozen=True)
class AnnotationGrades:
    """What a method says of annotations. Entries of absent annotators are NaN (quality) or zero (maps).

    Attributes:
        uncertainty: ``-log P(the annotation is right here)``, >= 0, 0 = certain: by the consensus, once the other
            annotations and the network have had their say.
        quality: Per annotation, its Dice to be expected in the region of interest from how sure the method is of it by
            itself, in [0, 1].
        image_quality: Mean over the present annotations.
        low: Annotations whose quality is low among those that were seen in training.
        image_low: Images whose quality is low among those that were seen in training.
        consensus: Image-aware consensus of the present annotations: class probabilities.
        probabilities: Of the primary predictor.
    """

    uncertainty: Float[Tensor, "B R *spatial"]
    quality: Float[Tensor, "B R"]
    image_quality: Float[Tensor, " B"]
    low: Bool[Tensor, "B R"]
    image_low: Bool[Tensor, " B"]
    consensus: Float[Tensor, "B K *spatial"]
    probabilities: Float[Tensor, "B K *spatial"]


def any_silence(annotations: Integer[Tensor, "B R *spatial"]) -> bool:
    """Whether any annotation is ``IGNORE`` anywhere."""
    return annotations.numel() > 0 and int(annotations.max()) == IGNORE  # far quicker than a comparison


def as_index(annotations: Integer[Tensor, "B R *spatial"]) -> Int64[Tensor, "B R *spatial"]:
    """Labels to index with; 0 where an annotation says nothing."""
    if any_silence(annotations):
        annotations = annotations.masked_fill(annotations == IGNORE, 0)
    return annotations.long()


def rest_votes(
    annotations: Integer[Tensor, "B R *spatial"], drawn: tuple[tuple[int, ...], ...], num_classes: int
) -> dict[int, tuple[Bool[Tensor, "B *spatial"], Bool[Tensor, " K"]]]:
    """Of annotators who draw some classes only: where their label is 0, and the classes that it may then be.

    Empty where all draw all.
    """
    found = {}
    for r, classes in enumerate(drawn):
        if len(classes) < num_classes - 1:
            possible = torch.ones(num_classes, dtype=torch.bool, device=annotations.device)
            for k in classes:  # a list as index would be copied to the device, which has to be waited for
                possible[k] = False
            found[r] = annotations[:, r] == 0, possible
    return found
