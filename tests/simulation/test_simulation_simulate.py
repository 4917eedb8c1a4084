import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from umanet.data.images import read_case, read_image
from umanet.data.index import read_index
from umanet.errors import ConfigError, DatasetError, ImageError, OutputError, UmanetError
from umanet.simulation.phantoms import ellipsoids, write_phantoms
from umanet.simulation.simulate import simulate


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantoms")
    write_phantoms(root, cases=12, size=48)
    return root


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    # Stored left to right reversed and with other than cubic voxels.
    affine = np.diag([-1.0, 1.5, 2.0, 1.0])
    for folder in ("images", "truth"):
        (root / folder).mkdir()
    for number in range(4):
        image, labels = ellipsoids(np.random.default_rng(number), (20, 16, 12))
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), root / "images" / f"case{number}.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), root / "truth" / f"case{number}.nii.gz")
    return root


def run(root, output, scenario="hard", seed=7, **options):
    return simulate(root / "images", root / "truth", scenario, seed, output, **options)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def dice(a, b):
    return float(2 * ((a > 0) & (b > 0)).sum() / max(1, (a > 0).sum() + (b > 0).sum()))


def test_pictures_become_a_data_set_that_reads_back(phantoms, tmp_path):
    index = run(phantoms, tmp_path / "out")
    assert index == read_index(tmp_path / "out" / "dataset.json")
    assert index.annotators == ("good", "over", "sloppy1", "sloppy2", "wrong")
    assert [c.values for c in index.classes] == [(0,), (255,)]
    samples = [read_case(case, index) for case in index.cases]
    assert all(sample.present.all() for sample in samples)
    good, wrong = (np.mean([dice(s.annotations[r], s.truth) for s in samples]) for r in (0, 4))
    assert good > wrong + 0.2
    assert {case.image[0].parent for case in index.cases} == {phantoms / "images"}


def test_volumes_keep_geometry_and_classes(volumes, tmp_path):
    index = run(volumes, tmp_path / "out", "clean", fractions={"train": 0.5, "test": 0.5})
    assert index.spatial_dims == 3 and len(index.classes) == 3
    for case in index.cases:
        stored = nib.load(case.annotations["good1"])
        assert np.allclose(stored.affine, nib.load(case.truth).affine)
        sample = read_case(case, index)
        for k in (1, 2):
            assert dice(sample.annotations[0] == k, sample.truth == k) > 0.8


def test_the_same_seed_gives_the_same_files_and_another_one_others(phantoms, tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run(phantoms, tmp_path / name, seed=seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys() and a != c


def test_an_annotation_does_not_depend_on_the_other_cases(phantoms, tmp_path):
    run(phantoms, tmp_path / "all")
    few = run(phantoms, tmp_path / "few", limit=5)
    assert len(few.cases) == 5
    everything = contents(tmp_path / "all")
    drawings = {name: b for name, b in contents(tmp_path / "few").items() if name.startswith("annotations")}
    assert len(drawings) == 25 and all(everything[name] == b for name, b in drawings.items())


def test_splits_are_written_and_numbers_of_cases_are_met(phantoms, tmp_path):
    index = run(phantoms, tmp_path / "out", fractions={"train": 6, "validation": 1, "test": 3})
    assert [len(index.select(s)) for s in ("train", "validation", "test")] == [6, 1, 3]
    assert index.splits.seed == 7


def test_sparse_cases_lack_annotators(phantoms, tmp_path):
    index = run(phantoms, tmp_path / "out", "sparse")
    assert {len(case.annotations) for case in index.cases} <= {1, 2, 3}
    assert len(index.annotators) == 5


def test_anonymous_names_say_nothing_and_the_record_says_who_drew(phantoms, tmp_path):
    index = run(phantoms, tmp_path / "out", "anonymous")
    assert not index.annotators_are_identified
    assert "good" not in (tmp_path / "out" / "dataset.json").read_text()
    record = json.loads((tmp_path / "out" / "simulation.json").read_text())
    drawn_by = [record["drawn_by"][case.id] for case in index.cases]
    assert {d["annotator1"] for d in drawn_by} > {"good"} or len({d["annotator1"] for d in drawn_by}) > 1
    assert record["seed"] == 7 and set(record["bad_day_cases"]) <= {case.id for case in index.cases}
    assert record["annotators"]["good"]["faults"][0]["jitter"] == 0.08


def test_shrunk_copies_lie_in_the_output(phantoms, tmp_path):
    index = run(phantoms, tmp_path / "out", "clean", longest_side=32, limit=4, fractions={"train": 1.0})
    for case in index.cases:
        assert case.image[0].is_relative_to(tmp_path / "out") and case.truth.is_relative_to(tmp_path / "out")
        sample = read_case(case, index)
        assert sample.image.shape == (1, 32, 32) and sample.annotations.shape == (3, 32, 32)
        assert dice(sample.annotations[0], sample.truth) > 0.9
        original = np.float32(
            Image.open(phantoms / "images" / case.image[0].name).resize((32, 32), Image.Resampling.BILINEAR)
        )
        assert np.abs(sample.image[0].numpy() - original).max() <= 2


def test_shrunk_colours_keep_their_channels(tmp_path):
    write_phantoms(tmp_path, cases=2, size=48)
    for path in (tmp_path / "images").iterdir():
        grey = np.asarray(Image.open(path))
        Image.fromarray(np.stack([grey, 255 - grey, grey // 2], axis=-1)).save(path, dpi=(300, 300))
    index = run(tmp_path, tmp_path / "out", longest_side=24, fractions={"train": 1.0})
    image = read_case(index.cases[0], index).image
    assert image.shape == (3, 24, 24)
    drawn = index.cases[0].annotations["good"]
    assert read_image([drawn], 2)[1].resolution is None  # its pixels are larger than the tag would say
    assert (image[0] + image[1]).numpy() == pytest.approx(255, abs=2)


def test_progress_counts_every_case(phantoms, tmp_path):
    calls = []
    run(phantoms, tmp_path / "out", limit=4, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_filled_output_is_refused_and_stays_as_it_is(phantoms, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="a new or empty folder expected"):
        run(phantoms, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_scenario_is_refused_before_anything_is_written(phantoms, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'mild'"):
        run(phantoms, tmp_path / "out", "midl")
    assert not (tmp_path / "out").exists()


def test_a_failure_on_the_way_leaves_nothing_behind(tmp_path):
    write_phantoms(tmp_path, cases=4, size=32)
    last = tmp_path / "images" / "phantom_003.png"
    last.write_bytes(last.read_bytes()[:60])
    with pytest.raises(ImageError, match="phantom_003"):
        run(tmp_path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "truth"]


def test_every_image_needs_its_truth(tmp_path):
    write_phantoms(tmp_path, cases=3, size=32)
    (tmp_path / "truth" / "phantom_001.png").unlink()
    with pytest.raises(DatasetError, match=r"1 image without truth found .*phantom_001"):
        run(tmp_path, tmp_path / "out")
    with pytest.raises(DatasetError, match="No label map found"):
        simulate(tmp_path / "images", tmp_path / "nowhere", "hard", 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_cases_than_there_are_cannot_be_asked_for(phantoms, tmp_path):
    with pytest.raises(DatasetError, match="12 cases found, 20 expected"):
        run(phantoms, tmp_path / "out", fractions={"train": 15, "test": 5})


def test_a_limit_below_one_is_refused(phantoms, tmp_path):
    with pytest.raises(ConfigError, match="limit = 0 found"):
        run(phantoms, tmp_path / "out", limit=0)


def test_volumes_are_not_shrunk(volumes, tmp_path):
    with pytest.raises(ConfigError, match="longest_side = 8 found"):
        run(volumes, tmp_path / "out", longest_side=8)


@pytest.mark.parametrize("fractions", [{"train": 0.5}, {"training": 1.0}, {"train": -1.0, "test": 2.0}])
def test_odd_fractions_are_refused(phantoms, tmp_path, fractions):
    with pytest.raises(UmanetError):
        run(phantoms, tmp_path / "out", fractions=fractions)
    assert not (tmp_path / "out").exists()


@pytest.mark.data
def test_on_real_lungs_the_annotators_are_as_bad_as_in_the_trials(data_root, tmp_path):
    source = data_root / "chest-xray"
    index = run(source, tmp_path / "out", longest_side=64, limit=120)
    samples = [read_case(case, index) for case in index.cases]
    scores = np.array([[dice(a, s.truth) for a in s.annotations] for s in samples])
    record = json.loads((tmp_path / "out" / "simulation.json").read_text())
    bad = np.array([case.id in record["bad_day_cases"] for case in index.cases])
    assert scores[~bad][:, 0].mean() == pytest.approx(0.957, abs=0.01)
    assert scores[~bad].mean(0).tolist() == pytest.approx([0.96, 0.75, 0.70, 0.70, 0.41], abs=0.06)
    assert scores[bad].mean() == pytest.approx(0.43, abs=0.1)
    assert scores[:, 0].mean() == pytest.approx(0.85, abs=0.05)
    majority = [dice((s.annotations.sum(0) > 2).int(), s.truth) for s in samples]
    assert np.mean(majority) == pytest.approx(0.79, abs=0.05)
