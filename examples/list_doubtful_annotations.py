"""Which annotations should somebody look at again? Prints the most doubtful ones and where to look.

python examples/list_doubtful_annotations.py RUN dataset.json
"""

import sys
from pathlib import Path

import torch

from umanet import DatasetIndex, load_model
from umanet.data.index import read_index
from umanet.grading import for_annotators, graded_cases


def doubtful(run: Path, index: DatasetIndex) -> list[tuple[float, str, str, list[int]]]:
    """Quality, case, annotator and most doubtful voxel of every annotation, most doubtful first."""
    model = for_annotators(load_model(run, grading=True), index)
    found = []
    for graded in graded_cases(model, index):
        for number, annotator in enumerate(index.annotators):
            if graded.sample.present[number]:
                uncertainty = graded.grades.uncertainty[0, number]
                voxel = [int(i) for i in torch.unravel_index(uncertainty.argmax(), uncertainty.shape)]
                found.append((float(graded.grades.quality[0, number]), graded.case.id, annotator, voxel))
    return sorted(found)


if __name__ == "__main__":
    for quality, case, annotator, voxel in doubtful(Path(sys.argv[1]), read_index(Path(sys.argv[2])))[:20]:
        print(f"{quality:.3f}  {case}  {annotator}  look at {voxel}")
