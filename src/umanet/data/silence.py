"""What cannot yet tell silence (ignored voxels, classes that an annotator does not draw) from background."""

from umanet.data.index import DatasetIndex
from umanet.errors import DatasetError


def refuse_partial(index: DatasetIndex, what: str) -> None:
    """Stop where annotations that are silent on voxels or classes would be taken for background.

    Raises:
        DatasetError: The data set has ``ignore`` or ``annotator_classes``.
    """
    key = "ignore" if index.ignore else "annotator_classes"
    if index.ignore or index.annotator_classes:
        raise DatasetError(
            f"`{key}` found in {index.name!r}, annotations that speak of every voxel and class expected by {what}: it "
            "would take silence for background. Train, predict and evaluate take such a data set."
        )
