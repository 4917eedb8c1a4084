"""The image-aware consensus as a target for an ordinary network, next to majority vote and STAPLE."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umanet.config import build_config
from umanet.consensus import fuse_dataset
from umanet.data.index import DatasetIndex, read_index
from umanet.inference.model_file import load_model
from umanet.training import train


def with_consensus(index: DatasetIndex, values: Mapping[str, Any], teacher: str, folder: Path) -> DatasetIndex:
    """A data set whose only annotation is the consensus of a method that is trained first, with the same settings.

    As ``umanet train --method TEACHER`` and ``umanet fuse --with RUN`` do it. What is there already is kept.

    Args:
        index: Of which training and validation cases are used.
        values: The configuration, as a nested mapping.
        teacher: A method that grades annotations.
        folder: Gets ``teacher/`` and ``consensus/``.

    Raises:
        UmanetError: As ``train`` and ``fuse_dataset``.
    """
    place = folder / "consensus"
    if not place.exists():
        train(build_config({**values, "method": teacher}, index.spatial_dims), index, folder / "teacher", resume="auto")
        learned = tuple(case for case in index.cases if case.split in ("train", "validation"))
        fuse_dataset(index.model_copy(update={"cases": learned}), load_model(folder / "teacher", grading=True), place)
    return read_index(place / "dataset.json")
