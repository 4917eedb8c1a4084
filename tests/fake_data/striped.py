"""Samples whose image says which label each voxel has, so that image and labels cannot part unseen."""

import torch

from umanet.types import IGNORE, Geometry, Sample


def striped_sample(shape, classes=3, seed=0, spacing=None, *, silent=False) -> Sample:
    """Two annotators and the truth agree; a third is absent. ``silent``: the second says nothing at the first voxel."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(classes, *[max(side // 4, 1) for side in shape], generator=rng)
    smooth = torch.nn.functional.interpolate(coarse[None], shape, mode={2: "bilinear", 3: "trilinear"}[len(shape)])
    labels = smooth[0].argmax(0).to(torch.uint8)
    annotations = torch.stack([labels, labels, torch.zeros_like(labels)])
    if silent:
        annotations[(1, *[0] * len(shape))] = IGNORE
    return Sample(
        "case",
        torch.stack([labels.float(), -labels.float()]),
        annotations,
        torch.tensor([True, True, False]),
        Geometry(tuple(shape), spacing or (1.0,) * len(shape), spacing_is_known=spacing is not None),
        truth=labels,
    )


def one_hot(labels: torch.Tensor, classes=3) -> torch.Tensor:
    """Labels as a target."""
    return torch.nn.functional.one_hot(labels.long(), classes).movedim(-1, 0).float()
