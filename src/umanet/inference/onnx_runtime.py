"""The released network by ONNX Runtime, on the CPU: docs/how-to/predict-fast.md says where it is quicker."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from umanet.data.files import replace_file
from umanet.errors import OutputError
from umanet.inference.exported import (
    DIGEST,
    LEAST,
    MULTIPLE,
    TOLERANCE,
    difference,
    graph_metadata,
    one_by_one,
    onnx_bytes,
    open_graph,
    require,
)
from umanet.inference.model_file import DESCRIPTION, Model
from umanet.inference.tiles import Network

KEPT = "model.onnx"
"""Beside the weights in a run folder. ``umanet export-model`` writes the same file elsewhere."""


@dataclass(frozen=True)
class Onnx:
    """``open_onnx`` for models of a run; equal to one that came from another process, so that it is opened once."""

    run: Path
    threads: int

    def __call__(self, model: Model) -> Network:
        return open_onnx(self.run, model, self.threads)


def open_onnx(run: Path, model: Model, threads: int) -> Network:
    """The network of a run, on so many CPU threads.

    The graph is exported once and kept in the run folder; where that cannot be written to, it is exported each time.
    One that is there must be of these weights, and is compared with the network on a small image, or made anew.

    Raises:
        ExportError: A package is missing, or what was exported does not compute the same.
    """
    require("onnxruntime", needed_for="--runtime onnx")
    kept = run / KEPT
    with suppress(OSError):
        content = kept.read_bytes()
        if (found := _if_of(model, content, threads)) is not None:
            return found
    content, multiple = onnx_bytes(model, (run / DESCRIPTION).read_text(encoding="utf-8"))
    with suppress(OutputError):
        replace_file(kept, content)
    return _network(content, multiple, threads)


def _network(content: bytes, multiple: int, threads: int) -> Network:
    network = open_graph(content, threads)
    return network if multiple else one_by_one(network)


def _if_of(model: Model, content: bytes, threads: int) -> Network | None:
    """None where the graph is of other weights, or broken."""
    said = graph_metadata(content)
    if said.get(DIGEST) != model.digest or not said.get(MULTIPLE, "").isdecimal():
        return None
    multiple = int(said[MULTIPLE])
    network = _network(content, multiple, threads)
    small = (LEAST * multiple,) * model.task.spatial_dims if multiple else model.config.data.patch
    assert small is not None  # of a graph without multiples, whose digest is ours
    try:
        same = difference(network, model, ((1, *small),)) <= TOLERANCE
    except Exception:  # onnxruntime has a class of its own for every fault, and no common one
        return None
    return network if same else None
