"""Crops of LIDC-IDRI nodules as they are re-released: plain folders, a file per nodule and reader.

``images/LIDC-IDRI-0001_0.png`` and ``annotations/reader1/LIDC-IDRI-0001_0.png``; any file type that is read. Masks are
0 and 1, or 0 and 255. ``reader1`` is not one person. Nodules of a patient stay in one split.
"""

from pathlib import Path

from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources import folder
from umanet.data.sources.raw_folder import raw_folder
from umanet.errors import DatasetError

HOLDS = "the folders images and annotations/reader1, annotations/reader2 and so on"
PATIENT = r"LIDC-IDRI-\d+"


def index(root: Path) -> DatasetIndex:
    """Index the folder; a reader without a file did not outline the nodule.

    Raises:
        DatasetError: As ``folder.index``; a name without a patient; or masks that have other values than two.
    """
    root = raw_folder(root, HOLDS)
    found = folder.index(root, patient_pattern=PATIENT, annotators_are_identified=False)
    names = [definition.name for definition in found.classes]
    if names != ["background", "foreground"]:
        values = ", ".join(str(value) for definition in found.classes for value in definition.values)
        raise DatasetError(
            f"The values {values} found in the annotations of {root}, 0 and 1, or 0 and 255, expected. Import them "
            "with `umanet import folder --classes`."
        )
    nodule = ClassDefinition(name="nodule", values=found.classes[1].values)
    return found.model_copy(update={"classes": (found.classes[0], nodule)})
