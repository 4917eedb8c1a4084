"""The fusions by their names, and what a user says about one as the fusion takes it."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from umanet.errors import ConfigError, did_you_mean
from umanet.fusion.patterns import Fused
from umanet.fusion.staple import staple
from umanet.fusion.voting import intersection, majority_vote, mean, random_annotator, single_annotator, union

Fusion = Callable[..., Fused]
"""``(annotations, present, num_classes, **options) -> (probabilities, confusion)``."""

FUSIONS: dict[str, Fusion] = {
    "majority": majority_vote,
    "staple": staple,
    "mean": mean,
    "union": union,
    "intersection": intersection,
    "random": random_annotator,
    "single": single_annotator,
}
"""By their names in the configuration."""


def find_fusion(name: str) -> Fusion:
    """The fusion of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in FUSIONS:
        raise ConfigError(
            f"Fusion {name!r} found, one of {', '.join(FUSIONS)} or a run folder expected."
            f"{did_you_mean(name, FUSIONS) or ' Name one of them.'}"
        )
    return FUSIONS[name]


def fusion_options(name: str, given: Mapping[str, Any], annotators: Sequence[str]) -> dict[str, Any]:
    """Options as the fusion takes them: the position on the axis ``R`` in place of an annotator's name.

    Args:
        name: A key of ``FUSIONS``.
        given: By the names of the fusion's own arguments.
        annotators: In the order of the axis ``R``.

    Raises:
        ConfigError: No such fusion, option or annotator, or no annotator where the fusion needs one.
    """
    parameters = signature(find_fusion(name)).parameters
    unknown = [key for key in given if key not in parameters or parameters[key].kind != parameters[key].KEYWORD_ONLY]
    if unknown:
        raise ConfigError(f"Option {unknown[0]!r} found, which {name!r} does not take. Leave it out.")
    if "annotator" not in parameters:
        return dict(given)
    annotator = given.get("annotator")
    if annotator not in annotators:
        found = "No annotator given" if annotator is None else f"Annotator {annotator!r} found"
        raise ConfigError(
            f"{found}, one of {', '.join(annotators)} expected by {name!r}.{did_you_mean(annotator or '', annotators)} "
            "Name one with --annotator (in training --fusion.annotator)."
        )
    return {**given, "annotator": annotators.index(annotator)}
