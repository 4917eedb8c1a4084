"""An UMA-Net, and its formulas as plain loops."""

import itertools
import math

import torch

from fake_data.arrays import make_batch, make_method, make_task, tiny_config
from umanet.methods import UMANet
from umanet.types import Batch

SHAPE = (6, 7)


CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def make_uma_net(task=None, seed=0, **options) -> UMANet:
    method = make_method(task or make_task(classes=3), tiny_config(**options), seed)
    assert isinstance(method, UMANet)
    return method


def know(method: UMANet, reliability: list[float]) -> None:
    """As after long training: a_r, alike for all classes."""
    method.said.fill_(1000.0)
    method.right.copy_(method.said * torch.tensor(reliability)[:, None])


def reliability_maps(method: UMANet, batch: Batch) -> torch.Tensor:
    """w_r, written another way than in the method."""
    with torch.no_grad():
        wrong = method.uncertainty(method.backbone(batch.image), batch.annotations)
    return 1 / (1 + wrong.exp())


def sparse_batch(task=None, images=3, seed=0) -> Batch:
    batch = make_batch(task or make_task(classes=3), SHAPE, images=images, seed=seed)
    batch.present[0, 1] = batch.present[1, 0] = batch.present[1, 2] = False
    return batch


def present_annotators(batch, b):
    return [r for r in range(batch.present.shape[1]) if batch.present[b, r]]


def looped_consensus(batch: Batch, v: torch.Tensor, teachers: torch.Tensor, network: torch.Tensor) -> torch.Tensor:
    """``network`` (B, K, *spatial) are votes besides those of the annotations."""
    votes = network.clone()
    for b, r, at in itertools.product(*map(range, v.shape[:2]), itertools.product(*map(range, v.shape[2:]))):
        if teachers[b, r]:
            votes[(b, int(batch.annotations[(b, r, *at)]), *at)] += v[(b, r, *at)]
    return votes / votes.sum(1, keepdim=True).clamp_min(1e-12)


def nobody(batch: Batch, classes: int = 3) -> torch.Tensor:
    """No vote of the network."""
    return torch.zeros(len(batch.image), classes, *SHAPE)


def everybodys_factors(a: torch.Tensor) -> list[float]:
    """F_r by hand: logit of the clipped reliability, at least 0.05, over the largest of all annotators."""
    clipped = [min(max(float(value), 0.05), 0.95) for value in a]
    logits = [max(math.log(value / (1 - value)), 0.05) for value in clipped]
    return [logit / max(logits) for logit in logits]


def factors(a: torch.Tensor, batch: Batch) -> torch.Tensor:
    """F_r of who is present, else 0."""
    return batch.present * torch.tensor(everybodys_factors(a))


def contrast(a: torch.Tensor) -> float:
    """What all but the most reliable annotator lack of its factor, in the mean."""
    _, *others = sorted(everybodys_factors(a), reverse=True)
    return sum(1 - f for f in others) / len(others)


def counts(f: torch.Tensor, teachers: torch.Tensor) -> torch.Tensor:
    """How much every pixel of an image counts: F of its most reliable teacher."""
    most = [max([float(f[b, r]) for r in range(f.shape[1]) if teachers[b, r]], default=0.0) for b in range(len(f))]
    return torch.tensor(most).view(-1, 1, 1).expand(-1, *SHAPE)
