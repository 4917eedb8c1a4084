"""A derivative data set in the Brain Imaging Data Structure: ``_dseg``, and a ``_probseg`` per class.

Reference: Gorgolewski et al., "The brain imaging data structure, a format for organizing and describing outputs of
neuroimaging experiments", doi:10.1038/sdata.2016.44; the names are those of version 1.10 of the specification.
"""

import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from umanet.data.files import replace_file
from umanet.data.formats import DICOM, VOLUMES, suffix_of
from umanet.data.images import write_labels, write_map
from umanet.data.index import ClassDefinition
from umanet.data.result_files import to_csv
from umanet.errors import ConfigError
from umanet.inference.also.written import WrittenCase
from umanet.types import Case

BIDS_NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)(?:_[A-Za-z0-9]+)?")
"""``sub-01_ses-2_run-1_T1w``: entities, and the suffix that a derivative replaces."""
BIDS_VERSION = "1.10.0"


class BidsCopies:
    """``bids/sub-01/anat/sub-01_dseg.nii.gz`` and, per class, ``sub-01_label-CLASS_probseg.nii.gz``."""

    def check(self, cases: Sequence[Case], classes: Sequence[ClassDefinition], spatial_dims: int) -> None:
        for case in cases:
            suffix = suffix_of(case.image[0])
            if suffix not in (*VOLUMES, DICOM):
                raise _not_in_space(case.id, suffix)
        _require_different("case", [case.id for case in cases], [_entities(case.id) for case in cases])
        names = [definition.name for definition in classes]
        _require_different("class", names, [_alphanumeric(name) for name in names])

    def write(self, written: WrittenCase) -> str:
        if written.geometry.affine is None:
            raise _not_in_space(written.case.id, written.geometry.suffix)
        entities = _entities(written.case.id)
        found = dict(part.split("-") for part in entities.split("_"))
        session = f"ses-{found['ses']}/" if "ses" in found else ""
        start = f"bids/sub-{found['sub']}/{session}anat/{entities}"
        labels = f"{start}_dseg.nii.gz"
        write_labels(written.folder / labels, written.labels(), written.geometry, written.classes)
        for definition, values in zip(written.classes, written.probabilities(), strict=True):
            name = f"{start}_label-{_alphanumeric(definition.name)}_probseg.nii.gz"
            write_map(written.folder / name, values, written.geometry)
        return labels

    def finish(self, folder: Path, classes: Sequence[ClassDefinition]) -> None:
        description = {
            "Name": "Segmentations predicted by umanet",
            "BIDSVersion": BIDS_VERSION,
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


def _entities(case: str) -> str:
    match = BIDS_NAME.fullmatch(case)
    return match["entities"] if match else f"sub-{_alphanumeric(case)}"


def _alphanumeric(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", name)


def _require_different(kind: str, names: Sequence[str], chosen: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name, short in zip(names, chosen, strict=True):
        if short in ("", "sub-"):
            raise ConfigError(
                f"The name of {kind} {name!r} found, ASCII letters or digits in it expected by bids. Rename it, or "
                "leave bids out of --also."
            )
        if short in seen:
            raise ConfigError(
                f"{kind.capitalize()} {seen[short]!r} and {kind} {name!r} found, which would both be named {short} in "
                "bids. Rename one, predict them apart, or leave bids out of --also."
            )
        seen[short] = name
