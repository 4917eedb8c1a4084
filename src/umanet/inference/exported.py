"""The released network without umanet: an ONNX graph, or a program of ``torch.export``, with what it was made for.

Nothing but arrays and operations is in either; both are compared with the network before they are written.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.export import Dim, ExportedProgram

from umanet.data.files import replace_file, whole_file
from umanet.errors import ExportError, OutputError
from umanet.inference.model_file import DESCRIPTION, Model, load_model
from umanet.inference.tiles import Network
from umanet.methods import Method

ExportFormat = Literal["onnx", "torch"]
SUFFIXES: dict[ExportFormat, str] = {"onnx": ".onnx", "torch": ".pt2"}
TOLERANCE = 1e-4
"""How far probabilities of an exported network may be from those of the network."""
MODEL, DIGEST, MULTIPLE, LEAST = "umanet.model", "umanet.sha256", "umanet.multiple", 2
"""Keys of an ONNX file's metadata, and how many multiples a side has at least."""


class ReleasedNetwork(nn.Module):
    """Prepared images to class probabilities, and nothing else of what a method predicts."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, image: Float[Tensor, "B C *spatial"]) -> Float[Tensor, "B K *spatial"]:
        return self.method.predict(image).probabilities


def one_by_one(network: Network) -> Network:
    """A network that takes one image, as one that takes several."""
    return lambda image: torch.cat([network(one) for one in image.split(1)])


def require(*modules: str, needed_for: str) -> None:
    """Refuse what needs packages that are not installed.

    Raises:
        ExportError: One cannot be imported.
    """
    for name in modules:
        try:
            import_module(name)
        except ImportError:
            raise ExportError(
                f"No package {name} found in this Python, expected for {needed_for}. Install it: "
                "pip install 'umanet[export]'."
            ) from None


def export_model(run: Path, output: Path, to: ExportFormat = "onnx") -> bool:
    """Write the network of a run as one file. Numbers are float32; images are prepared as ``model.json`` says.

    Args:
        run: The run folder.
        output: A new file.
        to: ``onnx``, or ``torch`` for what ``torch.export.load`` reads.

    Returns:
        Whether it takes images of any size (in multiples of what it halves) and any number of them at once; else it
        takes one patch.

    Raises:
        ExportError: A package is missing, or what was exported does not compute the same.
        ModelFileError: As ``load_model``.
        OutputError: The file is there already, has another type, or cannot be written.
    """
    if output.suffix != SUFFIXES[to]:
        raise OutputError(
            f"{output.name} found, a name that ends with {SUFFIXES[to]} expected, for --to {to}. Name it otherwise."
        )
    if output.exists():
        raise OutputError(f"{output} is there already, a new file expected. Choose another output.")
    model, description = load_model(run), (run / DESCRIPTION).read_text(encoding="utf-8")
    if to == "onnx":
        content, multiple = onnx_bytes(model, description)
        replace_file(output, content)
        return bool(multiple)
    program, multiple = _first_that_agrees(model, lambda program: _without_gradient(program.module()))
    with whole_file(output) as temporary, _quiet():
        torch.export.save(program, temporary, extra_files={DESCRIPTION: description})
    return bool(multiple)


def onnx_bytes(model: Model, description: str) -> tuple[bytes, int]:
    """An ONNX file in memory, and of what its sides are multiples; zero: it takes one patch.

    Raises:
        ExportError: A package is missing, or what was exported does not compute the same.
    """
    require("onnx", "onnxscript", "onnxruntime", needed_for="an ONNX export")
    made: list[bytes] = []

    def convert(program: ExportedProgram) -> Network:
        with _quiet():
            converted = torch.onnx.export(
                program, (), dynamo=True, external_data=False, verbose=False, input_names=["image"],
                output_names=["probabilities"],
            )  # fmt: skip
        assert converted is not None
        made.append(converted.model_proto.SerializeToString())
        return open_graph(made[-1], threads=torch.get_num_threads())

    _, multiple = _first_that_agrees(model, convert)
    import onnx

    proto = onnx.load_from_string(made[-1])
    onnx.helper.set_model_props(proto, {MODEL: description, DIGEST: model.digest, MULTIPLE: str(multiple)})
    return proto.SerializeToString(), multiple


def open_graph(content: bytes, threads: int) -> Network:
    """A graph as a network on the CPU, as it is: sides must be those that it takes."""
    session = _open(content, threads)

    def run(image: Tensor) -> Tensor:
        (found,) = session.run(None, {"image": image.contiguous().numpy()})
        return torch.from_numpy(np.asarray(found))

    return run


def _open(content: bytes, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def graph_metadata(content: bytes) -> dict[str, str]:
    """What an ONNX file says of itself; empty where it is none."""
    try:
        return dict(_open(content, 1).get_modelmeta().custom_metadata_map)
    except Exception:  # onnxruntime has a class of its own for every fault, and no common one
        return {}


def _first_that_agrees(model: Model, convert: Callable[[ExportedProgram], Network]) -> tuple[ExportedProgram, int]:
    """For sides in multiples; or, where the network cannot be had so, for one patch (multiple zero)."""
    differences = []
    for multiple in _multiples(model):
        patch, shapes = _shapes(model, multiple)
        try:
            program = trace(model, patch, multiple)
        except (RuntimeError, ValueError) as error:
            differences.append(type(error).__name__)
            continue
        found = difference(convert(program), model, shapes)
        if found <= TOLERANCE:
            return program, multiple
        differences.append(f"a difference of {found:.2g}")
    raise ExportError(
        f"{' and '.join(differences)} found, probabilities within {TOLERANCE:g} of the network's expected, in the "
        f"export of a {model.config.method!r} model ({model.config.backbone.architecture}). Predict with --runtime "
        "torch, and please report it."
    )


def _multiples(model: Model) -> list[int]:
    """What to try, the best first; zero is the patch alone.

    A patch that is no multiple is padded inside the network, which a program for all sizes cannot do.
    """
    multiple, patch = 2 ** (len(model.config.backbone.channels) - 1), model.config.data.patch
    if patch is None:
        return [multiple]
    return [multiple, 0] if all(side % multiple == 0 and side >= LEAST * multiple for side in patch) else [0]


def _shapes(model: Model, multiple: int) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The patch, and what the exported network is tried on: the patch, and two images of another size."""
    patch = model.config.data.patch or (2 * LEAST * multiple,) * model.task.spatial_dims
    if not multiple:
        return patch, ((1, *patch),)
    other = [max(side // multiple // 2, LEAST) * multiple for side in patch]
    other = [side + multiple * (side == given) for side, given in zip(other, patch, strict=True)]
    return patch, ((1, *patch), (2, *other))


def trace(model: Model, patch: tuple[int, ...], multiple: int) -> ExportedProgram:
    """The network as a program, for sides that are multiples, or (zero) for the patch.

    Raises:
        RuntimeError, ValueError: The network has something in it that ``torch.export`` cannot have so.
    """
    channels, sides, shapes = len(model.task.channels), list(patch), None
    if multiple:
        # Sides that differ, so that no two are taken for one.
        sides = [(number + LEAST + 1) * multiple for number in range(len(patch))]
        dynamic = {axis: multiple * Dim(f"side{axis}", min=LEAST) for axis in range(2, 2 + len(patch))}
        shapes = ({0: Dim("batch"), **dynamic},)
    example = torch.zeros(2 if multiple else 1, channels, *sides)
    with _quiet(), torch.no_grad(), _no_checks_of_distributions():
        return torch.export.export(ReleasedNetwork(model.method).eval(), (example,), dynamic_shapes=shapes)


@torch.no_grad()
def difference(network: Network, model: Model, shapes: tuple[tuple[int, ...], ...]) -> float:
    """The largest from the model's probabilities, on random images: ``(batch, *spatial)`` each."""
    rng = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch, *spatial in shapes:
        image = torch.randn(batch, len(model.task.channels), *spatial, generator=rng)
        expected = model.method.predict(image).probabilities
        # Not max of both: NaN must not pass.
        largest = torch.fmax(
            torch.tensor(largest), (network(image) - expected).abs().nan_to_num(torch.inf).max()
        ).item()
    return largest


def _without_gradient(network: Network) -> Network:
    return torch.no_grad()(network)


@contextmanager
def _no_checks_of_distributions() -> Iterator[None]:
    """Which read values, and a program has none."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of their own insides: operations of torchvision, classes that PyTorch renamed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx.experimental")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)", category=FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
