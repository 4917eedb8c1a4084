"""Codes, parts of a volume and pairs of voxels against what is plainly meant, and the memory that they are for."""

import tracemalloc
from math import prod

import numpy as np
import pytest

from umanet.data import codes
from umanet.fusion import majority_vote, mean, staple
from umanet.types import IGNORE

LAYOUTS = {
    "as C stores it": lambda a: a,
    "as Fortran stores it": np.asfortranarray,
    "annotators last": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0),
    "mirrored": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "wide": lambda a: a.astype(np.int64),
    "wide, unsigned": lambda a: a.astype(np.uint64),
}

all_layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
all_shapes = pytest.mark.parametrize("shape", [(30,), (5, 6), (1, 24), (3, 5, 7), (2, 3, 2, 4)], ids=str)


@pytest.fixture(
    params=[(1, 1), (6, 1), (2**18, 1), (2**18, 2**20)], ids=["voxel by voxel", "parts", "pairs", "as in use"]
)
def ways(request, monkeypatch):
    """Small volumes the ways that large ones go."""
    part, enough_for_pairs = request.param
    monkeypatch.setattr(codes, "PART", part)
    monkeypatch.setattr(codes, "ENOUGH_FOR_PAIRS", enough_for_pairs)


def annotate(annotators, classes, shape, ignored=0.0):
    rng = np.random.default_rng(annotators)
    truth = rng.integers(classes, size=shape)
    said = np.where(rng.random((annotators, *shape)) < 0.7, truth, rng.integers(classes, size=(annotators, *shape)))
    return np.where(rng.random(said.shape) < ignored, IGNORE, said).astype(np.uint8)


def plain_em(annotations, classes, iterations):
    """Warfield's equations for every voxel."""
    said = (annotations.reshape(len(annotations), 1, -1) == np.arange(classes)[:, None]).astype(float)  # (R, K, N)
    prior = said.sum(axis=(0, 2)) / said.sum()
    posterior = said.sum(axis=0) / np.maximum(said.sum(axis=(0, 1)), 1)

    def performance():
        joint = np.einsum("in,rjn->rij", posterior, said)
        totals = joint.sum(axis=2, keepdims=True)
        return joint / np.where(totals > 0, totals, 1)

    for _ in range(iterations):
        likelihoods = np.einsum("rij,rjn->rin", performance(), said)
        scores = prior[:, None] * np.where(said.any(axis=1, keepdims=True), likelihoods, 1).prod(axis=0)
        posterior = scores / scores.sum(axis=0) * said.any(axis=(0, 1))
    return posterior, performance()


@all_shapes
@pytest.mark.parametrize("most", [1, 5, 6, 24, 2**18])
def test_the_parts_of_a_volume_are_all_of_it_once(shape, most, monkeypatch):
    monkeypatch.setattr(codes, "PART", most)
    numbers = np.arange(prod(shape)).reshape(shape)
    parts = [numbers[part] for part in codes.parts_of(shape)]
    assert all(part.size <= most and part.flags.c_contiguous for part in parts)
    np.testing.assert_array_equal(np.concatenate([part.ravel() for part in parts]), numbers.ravel())


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("largest_table", [4, 64, 2**16])
@pytest.mark.parametrize(
    ("annotators", "classes", "ignored"), [(1, 2, 0), (6, 2, 0), (8, 2, 0), (9, 2, 0.1), (6, 4, 0), (5, 4, 0.1)]
)
@all_shapes
def test_patterns_are_those_that_sorting_finds(shape, annotators, classes, ignored, largest_table, monkeypatch):
    monkeypatch.setattr(codes, "LARGEST_CODE_TABLE", largest_table)
    annotations = annotate(annotators, classes, shape, ignored)
    coded = codes.encode(list(annotations), classes, [bool((a == IGNORE).any()) for a in annotations])
    digits = np.where(annotations == IGNORE, classes, annotations).reshape(annotators, -1)
    expected, index, counts = np.unique(digits, axis=1, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(coded.patterns, expected.T)
    np.testing.assert_array_equal(coded.counts, counts)
    values = np.random.default_rng(0).random((len(counts), classes)).astype(np.float32)
    np.testing.assert_array_equal(coded.look_up(values), values[index].T)


@pytest.mark.parametrize(
    ("annotators", "classes", "itemsize"), [(8, 2, 1), (9, 2, 2), (4, 4, 1), (6, 4, 2), (1, 256, 1), (3, 256, 4)]
)
def test_codes_are_no_wider_than_the_patterns_need(annotators, classes, itemsize):
    annotations = annotate(annotators, classes, (400, 300))
    coded = codes.encode(list(annotations), classes, [False] * annotators)
    assert coded.codes.itemsize == itemsize


def test_one_pattern_of_many_classes_does_not_overflow(monkeypatch):
    """Every annotator joins on their own, and a factor of 256 does not fit into a byte."""
    monkeypatch.setattr(codes, "LARGEST_CODE_TABLE", 256)
    coded = codes.encode(list(np.full((3, 4, 4), 255)), 256, [False] * 3)
    assert coded.patterns.tolist() == [[255, 255, 255]]
    assert coded.counts.tolist() == [16]


@pytest.mark.usefixtures("ways")
@all_layouts
@pytest.mark.parametrize(("annotators", "classes", "ignored"), [(6, 2, 0), (6, 4, 0), (5, 3, 0.2)])
@all_shapes
def test_fusions_are_those_of_every_voxel_however_it_is_stored(shape, annotators, classes, ignored, layout):
    annotations = annotate(annotators, classes, shape, ignored)
    given = layout(annotations), np.ones(annotators, bool), classes
    votes = (annotations == np.arange(classes).reshape(-1, *[1] * annotations.ndim)).sum(axis=1)
    share = (votes / np.maximum(votes.sum(axis=0), 1)).astype(np.float32)
    np.testing.assert_array_equal(mean(*given)[0], share)
    leads = (np.arange(classes).reshape(-1, *[1] * len(shape)) == votes.argmax(axis=0)) & (votes.sum(axis=0) > 0)
    np.testing.assert_array_equal(majority_vote(*given)[0], leads)
    posterior, performance = plain_em(annotations, classes, 10)
    probabilities, confusion = staple(*given, max_iterations=10, tolerance=0.0)
    np.testing.assert_allclose(probabilities.reshape(classes, -1), posterior, atol=1e-7)
    np.testing.assert_allclose(confusion, performance, atol=1e-12)


@pytest.mark.parametrize(("classes", "beyond_output"), [(2, 1), (4, 2)])
@pytest.mark.parametrize("fuse", [staple, majority_vote, mean])
def test_memory_beyond_the_output_is_the_codes(fuse, classes, beyond_output, monkeypatch):
    """Twice the input, six bytes a voxel here, holds all of it for two classes."""
    monkeypatch.setattr(codes, "PART", 2**14)  # in proportion to a volume smaller than those that matter
    shape = (160, 160, 160)
    annotations = np.zeros((6, *shape), np.uint8)
    for r, annotation in enumerate(annotations):
        annotation[40 + r : 120] = classes - 1
    tracemalloc.start()
    try:
        fuse(annotations, np.ones(6, bool), classes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / prod(shape) < 4 * classes + beyond_output + 0.75
    assert classes > 2 or peak < 2 * annotations.nbytes
