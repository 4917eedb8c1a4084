"""What a network learns of a class that some annotators do not draw, with that declared and without."""

from dataclasses import replace
from statistics import mean

import pytest

from fake_data.arrays import tiny_config
from fake_data.silence import CLASSES, IGNORED, write_silence
from umanet.cli.classes import parse_classes
from umanet.config import TrainerOptions
from umanet.data.sources.folder import index as index_folder
from umanet.evaluation import evaluate
from umanet.inference.model_file import load_model
from umanet.inference.predict import predict
from umanet.inference.unread import samples_of_index
from umanet.training import train

LEARNED, CLEARLY = 0.7, {"majority": 0.3, "uma-net": 0.15}
"""UMA-Net finds out by itself that two annotators miss what they do not draw, which helps it undeclared too."""
SEEDS = {"majority": (0,), "uma-net": (0, 1, 2)}
"""With single ones that is so helpful that nothing is left to gain."""


@pytest.fixture(scope="module")
def undeclared(tmp_path_factory):
    """Anna draws organ and tumour, Bert and Carl the tumour only: nine images to learn from, three to predict."""
    raw = write_silence(tmp_path_factory.mktemp("silence"), (24, 24), cases=12)
    found = index_folder(raw, classes=parse_classes(CLASSES), ignore=(IGNORED,))
    drawn = [{**case.annotations, "carl": case.annotations["bert"]} for case in found.cases]
    cases = tuple(
        replace(case, annotations=own, split="validation" if number % 4 == 3 else "train")
        for number, (case, own) in enumerate(zip(found.cases, drawn, strict=True))
    )
    return found.model_copy(update={"cases": cases})


def organ_dice(index, method, folder):
    """Of the organ against the truth, in the split that is not learned from: the mean over seeds."""
    return mean(organ_dice_of(index, method, seed, folder / str(seed)) for seed in SEEDS[method])


def organ_dice_of(index, method, seed, folder):
    steps = TrainerOptions(max_steps=120, batch_size=3, validate_every=120)
    config = tiny_config(method, channels=(8, 16)).model_copy(update={"trainer": steps, "device": "cpu", "seed": seed})
    run = train(config, index, folder / "run")
    cases, samples = samples_of_index(load_model(run), index, "validation")
    predict(load_model(run), samples, folder / "predictions", total=len(cases))
    return evaluate(folder / "predictions", index, split="validation").classes["organ"]["dice"]["mean"]


@pytest.mark.parametrize("method", ["majority", pytest.param("uma-net", marks=pytest.mark.slow)])
def test_a_class_that_an_annotator_does_not_draw_is_learned_where_that_is_declared(undeclared, method, tmp_path):
    only = {"bert": ("tumour",), "carl": ("tumour",)}
    declared = undeclared.model_copy(update={"annotator_classes": only})
    known = organ_dice(declared, method, tmp_path / "declared")
    taken_for_background = organ_dice(undeclared, method, tmp_path / "undeclared")
    assert known > LEARNED and known > taken_for_background + CLEARLY[method], (known, taken_for_background)
