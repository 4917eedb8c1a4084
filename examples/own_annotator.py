"""What would an annotator of my own recipe draw, and what do the fusions make of three of them?

python examples/own_annotator.py
"""

import numpy as np

from umanet.fusion import FUSIONS
from umanet.metrics import dice
from umanet.simulation import Recipe, annotate, chest_xray
from umanet.simulation.annotators import Border, Displacement, MissedObject, OneOf

HASTY = Recipe((OneOf(((MissedObject(), 0.3), (Border(offset=(0.2, 0.4)), 0.7))), Displacement(shift=(0.0, 0.2))))
CAREFUL = Recipe((Border(jitter=0.08),))


def fused_dice(seed: int = 0) -> dict[str, float]:
    """Dice of each annotator and of each fusion of all three against the truth, on one phantom."""
    _, truth = chest_xray(np.random.default_rng(seed), size=96)
    recipes = {"hasty 1": HASTY, "hasty 2": HASTY, "careful": CAREFUL}
    drawn = {name: annotate(truth, recipe, np.random.default_rng([seed, i])) for i, (name, recipe) in
             enumerate(recipes.items())}  # fmt: skip
    scores = {name: dice(labels > 0, truth > 0) for name, labels in drawn.items()}
    for name in ("majority", "staple", "mean"):
        probabilities, _ = FUSIONS[name](np.stack(list(drawn.values())), np.ones(3, dtype=bool), 2)
        scores[name] = dice(probabilities.argmax(0) > 0, truth > 0)
    return scores


if __name__ == "__main__":
    for name, score in fused_dice().items():
        print(f"{name:10} {score:.3f}")
