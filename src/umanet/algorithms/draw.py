"""The algorithms: an image of one channel, in 2D or 3D, becomes a mask of its brighter structures.

None of them draws by chance: the same image gives the same mask.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from skimage import filters, segmentation

Image = Float32[np.ndarray, "*spatial"]
Mask = Bool[np.ndarray, "*spatial"]
Algorithm = Callable[[Image, Mask], Mask]
"""The image, and where a region may begin to grow; only ``region-growing`` asks for the second."""

CLUSTERS = 3
"""Two clusters would be Otsu's threshold under another name: both minimise the variance within two groups."""
MOST_CLUSTERED = 200_000
"""Values that clusters are found from: evenly spaced ones of a large image, enough for three means."""
SEED_SIGMA = 1.5
"""Voxels by which the image is smoothed to find where a region begins, so that one bright voxel is none."""
CONTOUR_STEPS = 40
"""Iterations of the morphological contour; it hardly moves after thirty in images of 128 voxels a side."""


def otsu(image: Image, start: Mask) -> Mask:
    """Above the threshold with the least variance on either side."""
    return image > filters.threshold_otsu(image)


def multi_otsu(image: Image, start: Mask) -> Mask:
    """Above the upper one of Otsu's two thresholds."""
    return image > _two_thresholds(image)[1]


def li(image: Image, start: Mask) -> Mask:
    """Above Li's threshold of least cross entropy."""
    return image > filters.threshold_li(image)


def yen(image: Image, start: Mask) -> Mask:
    """Above Yen's threshold of greatest correlation."""
    return image > filters.threshold_yen(image)


def triangle(image: Image, start: Mask) -> Mask:
    """Above the triangle threshold, made for small bright structures in much background."""
    return image > filters.threshold_triangle(image)


def kmeans(image: Image, start: Mask) -> Mask:
    """The brightest of three clusters of values."""
    values = np.sort(image, axis=None)[:: max(1, image.size // MOST_CLUSTERED)].astype(np.float64)
    first = np.quantile(values, np.linspace(0, 1, 2 * CLUSTERS + 1)[1::2])
    if len(np.unique(first)) < CLUSTERS:
        # Most voxels have one value: clusters that begin in it would stay empty.
        first = np.linspace(values[0], values[-1], 2 * CLUSTERS + 1)[1::2]
    means, _ = kmeans2(values[:, None], first[:, None], minit="matrix", missing="warn", iter=30)
    means = np.sort(means[:, 0])
    return image > (means[-1] + means[-2]) / 2


def region_growing(image: Image, start: Mask) -> Mask:
    """What is connected to the brightest place and brighter than halfway from the image's median to it."""
    smooth = ndimage.gaussian_filter(image, SEED_SIGMA)
    seed = np.unravel_index(int(np.argmax(np.where(start, smooth, -np.inf))), image.shape)
    high = image > (float(smooth[seed]) + float(np.median(image))) / 2
    high[seed] = True
    regions, _ = ndimage.label(high)  # type: ignore  # an integer only with `output`
    return np.asarray(regions == regions[seed])


def watershed(image: Image, start: Mask) -> Mask:
    """Bright and dark voxels by Otsu's two thresholds; what is between goes where no edge divides it."""
    low, high = _two_thresholds(image)
    markers = np.where(image > high, 2, np.where(image <= low, 1, 0)).astype(np.int32)
    return np.asarray(segmentation.watershed(filters.sobel(image), markers) == 2)


def chan_vese(image: Image, start: Mask) -> Mask:
    """Active contour without edges (morphological), from Otsu's threshold on; smooth outlines.

    Reference:
        Marquez-Neila et al.: A Morphological Approach to Curvature-Based Evolution of Curves and Surfaces. IEEE
        Transactions on Pattern Analysis and Machine Intelligence 36(1), 2014. DOI 10.1109/TPAMI.2013.106
    """
    begin = otsu(image, start).astype(np.int8)
    found = segmentation.morphological_chan_vese(image, CONTOUR_STEPS, init_level_set=begin, smoothing=1)  # type: ignore  # or an array
    return np.asarray(found == 1)


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "otsu": otsu,
        "multi-otsu": multi_otsu,
        "li": li,
        "yen": yen,
        "triangle": triangle,
        "kmeans": kmeans,
        "region-growing": region_growing,
        "watershed": watershed,
        "chan-vese": chan_vese,
    }
)


def draw(name: str, image: Image, start: Mask) -> Mask:
    """What the algorithm ``name`` draws; nothing where the image has one value only."""
    if image.min() == image.max():
        return np.zeros(image.shape, bool)
    return ALGORITHMS[name](image, start)


def _two_thresholds(image: Image) -> tuple[float, float]:
    try:
        low, high = filters.threshold_multiotsu(image)
    except ValueError:  # fewer than three values after rounding to bins
        low = high = filters.threshold_otsu(image)
    return float(low), float(high)
