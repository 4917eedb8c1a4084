"""Outlines run along the edges of pixels: filled again, they are the mask."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Curve
from scipy import ndimage

from umanet.data.images import write_labels, write_map
from umanet.data.index import ClassDefinition
from umanet.errors import ConfigError
from umanet.inference.also.coco import CocoCopies
from umanet.inference.also.geojson import GeoJsonCopies
from umanet.inference.also.outlines import outlines
from umanet.inference.also.written import WrittenCase
from umanet.types import Case, Geometry

rng = np.random.default_rng(0)
CLASSES = tuple(ClassDefinition(name=name, values=(value,)) for name, value in (("none", 0), ("disc", 300), ("b", 7)))


def masks():
    noise = [rng.random((13, 17)) < share for share in (0.1, 0.4, 0.5, 0.6, 0.9) for _ in range(8)]
    smooth = [ndimage.gaussian_filter(rng.random((60, 80)), 2) > 0.5 for _ in range(4)]
    return [*noise, *smooth, np.ones((3, 4), bool), np.zeros((3, 4), bool), np.eye(5, dtype=bool)]


def filled(ring, shape):
    """Pixels whose centres lie inside."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1)
    return Curve([*ring, ring[0]], closed=True).contains_points(centres).reshape(shape)


def area(ring):
    x, y = np.array(ring).T
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2


@pytest.mark.parametrize("mask", masks())
def test_polygons_filled_again_are_the_mask(mask):
    found = np.zeros(mask.shape, int)
    for outline in outlines(mask):
        one = filled(outline.outer, mask.shape).astype(int)
        for hole in outline.holes:
            one -= filled(hole, mask.shape)
        assert area(outline.outer) + sum(area(hole) for hole in outline.holes) == outline.area == one.sum()
        assert all(len(set(ring)) == len(ring) for ring in (outline.outer, *outline.holes))
        found += one
    assert np.array_equal(found, mask)
    assert len(outlines(mask)) == ndimage.label(mask)[1]


def test_a_rectangle_has_four_corners_counted_from_the_corner_of_the_picture():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    (outline,) = outlines(mask)
    assert set(outline.outer) == {(2, 1), (7, 1), (7, 4), (2, 4)}
    assert (outline.area, outline.corner, outline.mask.shape) == (15, (2, 1), (3, 5))


def written(folder: Path, labels: np.ndarray, name: str = "a b", **geometry) -> WrittenCase:
    place = Geometry(labels.shape, (1.0,) * labels.ndim, suffix=".png", **geometry)
    write_labels(folder / f"labels/{name}.png", labels, place, CLASSES)
    maps = {}
    for k, definition in enumerate(CLASSES):
        maps[definition.name] = f"probabilities/{definition.name}/{name}.png"
        write_map(folder / maps[definition.name], (labels == k).astype(np.float32), place)
    files = {"labels": f"labels/{name}.png", "probabilities": maps, "entropy": ""}
    return WrittenCase(Case(name, (Path(f"/secret/{name}.jpg"),)), files, place, CLASSES, folder)


def painted():
    labels = np.zeros((12, 15), np.uint8)
    labels[2:9, 3:10] = 1
    labels[4:6, 5:8] = 0
    labels[10:, 12:] = 2
    return labels


def test_geojson_has_a_feature_for_every_region_with_its_class_and_holes(tmp_path):
    case = written(tmp_path, painted())
    path = GeoJsonCopies().write(case)
    assert path == "geojson/a b.geojson"
    found = json.loads((tmp_path / path).read_text())
    assert [f["properties"]["classification"]["name"] for f in found["features"]] == ["disc", "b"]
    again = np.zeros((12, 15), int)
    for value, feature in enumerate(found["features"], start=1):
        outer, *holes = feature["geometry"]["coordinates"]
        assert outer[0] == outer[-1]
        again += value * filled(outer[:-1], again.shape)
        for hole in holes:
            again -= value * filled(hole[:-1], again.shape)
    assert np.array_equal(again, painted())


def test_coco_has_polygons_and_run_lengths_where_there_are_holes(tmp_path):
    copier = CocoCopies()
    assert [copier.write(written(tmp_path, painted(), name)) for name in ("one", "two")] == ["coco.json"] * 2
    copier.finish(tmp_path, CLASSES)
    found = json.loads((tmp_path / "coco.json").read_text())
    assert found["images"][1] == {"id": 2, "file_name": "two.jpg", "width": 15, "height": 12}
    assert found["categories"] == [{"id": 1, "name": "disc"}, {"id": 2, "name": "b"}]
    assert [one["id"] for one in found["annotations"]] == [1, 2, 3, 4]
    ring, full = found["annotations"][2:]
    assert (ring["image_id"], ring["category_id"], ring["area"], ring["bbox"]) == (2, 1, 43, [3, 2, 7, 7])
    values = np.repeat(np.arange(len(ring["segmentation"]["counts"])) % 2, ring["segmentation"]["counts"])
    assert np.array_equal(values.reshape(15, 12).T, painted() == 1) and ring["segmentation"]["size"] == [12, 15]
    (polygon,) = full["segmentation"]
    assert np.array_equal(filled(np.reshape(polygon, (-1, 2)).tolist(), (12, 15)), painted() == 2)
    assert "secret" not in (tmp_path / "coco.json").read_text()


def test_run_lengths_of_noise_with_holes_are_the_mask(tmp_path):
    labels = ndimage.binary_fill_holes(rng.random((30, 40)) < 0.6).astype(np.uint8)
    labels[1:-1, 1:-1] *= (rng.random((28, 38)) < 0.8).astype(np.uint8)
    copier = CocoCopies()
    copier.write(written(tmp_path, labels))
    copier.finish(tmp_path, CLASSES)
    again = np.zeros(labels.shape, int)
    for one in json.loads((tmp_path / "coco.json").read_text())["annotations"]:
        found = one["segmentation"]
        if isinstance(found, dict):
            assert all(found["counts"][1:])
            again += np.repeat(np.arange(len(found["counts"])) % 2, found["counts"]).reshape(40, 30).T
        else:
            again += filled(np.reshape(found[0], (-1, 2)).tolist(), labels.shape)
    assert np.array_equal(again, labels)


@pytest.mark.parametrize("copier", [GeoJsonCopies(), CocoCopies()])
def test_outlines_are_of_pictures_only(copier, tmp_path):
    with pytest.raises(ConfigError, match="needs pictures: 3D images found, 2D expected"):
        copier.check([Case("a", (tmp_path / "a.tif",))], CLASSES, 3)
    with pytest.raises(ConfigError, match=r"a slice in \.nii\.gz found, rows and columns expected, for case 'a'"):
        copier.check([Case("a", (tmp_path / "a.nii.gz",))], CLASSES, 2)
    with pytest.raises(ConfigError, match="rows and columns expected"):
        copier.write(written(tmp_path, painted(), affine=np.eye(4)))
    copier.check([Case("a", (tmp_path / "a.png",))], CLASSES, 2)
