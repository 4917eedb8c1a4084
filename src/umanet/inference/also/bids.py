"""A derivative data set in the Brain Imaging Data Structure: ``_dseg``, and a ``_probseg`` per class.

Names are as ``umanet.data.bids_names`` has them.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from umanet.data.bids_names import VERSION, entities_of, folder_of, plain_names
from umanet.data.files import replace_file
from umanet.data.formats import DICOM, VOLUMES, suffix_of
from umanet.data.images import write_labels, write_map
from umanet.data.index import ClassDefinition
from umanet.data.result_files import to_csv
from umanet.errors import ConfigError
from umanet.inference.also.written import WrittenCase
from umanet.types import Case


class BidsCopies:
    """``bids/sub-01/anat/sub-01_dseg.nii.gz`` and, per class, ``sub-01_label-CLASS_probseg.nii.gz``."""

    def check(self, cases: Sequence[Case], classes: Sequence[ClassDefinition], spatial_dims: int) -> None:
        for case in cases:
            suffix = suffix_of(case.image[0])
            if suffix not in (*VOLUMES, DICOM):
                raise _not_in_space(case.id, suffix)
        self._entities = entities_of(cases)
        self._labels = plain_names((definition.name for definition in classes), "class")

    def write(self, written: WrittenCase) -> str:
        if written.geometry.affine is None:
            raise _not_in_space(written.case.id, written.geometry.suffix)
        entities = self._entities[written.case.id]
        start = f"bids/{folder_of(entities)}/{entities}"
        labels = f"{start}_dseg.nii.gz"
        write_labels(written.folder / labels, written.labels(), written.geometry, written.classes)
        for definition, values in zip(written.classes, written.probabilities(), strict=True):
            name = f"{start}_label-{self._labels[definition.name]}_probseg.nii.gz"
            write_map(written.folder / name, values, written.geometry)
        return labels

    def finish(self, folder: Path, classes: Sequence[ClassDefinition]) -> None:
        description = {
            "Name": "Segmentations predicted by umanet",
            "BIDSVersion": VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "umanet", "Version": version("umanet")}],
        }
        replace_file(folder / "bids/dataset_description.json", (json.dumps(description, indent=1) + "\n").encode())
        rows = [{"index": one.values[0], "name": one.name} for one in classes]
        replace_file(folder / "bids/dseg.tsv", to_csv(rows).replace(b",", b"\t"))


def _not_in_space(case: str, suffix: str) -> ConfigError:
    return ConfigError(
        f"bids needs images that lie in space: a picture ({suffix}) found, a volume in NIfTI, NRRD, MetaImage or DICOM "
        f"expected, for case {case!r}. Leave bids out of --also."
    )
