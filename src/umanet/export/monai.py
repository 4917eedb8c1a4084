"""MONAI: ``datalist.json`` in the Decathlon format that ``monai.data.load_decathlon_datalist`` reads.

Lists ``training``, ``validation`` and ``test`` of entries with ``image`` (a path, or one per channel), ``label``,
``case``, ``patient`` and, where every annotator has an entry of their own, ``annotator``. Paths are relative to the
file.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from umanet.data.index import DatasetIndex
from umanet.export.entry import Entry, class_names, write_image, write_labels

LISTS = {"train": "training", "validation": "validation", "test": "test", None: "training"}
"""Our splits to the lists."""
TEST_ANNOTATIONS = "test_annotations"
"""List of the annotations of test cases whose truth is known: for these the list ``test`` has the truth."""


def write_monai(
    index: DatasetIndex, entries: Sequence[Entry], place: Path, *, ending: str, done: Callable[[], None]
) -> Path:
    """Write ``place/images``, ``place/labels`` and ``place/datalist.json``.

    Args:
        index: Names, channels and classes.
        entries: What to write.
        place: The output.
        ending: Type of all files.
        done: Called after every case.
    """
    names = class_names(index)
    lists: dict[str, list[dict[str, object]]] = {}
    for entry in entries:
        case = entry.case
        images = [p.relative_to(place).as_posix() for p in write_image(case, index, ending, place / "images" / case.id)]
        said: dict[str, object] = {
            "image": images[0] if len(images) == 1 else images,
            "case": case.id,
            "patient": case.patient or case.id,
        }
        if entry.truth:
            truth = Path("truth", f"{case.id}{ending}")
            write_labels(place / truth, entry.truth, entry)
            said["truth"] = truth.as_posix()
        name = LISTS[case.split]
        if entry.is_test and entry.truth:
            lists.setdefault(name, []).append({**said, "label": said["truth"]})
            name = TEST_ANNOTATIONS
        listed = lists.setdefault(name, [])
        for annotator, path in entry.labels.items():
            label = Path("labels", annotator, f"{case.id}{ending}")
            write_labels(place / label, path, entry)
            by = {"annotator": annotator} if annotator else {}
            listed.append({**said, "label": label.as_posix(), **by})
        if not entry.labels and not entry.truth:
            listed.append(said)
        done()
    values = {
        "name": index.name,
        "modality": {str(channel): name for channel, name in enumerate(index.channels)},
        "labels": {str(value): name for name, value in names.items()},
        "numTraining": len(lists.get("training", ())),
        "numTest": len(lists.get("test", ())),
        **lists,
    }
    path = place / "datalist.json"
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
