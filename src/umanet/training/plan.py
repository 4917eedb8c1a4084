"""What a run decides from its training images: the working grid, the patch, and what is graded."""

from collections.abc import Sequence

import numpy as np

from umanet.config import DataOptions, RunConfig, Spacing
from umanet.data.formats import NIFTI, suffix_of
from umanet.data.geometry import working_shape
from umanet.data.images import image_geometry
from umanet.data.index import DatasetIndex
from umanet.types import Case, Geometry

CASES_TO_PLAN = 50
"""Images that are read for their geometry: enough for a median, few enough to be quick. Of NIfTI files, whose headers
are read alone, all are."""
LEAST_SHOWN = 0.5
"""Of an image, by the patch that is graded in its place."""
SAME_SPACING = 0.01
"""Share by which spacings may differ that are still one: resampling would only blur."""
THICK = 3.0
"""Slices that are this many times as thick as voxels are wide are an axis of their own kind."""
THIN_PERCENTILE = 10
"""Of the slices' spacings, where they are thick: the median would throw away what the thinner ones show."""
DIGITS = 4
"""Of millimetres: files are not more exact, and a run that goes on must find the same number."""


def plan(config: RunConfig, index: DatasetIndex, training: list[Case]) -> RunConfig:
    """Fill in what is decided from the training cases: working grid, patch, what is graded, whom ``single`` takes."""
    data, fusion, uma_net = config.data, config.fusion, config.uma_net
    undecided = config.learner == "uma-net" and uma_net.grade == "auto"
    if data.patch is None or undecided or data.spacing == "auto":
        geometries = _geometries(index, training)
        if data.spacing == "auto":
            data = data.model_copy(update={"spacing": "native" if data.size else spacing_for(geometries)})
        median = _median_shape(data, geometries)
        patch = np.array(data.patch or _patch(median, config))
        data = data.model_copy(update={"patch": tuple(patch.tolist())})
        if undecided:
            whole = np.minimum(patch, median).prod() >= LEAST_SHOWN * median.prod()
            uma_net = uma_net.model_copy(update={"grade": "image" if whole else "none"})
    if config.learner == "single" and fusion.annotator is None:
        count = {name: sum(name in case.annotations for case in training) for name in index.annotators}
        fusion = fusion.model_copy(update={"annotator": max(count, key=lambda name: count[name])})
    return config.model_copy(update={"data": data, "fusion": fusion, "uma_net": uma_net})


def spacing_for(geometries: Sequence[Geometry]) -> Spacing:
    """The spacing of the working grid, in millimetres per axis; ``native`` where nothing is to be evened out.

    Per axis the median of the images whose files know their spacing. Where slices are more than three times as thick as
    voxels are wide, and fewer than voxels in either other direction, the tenth percentile of their thickness, but
    nothing thinner than voxels are wide: the median of thick slices would throw away what the thinner ones show.

    Reference:
        Isensee et al.: nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation. Nature
        Methods 18, 2021. DOI 10.1038/s41592-020-01008-z
    """
    known = [geometry for geometry in geometries if geometry.spacing_is_known]
    if not known:
        return "native"
    spacings = np.array([geometry.spacing for geometry in known])
    if (spacings.max(0) <= spacings.min(0) * (1 + SAME_SPACING)).all():
        return "native"
    target = np.median(spacings, axis=0)
    voxels = np.median([geometry.shape for geometry in known], axis=0)
    thick = int(np.argmax(target))
    others = [axis for axis in range(len(target)) if axis != thick]
    if target[thick] > THICK * target[others].min() and voxels[thick] < voxels[others].min():
        target[thick] = max(np.percentile(spacings[:, thick], THIN_PERCENTILE), target[others].max())
    return tuple(round(float(step), DIGITS) for step in target)


def _geometries(index: DatasetIndex, training: list[Case]) -> list[Geometry]:
    headers = all(suffix_of(case.image[0]) in NIFTI for case in training)
    step = 1 if headers else max(1, len(training) // CASES_TO_PLAN)
    return [image_geometry(case.image, index.spatial_dims) for case in training[::step]]


def _median_shape(data: DataOptions, geometries: Sequence[Geometry]) -> np.ndarray:
    """Of the images on the working grid."""
    return np.median([working_shape(g, data.longest_side or None, data.millimetres, data.size) for g in geometries], 0)


def _patch(median: np.ndarray, config: RunConfig) -> np.ndarray:
    """The median image, as far as the network can halve it and ``largest_patch`` goes."""
    multiple = 2 ** (len(config.backbone.channels) - 1)
    largest = max(config.data.largest_patch // multiple, 1) * multiple
    return np.minimum(np.ceil(median / multiple).astype(int) * multiple, largest)
