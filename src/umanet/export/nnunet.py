"""nnU-Net v2: ``DatasetXXX_Name`` with ``imagesTr``, ``labelsTr`` or ``labelsTr_ANNOTATOR``, ``dataset.json``.

The split ``test`` goes to ``imagesTs`` and ``labelsTs``; ``train`` and ``validation`` become the one fold of
``splits_final.json``, which nnU-Net expects in its folder of preprocessed data. nnU-Net trains on ``labelsTr``: the
folders of annotators are for our own import and for choosing one. Where the truth of test cases is known it is
``labelsTs``, and what was fused of them ``labelsTs_consensus``.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from umanet.data.index import DatasetIndex
from umanet.errors import DatasetError
from umanet.export.entry import Entry, class_names, write_image, write_labels


def write_nnunet(
    index: DatasetIndex,
    entries: Sequence[Entry],
    place: Path,
    *,
    ending: str,
    number: int,
    done: Callable[[], None],
) -> Path:
    """Write ``place/DatasetXXX_Name``.

    Args:
        index: Names, channels and classes.
        entries: What to write.
        place: The output.
        ending: Type of all files.
        number: Of the data set, 1 to 999.
        done: Called after every case.
    """
    labels = class_names(index)
    folder = place / dataset_name(index.name, number)
    truth_is_known = any(entry.is_test and entry.truth for entry in entries)
    for entry in entries:
        part, name = "Ts" if entry.is_test else "Tr", f"{entry.case.id}{ending}"
        write_image(entry.case, index, ending, folder / f"images{part}" / entry.case.id)
        for annotator, path in entry.labels.items():
            drawn_by = annotator or (entry.only if entry.is_test and truth_is_known else "")
            target = f"labels{part}_{drawn_by}" if drawn_by else f"labels{part}"
            write_labels(folder / target / name, path, entry)
        if entry.is_test and entry.truth:
            write_labels(folder / "labelsTs" / name, entry.truth, entry)
        done()
    said = {
        "name": index.name,
        "channel_names": {str(channel): name for channel, name in enumerate(index.channels)},
        "labels": labels,
        "numTraining": sum(not entry.is_test for entry in entries),
        "file_ending": ending,
    }
    _write_json(folder / "dataset.json", said)
    folds = {part: [e.case.id for e in entries if e.case.split == name] for part, name in FOLD.items()}
    if all(folds.values()):
        _write_json(folder / "splits_final.json", [folds])
    return folder


FOLD = {"train": "train", "val": "validation"}
"""nnU-Net's names of the parts of a fold to ours."""


def check_case_names(entries: Sequence[Entry]) -> None:
    """Refuse names that nnU-Net 2 loses.

    Raises:
        DatasetError: A case for training ends with ``_seg``: nnU-Net names its own label maps so.
    """
    for entry in entries:
        if entry.case.id.endswith("_seg"):
            raise DatasetError(
                f"The case name {entry.case.id!r} found, one that does not end with _seg expected: nnU-Net would take "
                "it for a label map and leave the case out. Rename it in dataset.json."
            )


def dataset_name(name: str, number: int) -> str:
    """``Dataset501_Name``, with letters and digits of the name only."""
    return f"Dataset{number:03}_{re.sub('[^A-Za-z0-9]+', '_', name).strip('_') or 'data'}"


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
