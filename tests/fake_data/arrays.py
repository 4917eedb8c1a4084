"""Small made-up tasks, methods and batches in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from umanet.config import BackboneOptions, EnsembleOptions, RunConfig, UmaNetOptions
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.methods import Method, build_method
from umanet.types import Batch, Case, Geometry, Sample, Task


def make_task(
    spatial_dims: int = 2, *, classes: int = 2, annotators: int = 3, channels: int = 1, identified: bool = True
) -> Task:
    return Task(
        spatial_dims,
        tuple(f"channel{number}" for number in range(channels)),
        ("background", *(f"class{number}" for number in range(1, classes))),
        tuple(f"annotator{number}" for number in range(annotators)),
        identified,
    )


def tiny_config(method: str = "uma-net", *, channels: tuple[int, ...] = (4, 8), **uma_net: Any) -> RunConfig:
    return RunConfig(
        method=method,  # type: ignore[arg-type]
        backbone=BackboneOptions(channels=channels, features=4),
        ensemble=EnsembleOptions(members=2),
        uma_net=UmaNetOptions(**{"width": 4, "margin": 1, "memory": 64, **uma_net}),
    )


def make_method(task: Task, config: RunConfig, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    return build_method(task, config)


def make_batch(task: Task, shape: tuple[int, ...], images: int = 2, seed: int = 0) -> Batch:
    """Random labels over random images; every annotator is present."""
    rng = torch.Generator().manual_seed(seed)
    annotators = len(task.annotators)
    return Batch(
        torch.randn(images, len(task.channels), *shape, generator=rng),
        torch.randint(task.num_classes, (images, annotators, *shape), generator=rng).to(torch.uint8),
        torch.ones(images, annotators, dtype=torch.bool),
    )


def with_target(method: Method, batch: Batch, truth: torch.Tensor | None = None) -> Batch:
    """The batch as the data set would hand it to this method; without a truth, the first annotation is it."""
    truth = batch.annotations[:, 0] if truth is None else truth
    targets = []
    for number in range(len(batch.image)):
        target = method.target(
            Sample(
                f"case{number}",
                batch.image[number],
                batch.annotations[number],
                batch.present[number],
                Geometry(tuple(batch.image.shape[2:]), (1.0,) * (batch.image.ndim - 2)),
                truth=truth[number],
            ),
            0,
        )
        if target is not None:
            targets.append(target)
    return replace(batch, target=torch.stack(targets) if targets else None)


def make_index(task: Task) -> DatasetIndex:
    """A data set of one case, for what needs an index but opens no file."""
    case = Case("case0", (Path("/nowhere/case0.png"),), dict.fromkeys(task.annotators, Path("/nowhere/case0.png")))
    return DatasetIndex(
        spatial_dims=task.spatial_dims,  # type: ignore[arg-type]
        channels=task.channels,
        classes=tuple(ClassDefinition(name=name, values=(value,)) for value, name in enumerate(task.classes)),
        annotators=task.annotators,
        annotators_are_identified=task.annotators_are_identified,
        cases=(case,),
    )


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> torch.Tensor:
    """True inside a disc (2D) or ball (3D)."""
    axes = torch.meshgrid(*(torch.arange(side).float() for side in shape), indexing="ij")
    squares = [(axis - at).square() for axis, at in zip(axes, centre, strict=True)]
    return torch.stack(squares).sum(0) < radius**2


def bright_balls(task: Task, shape: tuple[int, ...], images: int, seed: int = 0) -> Batch:
    """A noisy bright ball in every image, drawn without error by every annotator."""
    rng = torch.Generator().manual_seed(seed)
    sides = torch.tensor(shape)
    centres = sides * (0.35 + 0.3 * torch.rand(images, len(shape), generator=rng))
    truth = torch.stack([ball(shape, tuple(centre.tolist()), 0.25 * min(shape)) for centre in centres])
    image = truth[:, None].float() * 2 + 0.3 * torch.randn(images, len(task.channels), *shape, generator=rng)
    annotators = len(task.annotators)
    labels = truth[:, None].to(torch.uint8).repeat(1, annotators, *[1] * len(shape))
    return Batch(image, labels, torch.ones(images, annotators, dtype=torch.bool))
