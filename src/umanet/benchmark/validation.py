"""What learning rates are chosen by: the same for every method, and without the truth but for who learns that."""

import numpy as np
from jaxtyping import Float

from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.fusion import majority_vote
from umanet.inference.model_file import Model
from umanet.inference.predict import predict_case
from umanet.metrics import dice, soft_dice
from umanet.types import IGNORE, Sample, Task

Probabilities = Float[np.ndarray, "K *spatial"]


def validation_score(model: Model, index: DatasetIndex, against: str) -> float:
    """Over validation cases, mean over foreground classes, in [0, 1]; high is good.

    Where test cases are scored against annotations, the mean of the soft Dice with them. Where they are scored against
    the truth, the median of the Dice with the majority vote: the median, because a mean rewards who imitates the
    annotators of the cases on which they all err; the majority vote, because single annotations reward who imitates
    single annotators (docs/concepts/log.md). The method ``truth`` is what could be reached at best: its score is the
    mean of the Dice with the truth.

    Args:
        model: Of the row.
        index: With the validation cases.
        against: ``truth`` or ``annotations``: what test cases are scored against.
    """
    score, middle = (_soft_dice, np.mean) if against == "annotations" else (_majority_dice, np.median)
    if model.config.learner == "truth":
        score, middle = _true_dice, np.mean
    found = []
    for case in index.select("validation"):
        sample = read_case(case, index)
        found.append(score(sample, predict_case(model, sample).probabilities[0].numpy(), index.task))
    return float(middle(found))


def _true_dice(sample: Sample, probabilities: Probabilities, task: Task) -> float:
    assert sample.truth is not None  # as otherwise nothing was learned
    truth, predicted = sample.truth.numpy(), probabilities.argmax(0)
    return float(np.mean([dice(predicted == k, truth == k) for k in range(1, task.num_classes)]))


def _majority_dice(sample: Sample, probabilities: Probabilities, task: Task) -> float:
    given = sample.annotations.numpy(), sample.present.numpy(), task.num_classes
    votes, _ = majority_vote(*given, drawn=task.drawn)
    labels, predicted, known = votes.argmax(0), probabilities.argmax(0), votes.sum(0) > 0
    return float(np.mean([dice((predicted == k) & known, (labels == k) & known) for k in range(1, len(votes))]))


def _soft_dice(sample: Sample, probabilities: Probabilities, task: Task) -> float:
    """Among who draws a class, over the voxels that all of them judged."""
    annotations, present = sample.annotations.numpy(), sample.present.numpy()
    found = []
    for k in range(1, task.num_classes):
        who = present & task.who_draws(k)
        judged = (annotations[who] != IGNORE).all(0)
        if who.any():
            found.append(soft_dice(probabilities[k][judged], (annotations[who] == k)[:, judged]))
    return float(np.mean(found))
