"""A data set and predictions of it, written as the rest of the project writes them."""

import json

import numpy as np

from umanet.data.images import file_name, write_labels, write_map
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.evaluation import evaluate
from umanet.types import Case

LUNG = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="lung", values=(255,)))
TWO = (*LUNG, ClassDefinition(name="heart", values=(3, 4)))


class Folder:
    """A data set and predictions of it, written as the rest of the project writes them."""

    def __init__(self, path, geometry, classes=LUNG):
        self.path, self.geometry, self.classes = path, geometry, classes
        self.predictions, self.cases, self.entries = path / "predictions", [], {}
        self.predicted_split, self.identified = None, True

    def write(self, kind, name, labels):
        path = self.path / kind / file_name(name, self.geometry)
        write_labels(path, np.asarray(labels, np.uint8).reshape(self.geometry.shape), self.geometry, self.classes)
        return path

    def write_map(self, name, values, kind="probabilities"):
        path = self.predictions / kind / file_name(name, self.geometry)
        write_map(path, np.asarray(values, np.float32).reshape(self.geometry.shape), self.geometry)
        return str(path.relative_to(self.predictions))

    def add(
        self, name, predicted, *, probabilities=None, annotations=None, truth=None, patient="", split="test",
        samples=(), uncertainty=None,
    ):  # fmt: skip
        """``probabilities`` of the foreground classes."""
        drawn = {f"a{r}": labels for r, labels in enumerate(annotations or []) if labels is not None}
        self.cases.append(
            Case(
                id=name,
                image=(self.write("images", name, np.zeros(self.geometry.shape)),),
                annotations={who: self.write(who, name, labels) for who, labels in drawn.items()},
                truth=None if truth is None else self.write("truth", name, truth),
                patient=patient or name,
                split=split,
            )
        )
        labels = str(self.write("predictions/labels", name, predicted).relative_to(self.predictions))
        maps = {
            definition.name: self.write_map(f"{name}_{definition.name}", values)
            for definition, values in zip(self.classes[1:], probabilities or [], strict=False)
        }
        entropy = "not read" if uncertainty is None else self.write_map(name, uncertainty, "entropy")
        drawn = [str(self.write(f"predictions/samples/{m}", name, labels).relative_to(self.predictions))
                 for m, labels in enumerate(samples)]  # fmt: skip
        self.entries[name] = {"labels": labels, "probabilities": maps, "entropy": entropy, "samples": drawn}

    @property
    def index(self):
        return DatasetIndex(
            name="tiny",
            spatial_dims=len(self.geometry.shape),
            channels=("grey",),
            classes=self.classes,
            annotators=("a0", "a1", "a2"),
            annotators_are_identified=self.identified,
            cases=tuple(self.cases),
        )

    def evaluate(self, index=None, **options):
        manifest = {
            "format": "umanet-predictions",
            "version": 1,
            "classes": [definition.model_dump(mode="json") for definition in self.classes],
            "model": {},
            "split": self.predicted_split,
            "cases": self.entries,
        }
        (self.predictions / "predictions.json").write_text(json.dumps(manifest))
        return evaluate(self.predictions, index or self.index, **options)
