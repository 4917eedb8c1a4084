"""What is particular to LIDC-IDRI: outlines in XML, voxels in the right place, and what cannot be used."""

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from fake_data.raw import lidc as fake
from umanet.data.images import read_case, read_image
from umanet.data.sources.lidc import Choices, index
from umanet.data.sources.lidc_nodules import Nodule, grouped, pixels_inside
from umanet.data.sources.lidc_xml import read_reading
from umanet.errors import DatasetError

SQUARE = np.array([(2, 3), (6, 3), (6, 7), (2, 7)])
MM = np.diag([0.7, 0.7, 2.5, 1.0])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return fake.write(tmp_path / "raw", patients=2)


def xml_of(raw: Path, number: int = 1) -> Path:
    return next(raw.glob(f"LIDC-IDRI/LIDC-IDRI-{number:04}/*/*/069.xml"))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def one_scan(folder: Path, sessions, **flags):
    """A patient with one scan, read by ``flags``: its cases by id, in memory."""
    fake.write_scan(folder / "raw" / "LIDC-IDRI-0007" / "study" / "series", sessions)
    found = index(folder / "raw", folder / "files", choices=Choices(**{"side": 32, **flags}))
    return {case.id: read_case(case, found) for case in found.cases}, found


def read_as_stored(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def names(voxels: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, voxels.tolist()))


# What an outline encloses.


def test_an_outline_of_five_by_five_pixels_encloses_nine():
    corners = pixels_inside(SQUARE, "exclude")
    assert names(corners) == {(x, y) for x in (3, 4, 5) for y in (4, 5, 6)}
    assert len(pixels_inside(SQUARE, "include")) == 25


def test_every_pixel_of_an_edge_map_is_outside_even_where_it_runs_diagonally():
    #   ..#..
    #   .#o#.
    #   #ooo#
    #   .#o#.
    #   ..#..
    diamond = np.array([(2, 0), (3, 1), (4, 2), (3, 3), (2, 4), (1, 3), (0, 2), (1, 1)])
    assert names(pixels_inside(diamond, "exclude")) == {(2, 1), (1, 2), (2, 2), (3, 2), (2, 3)}
    assert len(pixels_inside(diamond, "include")) == 13


def test_direction_start_and_laps_of_an_outline_do_not_matter():
    expected = names(pixels_inside(SQUARE, "exclude"))
    for points in (
        SQUARE[::-1],
        np.roll(SQUARE, 1, 0),
        np.concatenate([SQUARE, SQUARE]),
        np.concatenate([SQUARE, SQUARE[:1]]),
    ):
        assert names(pixels_inside(points.copy(), "exclude")) == expected


def test_a_spur_of_an_outline_encloses_nothing():
    spur = np.array([(2, 3), (6, 3), (9, 3), (6, 3), (6, 7), (2, 7)])
    assert names(pixels_inside(spur, "exclude")) == names(pixels_inside(SQUARE, "exclude"))
    assert len(pixels_inside(np.array([(1, 1), (4, 1)]), "exclude")) == 0


@pytest.mark.parametrize(("boundary", "square", "hole"), [("exclude", 81, 9), ("include", 121, 25)])
def test_excluded_regions_are_cut_out(tmp_path: Path, boundary: str, square: int, hole: int):
    outer = [(10, 10), (20, 10), (20, 20), (10, 20)]
    inner = [(13, 13), (17, 13), (17, 17), (13, 17)]

    def sessions(images):
        return [fake.nodule("1", fake.roi(images[4], inner, inclusion="FALSE") + fake.roi(images[4], outer))]

    samples, _ = one_scan(tmp_path, sessions, boundary=boundary)
    assert int(samples["LIDC-IDRI-0007_nodule-1"].annotations.sum()) == square - hole


# Which outlines are one nodule.


def block(reader: int, x: int, *, width: int = 4, z: int = 0) -> Nodule:
    return Nodule(reader, np.array([(x + i, j, z) for i in range(width) for j in range(4)], np.int64))


def members(groups: list[list[Nodule]]) -> list[list[tuple[int, int]]]:
    return [[(nodule.reader, int(nodule.voxels[0, 0])) for nodule in group] for group in groups]


def test_outlines_that_overlap_or_nearly_touch_are_one_nodule():
    assert members(grouped([block(0, 0), block(1, 1), block(2, 6), block(3, 30)], MM)) == [
        [(0, 0), (1, 1), (2, 6)],
        [(3, 30)],
    ]


def test_a_nodule_never_has_two_outlines_of_a_reader_and_the_best_overlap_wins():
    nodules = [block(0, 0), block(0, 5), block(1, 4), block(2, 0)]
    expected = [[(0, 0), (2, 0)], [(0, 5), (1, 4)]]
    assert members(grouped(nodules, MM)) == expected
    assert members(grouped(nodules[::-1], MM)) == expected


def test_nodules_are_numbered_from_the_feet_up():
    assert members(grouped([block(0, 1, z=9), block(0, 2, z=0)], MM)) == [[(0, 2)], [(0, 1)]]
    downwards = np.diag([0.7, 0.7, -2.5, 1.0])
    assert members(grouped([block(0, 1, z=9), block(0, 2, z=0)], downwards)) == [[(0, 1)], [(0, 2)]]


# What becomes of the scans.


def test_readers_who_outlined_a_nodule_are_there_and_the_others_are_absent(raw: Path, tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "umanet")
    found = index(raw, tmp_path / "files", choices=Choices(side=32))
    assert {case.id: tuple(case.annotations) for case in found.cases} == {
        "LIDC-IDRI-0001_nodule-1": ("reader1", "reader2", "reader3", "reader4"),
        "LIDC-IDRI-0001_nodule-2": ("reader1", "reader2", "reader4"),
        "LIDC-IDRI-0002_nodule-1": ("reader1", "reader2", "reader3", "reader4"),
        "LIDC-IDRI-0002_nodule-2": ("reader1", "reader2", "reader4"),
        "LIDC-IDRI-0002_nodule-3": ("reader2", "reader3"),
    }
    assert not found.annotators_are_identified
    assert {case.patient for case in found.cases} == {"LIDC-IDRI-0001", "LIDC-IDRI-0002"}
    assert "2 x nodule below 3 mm (a point)" in caplog.text
    assert "2 x mark at what is no nodule" in caplog.text
    assert "1 x series of a radiograph (DX, CR)" in caplog.text


def test_nodules_that_few_outlined_can_be_left_out_and_the_others_keep_their_numbers(raw: Path, tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "umanet")
    found = index(raw, tmp_path / "files", choices=Choices(side=32, least_annotations=4))
    assert [case.id for case in found.cases] == ["LIDC-IDRI-0001_nodule-1", "LIDC-IDRI-0002_nodule-1"]
    assert "3 x nodule that too few outlined" in caplog.text


def test_a_voxel_of_a_crop_lies_where_it_lies_in_the_scan(raw: Path, tmp_path: Path):
    found = index(raw, tmp_path / "files", choices=Choices(side=32))
    slices = [pydicom.dcmread(path) for path in xml_of(raw).parent.glob("*.dcm")]
    by_place = {round(float(s.ImagePositionPatient[2]), 3): s for s in slices}
    case = found.cases[1]
    crop = nib.load(case.image[0])
    assert crop.get_data_dtype() == np.int16
    for voxel in ((0, 0, 0), (31, 5, 1), (12, 30, 4)):
        x, y, z = nib.affines.apply_affine(crop.affine, voxel)
        plane = by_place[round(float(z), 3)]
        origin = np.array(plane.ImagePositionPatient, float)
        column, row = round((-x - origin[0]) / 0.7), round((-y - origin[1]) / 0.7)
        assert np.asarray(crop.dataobj)[voxel] == int(plane.pixel_array[row, column]) - 1024


def test_a_mask_lies_where_the_outline_says(tmp_path: Path):
    wanted = {}

    def sessions(images):
        wanted["z"] = float(images[4].ImagePositionPatient[2])
        wanted["x"], wanted["y"] = (float(images[4].ImagePositionPatient[axis]) for axis in (0, 1))
        return [fake.nodule("1", fake.roi(images[4], [(50, 20), (52, 20), (52, 22), (50, 22)]))]

    _, found = one_scan(tmp_path, sessions)
    mask = nib.load(found.cases[0].annotations["reader1"])
    voxels = np.argwhere(np.asarray(mask.dataobj))
    place = nib.affines.apply_affine(mask.affine, voxels[0])
    assert len(voxels) == 1
    assert place == pytest.approx([-(wanted["x"] + 51 * 0.7), -(wanted["y"] + 21 * 0.7), wanted["z"]], abs=1e-3)


def test_crops_stay_in_the_image_and_repeat_its_border_where_they_are_wider(tmp_path: Path):
    def sessions(images):
        return [fake.nodule("1", fake.roi(images[0], fake.circle(60, 5, 3)))]

    samples, found = one_scan(tmp_path, sessions, margin=1)
    assert samples["LIDC-IDRI-0007_nodule-1"].image.shape == (1, 32, 32, 2)  # the scan ends at this slice
    wide = index(tmp_path / "raw", tmp_path / "wide", choices=Choices(side=70, margin=1)).cases[0]
    stored = read_as_stored(wide.image[0])
    assert stored.shape == (70, 70, 2)
    assert (stored[:3] == stored[3]).all() and (stored[:, -3:] == stored[:, [-4]]).all()
    masks = [read_as_stored(case.annotations["reader1"]).sum() for case in (found.cases[0], wide)]
    assert masks[0] == masks[1] > 0


def test_in_2d_the_slice_is_taken_where_half_of_the_readers_agree_on_most(tmp_path: Path):
    def sessions(images):
        large, small, largest = fake.circle(30, 30, 6), fake.circle(30, 30, 4), fake.circle(30, 30, 12)
        return [
            fake.nodule("1", fake.roi(images[3], large) + fake.roi(images[4], largest)),
            fake.nodule("2", fake.roi(images[3], large)),
            fake.nodule("3", fake.roi(images[3], small)),
        ]

    samples, found = one_scan(tmp_path, sessions, dims=2)
    sample = samples["LIDC-IDRI-0007_nodule-1"]
    assert found.spatial_dims == 2 and sample.image.shape == (1, 32, 32)
    areas = sample.annotations.flatten(1).sum(1).tolist()
    assert areas[0] == areas[1] > areas[2] > 0


def test_unmarked_nodules_are_empty_on_demand_but_not_for_who_set_a_point_there(tmp_path: Path):
    def sessions(images):
        outlined = fake.nodule("1", fake.roi(images[4], fake.circle(30, 30, 5)))
        point = fake.nodule("2", fake.roi(images[4], [(31, 30)]), small=True)
        return [outlined, "", point]

    samples, found = one_scan(tmp_path, sessions, unmarked="empty")
    assert tuple(found.cases[0].annotations) == ("reader1", "reader2") == found.annotators
    assert samples["LIDC-IDRI-0007_nodule-1"].annotations[1].sum() == 0


def test_whole_scans_are_series_with_all_nodules_of_each_reader(raw: Path, tmp_path: Path):
    found = index(raw, tmp_path / "files", choices=Choices(what="scans"))
    assert [case.id for case in found.cases] == ["LIDC-IDRI-0001_scan-1", "LIDC-IDRI-0002_scan-1"]
    assert found.cases[0].image == (xml_of(raw).parent,)
    sample = read_case(found.cases[1], found)
    assert sample.image.shape == (1, 64, 64, 10) and bool(sample.present.all())
    crops = index(raw, tmp_path / "crops", choices=Choices(side=32))
    in_crops = sum(
        int(read_case(case, crops).annotations[1].sum()) for case in crops.cases if case.patient.endswith("2")
    )
    assert int(sample.annotations[1].sum()) == in_crops > 0


def test_scans_and_their_masks_show_the_same_voxels_as_the_crops(raw: Path, tmp_path: Path):
    scans = index(raw, tmp_path / "files", choices=Choices(what="scans"))
    crops = index(raw, tmp_path / "crops", choices=Choices(side=32, margin=0))
    scan, crop = read_case(scans.cases[0], scans), read_case(crops.cases[0], crops)
    inside = scan.annotations[3, :, :, :5] > 0  # nodule 1 lies below, nodule 2 above
    values = scan.image[0, :, :, :5][inside]
    assert values.tolist() == crop.image[0][crop.annotations[3] > 0].tolist() and len(values) > 50


def test_several_scans_of_a_patient_go_on_counting(tmp_path: Path):
    def sessions(images):
        return [fake.nodule("1", fake.roi(images[4], fake.circle(30, 30, 5)))]

    for study in ("a", "b"):
        fake.write_scan(tmp_path / "raw" / "LIDC-IDRI-0007" / study / "series", sessions)
    found = index(tmp_path / "raw", tmp_path / "files", choices=Choices(side=32))
    assert [case.id for case in found.cases] == ["LIDC-IDRI-0007_nodule-1", "LIDC-IDRI-0007_nodule-2"]


def test_outlines_on_unknown_slices_go_by_their_height(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "umanet")

    def sessions(images):
        known = fake.nodule("1", fake.roi(images[4], fake.circle(30, 30, 5)))
        return [known, fake.nodule("2", fake.roi(images[4], fake.circle(30, 30, 5), uid="1.2.3"))]

    samples, _ = one_scan(tmp_path, sessions)
    annotations = samples["LIDC-IDRI-0007_nodule-1"].annotations
    assert (annotations[0] == annotations[1]).all()
    assert "1 x outline by its z" in caplog.text


def test_xml_files_may_lie_apart(raw: Path, tmp_path: Path):
    apart = tmp_path / "tcia-lidc-xml" / "157"
    apart.mkdir(parents=True)
    for number, path in enumerate(sorted(raw.rglob("*.xml"))):
        path.rename(apart / f"{number}.xml")
    found = index(raw, tmp_path / "files", choices=Choices(side=32), xml=apart.parent)
    assert len(found.cases) == 5
    with pytest.raises(DatasetError, match="2 faults found"):
        index(raw, tmp_path / "others", choices=Choices(side=32))


def test_progress_is_told_patient_by_patient(raw: Path, tmp_path: Path):
    told = []
    index(raw, tmp_path / "files", choices=Choices(side=32), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


# What cannot be used.


def refused(raw: Path, tmp_path: Path, caplog, message: str, **choices) -> None:
    """Refused as a whole, with the reason named; with --leave-out the other patient is there."""
    with pytest.raises(DatasetError, match="1 fault found"):
        index(raw, tmp_path / "files", choices=Choices(**{"side": 32, **choices}))
    assert message in caplog.text
    rest = index(raw, tmp_path / "rest", choices=Choices(**{"side": 32, **choices}), leave_out=True)
    assert {case.patient for case in rest.cases} == {"LIDC-IDRI-0002"}


def test_an_xml_of_another_series_is_refused(raw: Path, tmp_path: Path, caplog):
    change(xml_of(raw), "<SeriesInstanceUid>", "<SeriesInstanceUid>9")
    refused(raw, tmp_path, caplog, "The XML of another series found in")


def test_a_truncated_xml_is_refused(raw: Path, tmp_path: Path, caplog):
    path = xml_of(raw)
    path.write_bytes(path.read_bytes()[:3000])
    refused(raw, tmp_path, caplog, "is no valid XML")


def test_a_document_type_is_refused_before_its_entities_grow(raw: Path, tmp_path: Path, caplog):
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x"}">' for i in range(12))
    change(xml_of(raw), "\n<Lidc", f"\n<!DOCTYPE x [{entities}]>\n<Lidc")
    change(xml_of(raw), "<MessageId>", "<MessageId>&e11;")
    refused(raw, tmp_path, caplog, "A document type (DOCTYPE) found in")


def test_a_series_with_a_missing_slice_is_refused(raw: Path, tmp_path: Path, caplog):
    folder = xml_of(raw).parent
    by_height = sorted(folder.glob("*.dcm"), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    by_height[5].unlink()
    refused(raw, tmp_path, caplog, "no regular volume")


def test_missing_slices_at_the_end_are_noticed_by_the_outlines(raw: Path, tmp_path: Path, caplog):
    folder = xml_of(raw).parent
    by_height = sorted(folder.glob("*.dcm"), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    for path in by_height[:4]:
        path.unlink()
    refused(raw, tmp_path, caplog, "Copy the missing slices again")


def test_a_series_without_xml_is_refused(raw: Path, tmp_path: Path, caplog):
    xml_of(raw).unlink()
    refused(raw, tmp_path, caplog, "No XML file found for the CT series")


def test_a_series_with_two_xml_files_is_refused(raw: Path, tmp_path: Path, caplog):
    xml_of(raw).with_name("070.xml").write_bytes(xml_of(raw).read_bytes())
    refused(raw, tmp_path, caplog, "2 XML files found")


def test_a_series_without_slices_is_refused(raw: Path, tmp_path: Path, caplog):
    for path in xml_of(raw).parent.glob("*.dcm"):
        path.unlink()
    refused(raw, tmp_path, caplog, "An XML file without DICOM files")


def test_outlines_beyond_the_image_are_refused(raw: Path, tmp_path: Path, caplog):
    change(xml_of(raw), "<xCoord>24</xCoord>", "<xCoord>99</xCoord>")
    refused(raw, tmp_path, caplog, "An outline beyond the image")


def test_numbers_that_are_none_are_refused(raw: Path, tmp_path: Path, caplog):
    change(xml_of(raw), "<xCoord>24</xCoord>", "<xCoord>24.5</xCoord>")
    refused(raw, tmp_path, caplog, "xCoord '24.5' found, a whole number of pixels expected")


def test_nodules_wider_than_a_crop_are_refused(raw: Path, tmp_path: Path, caplog):
    with pytest.raises(DatasetError, match="5 faults found"):
        index(raw, tmp_path / "files", choices=Choices(side=4))
    assert "LIDC-IDRI-0002_nodule-3: A nodule of" in caplog.text and "Give a larger --side" in caplog.text


def test_a_renamed_folder_is_refused(raw: Path, tmp_path: Path, caplog):
    folder = raw / "LIDC-IDRI" / "LIDC-IDRI-0001"
    folder.rename(folder.with_name("LIDC-1"))
    refused(raw, tmp_path, caplog, "LIDC-1: This folder found in")


def test_an_archive_and_a_folder_without_patients_are_refused(raw: Path, tmp_path: Path):
    archive = tmp_path / "LIDC-IDRI.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DatasetError, match="An archive found"):
        index(archive, tmp_path / "files")
    with pytest.raises(DatasetError, match="No case found"):
        index(xml_of(raw).parent, tmp_path / "files")


def test_a_radiographs_xml_beside_ct_slices_is_refused(raw: Path, tmp_path: Path, caplog):
    radiograph = next(raw.rglob("070.xml"))
    xml_of(raw).write_bytes(radiograph.read_bytes())
    refused(raw, tmp_path, caplog, "The XML of a radiograph found")


def test_another_xml_and_five_readers_are_refused(tmp_path: Path):
    path = tmp_path / "a.xml"
    path.write_text("<svg/>")
    with pytest.raises(DatasetError, match="The element 'svg' found"):
        read_reading(path)
    path.write_text(fake.message("1.2", [""] * 5))
    with pytest.raises(DatasetError, match="5 readingSession found"):
        read_reading(path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"what": "scans", "dims": 2}, "Whole scans in 2D"),
        ({"least_annotations": 5}, "5 annotations at least found"),
        ({"side": 0}, "A side of 0"),
    ],
)
def test_choices_that_make_no_sense_are_refused(raw: Path, tmp_path: Path, flags: dict, message: str):
    with pytest.raises(DatasetError, match=message):
        index(raw, tmp_path / "files", choices=Choices(**flags))


def test_messages_hold_nothing_of_the_patient(raw: Path, tmp_path: Path, caplog):
    change(xml_of(raw), "<SeriesInstanceUid>", "<SeriesInstanceUid>9")
    index(raw, tmp_path / "files", choices=Choices(side=32), leave_out=True)
    assert "Secret" not in caplog.text and "SECRET" not in caplog.text and "2005" not in caplog.text
    written = [read_image((path,), None) for path in (tmp_path / "files" / "images").iterdir()]
    assert len(written) == 3
