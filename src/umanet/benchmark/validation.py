"""What learning rates are chosen by: the same for every method, and without the truth."""

import numpy as np

from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.fusion import majority_vote
from umanet.inference.model_file import Model
from umanet.inference.predict import predict_case
from umanet.metrics import dice


def median_validation(model: Model, index: DatasetIndex) -> float:
    """The median over validation cases of the Dice with the majority vote, mean over foreground classes, in [0, 1].

    The median, because a mean rewards who imitates the annotators of the cases on which they all err; the majority
    vote, because single annotations reward who imitates single annotators (docs/concepts/log.md).
    """
    found = []
    for case in index.select("validation"):
        sample = read_case(case, index)
        given = sample.annotations.numpy(), sample.present.numpy(), len(index.classes)
        votes, _ = majority_vote(*given, drawn=index.task.drawn)
        labels, predicted = votes.argmax(0), predict_case(model, sample).probabilities[0].max(0).indices.numpy()
        known = votes.sum(0) > 0
        found.append(np.mean([dice((predicted == k) & known, (labels == k) & known) for k in range(1, len(votes))]))
    return float(np.median(found))
