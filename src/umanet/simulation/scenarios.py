"""Named scenarios: which simulated annotators there are, who annotates what, how often all have a bad day."""

import hashlib
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from umanet.errors import ConfigError, did_you_mean
from umanet.simulation.annotators import (
    Border,
    Displacement,
    Empty,
    Labels,
    MissedObject,
    OneOf,
    Recipe,
    Spacing,
    annotate,
)

GOOD = Recipe((Border(jitter=0.08),))
OVER = Recipe((Border(offset=(0.16, 0.39), jitter=0.12),))
UNDER = Recipe((Border(offset=(-0.39, -0.16), jitter=0.12),))
SLOPPY = Recipe((Border(jitter=0.31), Displacement(shift=(0.0, 0.31))))
WRONG = Recipe(
    (
        OneOf(
            (
                (MissedObject(), 0.4),
                (Empty(), 0.2),
                (Border(offset=(0.47, 0.70), either_sign=True), 0.2),
                (Recipe((Border(jitter=0.23), Displacement(shift=(0.47, 1.1)))), 0.2),
            )
        ),
    )
)
"""A gross error; also what every annotator draws on a bad day."""


@dataclass(frozen=True)
class Scenario:
    """A simulated group of annotators.

    Attributes:
        annotators: Name and recipe of each.
        bad_days: Probability of an image on which every annotator is wrong, each in their own way.
        annotations: Fewest and most annotations of a case; None: everybody annotates every case.
        identified: False: the annotators are shuffled in every image, and their names say nothing.
    """

    annotators: tuple[tuple[str, Recipe], ...]
    bad_days: float = 0.0
    annotations: tuple[int, int] | None = None
    identified: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Names under which annotations are filed: ``annotator1`` ... where annotators are not identified."""
        if self.identified:
            return tuple(name for name, _ in self.annotators)
        return tuple(f"annotator{i + 1}" for i in range(len(self.annotators)))


@dataclass(frozen=True)
class Drawing:
    """One annotation to be drawn: filed under ``name``, by the annotator ``drawn_by`` of the scenario."""

    name: str
    drawn_by: str
    recipe: Recipe


_HARD = (("good", GOOD), ("over", OVER), ("sloppy1", SLOPPY), ("sloppy2", SLOPPY), ("wrong", WRONG))

SCENARIOS = MappingProxyType(
    {
        "hard": Scenario(_HARD, bad_days=0.2),
        "mild": Scenario((("good", GOOD), ("over", OVER), ("under", UNDER), ("sloppy", SLOPPY)), bad_days=0.1),
        "bias": Scenario((("over1", OVER), ("over2", OVER), ("under", UNDER), ("good", GOOD))),
        "equal": Scenario(tuple((f"sloppy{i}", SLOPPY) for i in range(1, 6)), bad_days=0.1),
        "sparse": Scenario(_HARD, bad_days=0.2, annotations=(1, 3)),
        "crowd": Scenario(tuple((f"sloppy{i:02}", SLOPPY) for i in range(1, 13)), annotations=(3, 3)),
        "clean": Scenario(tuple((f"good{i}", GOOD) for i in range(1, 4))),
        "anonymous": Scenario(_HARD, bad_days=0.2, identified=False),
    }
)


MOST_ANNOTATORS = 12
GROUP = 10
"""Annotators of ``bad-P``."""


def numbered_annotators(number: int) -> Scenario:
    """So many annotators, as often as in ``hard`` of each kind as far as the number allows; 5 are those of ``hard``."""
    kinds = (_HARD * number)[:number]
    return Scenario(tuple((f"{i + 1:02}-{kind}", recipe) for i, (kind, recipe) in enumerate(kinds)), bad_days=0.2)


def share_of_bad(bad: int) -> Scenario:
    """Ten annotators, so many of them wrong in every case; of the others every second is good, the rest sloppy."""
    kinds = [("wrong", WRONG)] * bad + [("good", GOOD), ("sloppy", SLOPPY)] * GROUP
    return Scenario(tuple((f"{i + 1:02}-{kind}", recipe) for i, (kind, recipe) in enumerate(kinds[:GROUP])))


_FAMILIES = {
    **{f"annotators-{n}": numbered_annotators(n) for n in range(1, MOST_ANNOTATORS + 1)},
    **{f"bad-{100 * bad // GROUP}": share_of_bad(bad) for bad in range(7)},
}
"""The share of bad annotators in percent."""


def find_scenario(name: str) -> Scenario:
    """The scenario of that name: one of ``SCENARIOS``, ``annotators-1`` to ``annotators-12``, ``bad-0`` to ``bad-60``.

    Raises:
        ConfigError: There is none; the message names the nearest one, or all.
    """
    known = {**SCENARIOS, **_FAMILIES}
    if name in known:
        return known[name]
    hint = did_you_mean(name, known) or " Choose one of these."
    raise ConfigError(
        f"scenario {name!r} found, one of {', '.join(SCENARIOS)}, annotators-1 to annotators-{MOST_ANNOTATORS}, bad-0 "
        f"to bad-60 (in tens) expected.{hint}"
    )


def has_bad_day(scenario: Scenario, case: str, seed: int) -> bool:
    """Whether every annotator is wrong on this case."""
    return bool(generator(seed, "bad day", case).random() < scenario.bad_days)


def plan_case(scenario: Scenario, case: str, seed: int) -> list[Drawing]:
    """Who annotates a case, and how. Depends on the arguments only, so not on the order of the cases."""
    rng = generator(seed, "presence", case)
    order = np.arange(len(scenario.names)) if scenario.identified else rng.permutation(len(scenario.names))
    present = order
    if scenario.annotations:
        fewest, most = scenario.annotations
        present = rng.choice(order, size=rng.integers(fewest, most + 1), replace=False)
    bad = has_bad_day(scenario, case, seed)
    drawn = [(name, *scenario.annotators[i]) for name, i in zip(scenario.names, order, strict=True) if i in present]
    return [Drawing(name, by, WRONG if bad else recipe) for name, by, recipe in drawn]


def annotate_case(
    labels: Labels, scenario: Scenario, case: str, seed: int, spacing: Spacing | None = None
) -> dict[str, Labels]:
    """What the annotators of a scenario draw for one case: name to label map, of those who annotate it.

    Every annotator and case has its own generator, so an annotation depends on no other case or annotator.
    """
    drawings = plan_case(scenario, case, seed)
    return {d.name: annotate(labels, d.recipe, generator(seed, d.drawn_by, case), spacing) for d in drawings}


def generator(seed: int, purpose: str, case: str) -> np.random.Generator:
    """A random generator of its own for every seed, purpose (or annotator) and case; alike everywhere."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{case}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
