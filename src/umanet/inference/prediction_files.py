"""The folder that predictions (and consensus maps) are written to: labels, probabilities and entropy per case."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from umanet.data.files import replace_file
from umanet.data.images import file_name, write_labels, write_map
from umanet.data.index import ClassDefinition
from umanet.types import Geometry

MANIFEST = "predictions.json"
FORMAT, VERSION = "umanet-predictions", 1


class CaseFiles(TypedDict):
    """Paths relative to the folder."""

    labels: str
    probabilities: dict[str, str]
    entropy: str


def entropy(probabilities: Float[Tensor, "K *spatial"]) -> Float[Tensor, "*spatial"]:
    """Entropy over its maximum ``log K``: 0 certain, 1 all classes alike."""
    total = torch.zeros_like(probabilities[0])
    for one in probabilities:  # one map at a time: large volumes have many classes
        total += torch.special.entr(one)
    return total.div_(np.log(len(probabilities))).clamp_(0, 1)


def write_case(
    case: str,
    probabilities: Float[Tensor, "K *spatial"],
    geometry: Geometry,
    classes: Sequence[ClassDefinition],
    folder: Path,
) -> CaseFiles:
    """Write the most probable labels, a probability map per class, and the entropy, in the image's geometry."""
    name = file_name(case, geometry)
    labels = f"labels/{name}"
    write_labels(folder / labels, probabilities.argmax(0).numpy().astype(np.uint8), geometry, classes)
    of_class = {}
    for definition, values in zip(classes, probabilities, strict=True):
        of_class[definition.name] = f"probabilities/{definition.name}/{name}"
        write_map(folder / of_class[definition.name], values.numpy(), geometry)
    doubt = f"entropy/{name}"
    write_map(folder / doubt, entropy(probabilities).numpy(), geometry)
    return {"labels": labels, "probabilities": of_class, "entropy": doubt}


def write_manifest(
    cases: Mapping[str, CaseFiles],
    classes: Sequence[ClassDefinition],
    made_by: Mapping[str, str],
    folder: Path,
    *,
    split: str | None = None,
) -> Path:
    """Write ``predictions.json``, which lists every file. Written last: a folder without it is not complete.

    ``split`` is the one that was predicted as a whole: evaluation then looks at that one.
    """
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "classes": [definition.model_dump(mode="json") for definition in classes],
        "model": dict(made_by),
        "split": split,
        "cases": dict(cases),
    }
    replace_file(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return folder / MANIFEST
