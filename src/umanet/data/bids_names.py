"""What files are called in the Brain Imaging Data Structure: letters and digits, in entities such as ``sub-01_ses-2``.

Reference:
    Gorgolewski et al.: The brain imaging data structure, a format for organizing and describing outputs of
    neuroimaging experiments. Scientific Data 3, 2016. DOI 10.1038/sdata.2016.44
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from umanet.errors import DatasetError
from umanet.types import Case

VERSION = "1.10.0"
"""Of the specification."""
BIDS_NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)(?:_[A-Za-z0-9]+)?")
"""``sub-01_ses-2_run-1_T1w``: entities, and the suffix that a derivative replaces."""


def entities_of(cases: Sequence[Case]) -> dict[str, str]:
    """Case to the beginning of its files' names.

    A case that is called as BIDS has it keeps its entities. Others get ``sub-PATIENT``, and ``_acq-CASE`` behind it
    where their patient has several (the entity acq may be any text).

    Raises:
        DatasetError: Two would be called the same, or a name has neither letters nor digits.
    """
    patients = plain_names(
        (case.patient or case.id for case in cases if not BIDS_NAME.fullmatch(case.id)), "patient or case"
    )
    several = Counter(case.patient or case.id for case in cases)
    acquired = plain_names((case.id for case in cases if several[case.patient or case.id] > 1), "case")
    entities = {}
    for case in cases:
        match = BIDS_NAME.fullmatch(case.id)
        patient = case.patient or case.id
        start = match["entities"] if match else f"sub-{patients[patient]}"
        entities[case.id] = start if match or several[patient] == 1 else f"{start}_acq-{acquired[case.id]}"
    _require_different(entities, "case")
    return entities


def folder_of(entities: str) -> str:
    """``sub-01/ses-2/anat`` of ``sub-01_ses-2_run-1``."""
    found = dict(part.split("-") for part in entities.split("_"))
    session = f"ses-{found['ses']}/" if "ses" in found else ""
    return f"sub-{found['sub']}/{session}anat"


def plain_names(names: Iterable[str], kind: str) -> dict[str, str]:
    """Names to what is left of them in BIDS.

    Raises:
        DatasetError: As ``entities_of``.
    """
    plain = {name: re.sub("[^A-Za-z0-9]", "", name) for name in names}
    _require_different(plain, kind)
    return plain


def _require_different(chosen: dict[str, str], kind: str) -> None:
    counts = Counter(chosen.values())
    alike = next((short for short, count in counts.items() if count > 1 or not short), None)
    if alike is not None:
        both = " and ".join(repr(name) for name, short in chosen.items() if short == alike)
        raise DatasetError(
            f"The {kind} name {both} found, names that differ in letters and digits (BIDS allows no others) expected. "
            "Rename one, or do without BIDS."
        )
