"""What users say about a fusion becomes what the fusion takes, or one clear line."""

import pytest

from fake_data.arrays import make_task, tiny_config
from umanet.config import FusionOptions
from umanet.errors import ConfigError
from umanet.fusion import FUSIONS, find_fusion, fusion_options
from umanet.methods import build_method

ANNOTATORS = ("anna", "bert")


def test_a_fusion_is_found_by_its_name_and_a_near_name_is_suggested():
    assert all(find_fusion(name) is fusion for name, fusion in FUSIONS.items())
    with pytest.raises(ConfigError, match=r"Fusion 'stapel' found, one of majority, .* Did you mean 'staple'"):
        find_fusion("stapel")


def test_an_annotator_becomes_a_position_and_all_else_stays():
    assert fusion_options("single", {"annotator": "bert"}, ANNOTATORS) == {"annotator": 1}
    assert fusion_options("majority", {"ties": "split"}, ANNOTATORS) == {"ties": "split"}
    assert fusion_options("random", {"seed": 3}, ANNOTATORS) == {"seed": 3}
    assert fusion_options("mean", {}, ANNOTATORS) == {}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("single", {}, r"No annotator given, one of anna, bert expected by 'single'\. Name one with --annotator"),
        ("single", {"annotator": "dora"}, r"Annotator 'dora' found, one of anna, bert expected by 'single'\. Name one"),
        ("single", {"annotator": "bart"}, r"Did you mean 'bert'\? Name one"),
        ("staple", {"ties": "split"}, "Option 'ties' found, which 'staple' does not take"),
        ("mean", {"num_classes": 3}, "Option 'num_classes' found, which 'mean' does not take"),
    ],
)
def test_options_that_do_not_fit_are_refused(name, given, message):
    with pytest.raises(ConfigError, match=message):
        fusion_options(name, given, ANNOTATORS)


def test_training_with_an_unknown_annotator_is_refused_alike():
    config = tiny_config("single").model_copy(update={"fusion": FusionOptions(annotator="dora")})
    with pytest.raises(ConfigError, match=r"Annotator 'dora' found, one of annotator0, .* --fusion\.annotator"):
        build_method(make_task(), config)
