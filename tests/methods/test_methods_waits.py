"""What an accelerator would be waited for in a training step, counted on a CPU: answers that Python needs."""

import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fake_data.arrays import make_task
from fake_data.uma_net import make_uma_net
from umanet.types import IGNORE, Batch

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "bincount"}
"""Operators of ATen whose result, or its shape, has to be known at once."""
MOST = {"heavy-tailed": 5, "ce-dice": 14}
"""In a step of UMA-Net, by loss: the voxels of the region, the unsettled ones, how many each image has of both, and
which images teach the auxiliary predictor. Cross-entropy and Dice choose images, and ask whether any is unknown."""


class Waits(TorchDispatchMode):
    """Counts them, by the line of umanet that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        at = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in WAITS or any(each is not None and each.dtype == torch.bool for each in at):
            self.note(name)
        return func(*args, **(kwargs or {}))

    def note(self, name: str) -> None:
        stack = traceback.extract_stack()
        lines = [f"{Path(at.filename).name}:{at.lineno}" for at in stack if "/umanet/" in at.filename]
        self.found[f"{name} at {lines[-1] if lines else 'autograd'}"] += 1


class Lists(TorchFunctionMode):
    """``tolist`` of a tensor on a CPU is no operator."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.tolist:
            self.waits.note("tolist")
        return func(*args, **(kwargs or {}))


def batch_of(shape: tuple[int, ...], *, silence: bool, absence: bool) -> Batch:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (4, 3, *shape), generator=rng, dtype=torch.uint8)
    present = torch.ones(4, 3, dtype=torch.bool)
    if silence:
        labels[torch.rand(labels.shape, generator=rng) < 0.2] = IGNORE
    if absence:
        present[0, 1] = present[2, 2] = False
    # As it comes to a device: who is silent or absent was asked before.
    return Batch(torch.randn(4, 1, *shape, generator=rng), labels, present).to("cpu")


@pytest.mark.parametrize("drawn", [(), ((1, 2), (2,), (1,))])
@pytest.mark.parametrize("identified", [True, False])
@pytest.mark.parametrize(("silence", "absence"), [(False, False), (True, True)])
@pytest.mark.parametrize("shape", [(12, 10), (8, 6, 7)])
def test_a_step_asks_a_device_no_more_than_it_must(shape, silence, absence, identified, drawn):
    task = make_task(len(shape), classes=3, identified=identified)
    method = make_uma_net(replace(task, drawn=drawn)).train()
    batch = batch_of(shape, silence=silence, absence=absence)
    for assessor in (method.image_quality, method.annotation_quality):
        assessor.remembered.fill_(1.0)  # all is low: the auxiliary predictor is taught
    waits = Waits()
    with waits, Lists(waits):
        torch.stack(list(method.loss(batch, 0.9).values())).sum().backward()
    most = MOST["heavy-tailed" if identified else "ce-dice"]
    assert waits.found.total() <= most, waits.found


def test_a_question_is_counted_and_located():
    waits, values = Waits(), torch.arange(3)
    with waits, Lists(waits):
        values[values > 1]
        bool(values.any())
        values.tolist()
    assert waits.found.total() == 3


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_step_in_half_precision_is_near_one_in_float32(half):
    method, batch = make_uma_net().eval(), batch_of((12, 10), silence=False, absence=False)
    exact = method.loss(batch, 0.0)
    with torch.autocast("cpu", half):
        found = method.loss(batch, 0.0)
    for name, value in exact.items():
        torch.testing.assert_close(found[name].float(), value, rtol=0.1, atol=0.05)
