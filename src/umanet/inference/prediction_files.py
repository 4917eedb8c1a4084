"""The folder that predictions (and consensus maps) are written to: labels, probabilities and entropy per case."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from umanet.data.files import replace_file
from umanet.data.images import file_name, write_labels, write_map
from umanet.data.index import ClassDefinition
from umanet.types import IGNORE, Geometry

MANIFEST = "predictions.json"
FORMAT, VERSION = "umanet-predictions", 1


class CaseFiles(TypedDict):
    """Paths relative to the folder."""

    labels: str
    probabilities: dict[str, str]
    entropy: str
    annotators: NotRequired[dict[str, str]]
    """Annotator to label map."""
    samples: NotRequired[list[str]]
    """Label maps that were drawn."""
    also: NotRequired[dict[str, str]]
    """Format to file, of further copies."""


def write_case(
    case: str,
    probabilities: Iterable[Float[Tensor, "*spatial"]],
    geometry: Geometry,
    classes: Sequence[ClassDefinition],
    folder: Path,
    *,
    unknown: Bool[Tensor, "*spatial"] | None = None,
    ignore: int | None = None,
) -> CaseFiles:
    """Write a probability map per class, the most probable labels, and the entropy, in the image's geometry.

    The entropy is over its maximum ``log K``: 0 certain, 1 all classes alike. Maps come one after the other, class by
    class, so that memory does not grow with their number. Labels have the value ``ignore`` where they are ``unknown``,
    and where no class has any probability there either, the entropy is 1.
    """
    name = file_name(case, geometry)
    files: CaseFiles = {"labels": f"labels/{name}", "probabilities": {}, "entropy": f"entropy/{name}"}
    highest = doubt = torch.zeros(0)
    labels = torch.zeros(geometry.shape, dtype=torch.uint8)
    for k, values in enumerate(probabilities):  # zip would hold the first map while the second is there
        target = f"probabilities/{classes[k].name}/{name}"
        files["probabilities"][classes[k].name] = target
        write_map(folder / target, values.numpy(), geometry)
        if k == 0:
            highest, doubt = values.clone(), torch.special.entr(values)
            continue
        labels[values > highest] = k
        torch.maximum(highest, values, out=highest)
        doubt += torch.special.entr(values)
    assert len(files["probabilities"]) == len(classes)
    if unknown is not None:
        labels[unknown] = IGNORE
        doubt[unknown & (highest <= 0)] = math.log(len(classes))
    write_labels(folder / files["labels"], labels.numpy(), geometry, classes, ignore=ignore)
    write_map(folder / files["entropy"], doubt.div_(math.log(len(classes))).clamp_(0, 1).numpy(), geometry)
    return files


def write_parts(
    case: str,
    files: CaseFiles,
    parts: Iterable[Iterable[Float[Tensor, "*spatial"]]],
    annotators: Sequence[str],
    geometry: Geometry,
    classes: Sequence[ClassDefinition],
    folder: Path,
) -> CaseFiles:
    """Write a label map of each annotator, and of each sample behind them: ``samples/01/CASE`` and so on.

    Returns:
        ``files`` with them.
    """
    name, said, drawn = file_name(case, geometry), {}, []
    for number, probabilities in enumerate(parts):
        who = annotators[number] if number < len(annotators) else None
        target = f"annotators/{who}/{name}" if who else f"samples/{number - len(annotators) + 1:02}/{name}"
        highest, labels = torch.zeros(geometry.shape), torch.zeros(geometry.shape, dtype=torch.uint8)
        for k, values in enumerate(probabilities):
            labels[values > highest] = k
            torch.maximum(highest, values, out=highest)
        write_labels(folder / target, labels.numpy(), geometry, classes)
        if who:
            said[who] = target
        else:
            drawn.append(target)
    if said:
        files = {**files, "annotators": said}
    return {**files, "samples": drawn} if drawn else files


def write_manifest(
    cases: Mapping[str, CaseFiles],
    classes: Sequence[ClassDefinition],
    made_by: Mapping[str, str],
    folder: Path,
    *,
    split: str | None = None,
    ignore: Sequence[int] = (),
) -> Path:
    """Write ``predictions.json``, which lists every file. Written last: a folder without it is not complete.

    ``split`` is the one that was predicted as a whole: evaluation then looks at that one. ``ignore`` are the values in
    label maps where nothing is said.
    """
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "classes": [definition.model_dump(mode="json") for definition in classes],
        **({"ignore": list(ignore)} if ignore else {}),
        "model": dict(made_by),
        "split": split,
        "cases": dict(cases),
    }
    replace_file(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return folder / MANIFEST
