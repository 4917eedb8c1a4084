"""What the metrics are measured against: the loops that one would write, and other packages, where they have the same.

The loops are NumPy as it is usually written; ``counted`` is a better loop, which counts booleans with
``count_nonzero`` instead of adding them up. Arrays become tensors before the clock starts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from math import lcm
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.calibration import calibration_curve

CLASSES = 3
BINS = 15


@dataclass(frozen=True)
class Example:
    """One case: everything that any of the metrics takes."""

    probability: np.ndarray
    annotations: np.ndarray
    samples: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, ...]

    @cached_property
    def predicted(self) -> np.ndarray:
        return self.probability > 0.5

    @cached_property
    def majority(self) -> np.ndarray:
        return 2 * self.annotations.sum(axis=0) > len(self.annotations)

    @cached_property
    def uncertainty(self) -> np.ndarray:
        return self.probability * (1 - self.probability)

    @cached_property
    def wrong(self) -> np.ndarray:
        return self.predicted != self.majority

    def tensor(self, name: str) -> torch.Tensor:
        return self._tensors.setdefault(name, torch.from_numpy(getattr(self, name)))

    def image(self, name: str) -> Any:
        if name not in self._images:
            image = sitk.GetImageFromArray(getattr(self, name).astype(np.uint8))
            image.SetSpacing(self.spacing[::-1])
            self._images[name] = image
        return self._images[name]

    @cached_property
    def _tensors(self) -> dict[str, torch.Tensor]:
        return {}

    @cached_property
    def _images(self) -> dict[str, Any]:
        return {}


Overlap = Callable[[np.ndarray, np.ndarray], float]


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / (first | second).sum()


def counted_dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def counted_iou(first: np.ndarray, second: np.ndarray) -> float:
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


def monai_overlap(name: str, *masks: Any) -> float:
    from monai.metrics.meandice import compute_dice
    from monai.metrics.meaniou import compute_iou

    first, second = (torch.as_tensor(mask)[None, None] for mask in masks)
    return {"dice": compute_dice, "iou": compute_iou}[name](first, second).item()


def simpleitk_overlap(example: Example) -> Any:
    filter_ = sitk.LabelOverlapMeasuresImageFilter()
    filter_.Execute(example.image("predicted"), example.image("majority"))
    return filter_


def per_class(overlap: Overlap, example: Example) -> list[float]:
    first, second = example.labels[:2]
    return [overlap(first == k, second == k) for k in range(CLASSES)]


def per_threshold(overlap: Overlap, tenths: tuple[int, ...], passes: np.ufunc, example: Example) -> float:
    """A pass over probability and annotations for every threshold."""
    mean = example.annotations.mean(axis=0)
    return float(np.mean([overlap(passes(example.probability, k / 10), passes(mean, k / 10)) for k in tenths]))


def per_annotator(overlap: Overlap, example: Example) -> float:
    return float(np.mean([overlap(example.predicted, annotation) for annotation in example.annotations]))


def per_pair_of_annotators(example: Example) -> np.ndarray:
    return np.array([[dice(a, b) for b in example.annotations] for a in example.annotations])


def personalised(example: Example) -> float:
    return float(np.mean([dice(s, y) for s, y in zip(example.samples, example.annotations, strict=False)]))


def every_pair(overlap: Overlap, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The double loop."""
    return np.array([[overlap(a, b) for b in second] for a in first])


def energy_distance(overlap: Overlap, example: Example) -> float:
    samples, annotations = example.samples, example.annotations
    crossed = (1 - every_pair(overlap, samples, annotations)).mean()
    return float(2 * crossed - sum((1 - every_pair(overlap, x, x)).mean() for x in (samples, annotations)))


def scipy_energy_distance(example: Example) -> float:
    samples, annotations = (x.reshape(len(x), -1) for x in (example.samples, example.annotations))
    pairs = ((samples, annotations), (samples, samples), (annotations, annotations))
    crossed, among, within = (cdist(a, b, "jaccard").mean() for a, b in pairs)
    return float(2 * crossed - among - within)


def best(example: Example) -> float:
    return float(every_pair(dice, example.samples, example.annotations).max(axis=0).mean())


def matched(example: Example) -> float:
    table = every_pair(dice, example.samples, example.annotations)
    return float(table[linear_sum_assignment(table, maximize=True)].mean())


def matched_iou(example: Example) -> float:
    """Each pair of masks once; its repetitions are those of the number."""
    table = every_pair(iou, example.samples, example.annotations)
    both = lcm(*table.shape)
    table = np.repeat(np.repeat(table, both // len(table), axis=0), both // table.shape[1], axis=1)
    return float(table[linear_sum_assignment(table, maximize=True)].mean())


def per_bin(example: Example) -> float:
    p, total = example.probability, 0.0
    for b in range(BINS):
        last = b == BINS - 1
        inside = (p >= b / BINS) & ((p < (b + 1) / BINS) | last)
        if inside.any():
            gap = p[inside].mean(dtype=np.float64) - example.majority[inside].mean()
            total += inside.mean() * abs(gap)
    return total


def scikit_learn_calibration(example: Example) -> float:
    p = example.probability.ravel()
    right, said = calibration_curve(example.majority.ravel(), p.astype(np.float64), n_bins=BINS)
    share = np.histogram(p, bins=BINS, range=(0, 1))[0] / p.size
    return float((share[share > 0] * np.abs(right - said)).sum())


def equal_mass(bins: int, example: Example) -> float:
    p, y = example.probability.ravel(), example.majority.ravel()
    order = np.argsort(p, kind="stable")
    parts = zip(np.array_split(p[order], bins), np.array_split(y[order], bins), strict=True)
    return float(np.mean([abs(said.mean(dtype=np.float64) - right.mean()) for said, right in parts]))


def brier(example: Example) -> float:
    p = example.probability.astype(np.float64)
    return float(np.mean([((p - y) ** 2).mean() for y in example.annotations]))


def log_likelihood(clip: float, example: Example) -> float:
    p = np.clip(example.probability.astype(np.float64), clip, 1 - clip)
    return float(np.mean([-np.where(y, np.log(p), np.log(1 - p)).mean() for y in example.annotations]))


def correlation(example: Example) -> float:
    return float(np.corrcoef(example.uncertainty.ravel(), example.annotations.var(axis=0).ravel())[0, 1])


def votes(labels: np.ndarray) -> np.ndarray:
    """A row per voxel, a column per class: what other packages take."""
    return np.stack([(labels == k).sum(axis=0).ravel() for k in range(CLASSES)], axis=1)


def kappa(example: Example) -> float:
    table, raters = votes(example.labels), len(example.labels)
    agree = (((table**2).sum(axis=1) - raters) / (raters * (raters - 1))).mean()
    chance = ((table.sum(axis=0) / table.sum()) ** 2).sum()
    return float((agree - chance) / (1 - chance))


def alpha(example: Example) -> float:
    """The coincidence matrix, a pair of annotators at a time."""
    coincidences = np.zeros((CLASSES, CLASSES))
    for first, second in permutations(example.labels.astype(np.intp), 2):
        cells = np.bincount((CLASSES * first + second).ravel(), minlength=CLASSES**2)
        coincidences += cells.reshape(CLASSES, CLASSES) / (len(example.labels) - 1)
    values, total = coincidences.sum(axis=1), coincidences.sum()
    expected = (total**2 - (values**2).sum()) / (total - 1)
    return float(1 - (total - np.trace(coincidences)) / expected)


def with_the_others(example: Example) -> np.ndarray:
    """Dice of each annotator with the majority of the others, each class a mask."""
    found = []
    for r, own in enumerate(example.labels):
        consensus = votes(np.delete(example.labels, r, axis=0)).argmax(axis=1).reshape(own.shape)
        found.append([dice(own == k, consensus == k) for k in range(CLASSES)])
    return np.array(found)


def surfaces(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Distances in both directions from distance transforms of the whole image."""
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (example.predicted, example.majority)]
    far = [ndimage.distance_transform_edt(~border, sampling=example.spacing) for border in borders]
    return far[1][borders[0]], far[0][borders[1]]


def simpleitk_surfaces(example: Example) -> tuple[np.ndarray, np.ndarray]:
    contours = [sitk.LabelContour(example.image(name), fullyConnected=False) for name in ("predicted", "majority")]
    options = {"insideIsPositive": False, "squaredDistance": False, "useImageSpacing": True}
    far = [np.abs(sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(c, **options))) for c in contours]
    first, second = (sitk.GetArrayFromImage(contour) == 1 for contour in contours)
    return far[1][first], far[0][second]


def hd95(distances: tuple[np.ndarray, np.ndarray]) -> float:
    return float(max(np.percentile(x, 95) for x in distances))


def assd(distances: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.concatenate(distances).mean())


def near(distances: tuple[np.ndarray, np.ndarray], t: float) -> float:
    return float((np.concatenate(distances) <= t).mean())


def monai_surface(name: str, tolerance_mm: float, example: Example) -> float:
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice
    from monai.metrics.surface_distance import compute_average_surface_distance

    pair = [example.tensor(mask)[None, None] for mask in ("predicted", "majority")]
    both: dict[str, Any] = {"include_background": True, "spacing": example.spacing}
    if name == "hd95_mm":
        return compute_hausdorff_distance(*pair, percentile=95, **both).item()
    if name == "assd_mm":
        return compute_average_surface_distance(*pair, symmetric=True, **both).item()
    return compute_surface_dice(*pair, class_thresholds=[tolerance_mm], **both).item()
