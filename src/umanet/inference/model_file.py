"""The released model: ``model.json`` and ``model.safetensors`` (backbone and primary predictor only), and
``grading.safetensors`` with what ``umanet grade`` needs besides. No pickle anywhere.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from umanet.config import RunConfig
from umanet.data.files import replace_file
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.errors import ModelFileError, TaskError
from umanet.methods import GradesAnnotations, Method, build_method
from umanet.types import Task

DESCRIPTION, WEIGHTS, GRADING = "model.json", "model.safetensors", "grading.safetensors"
FORMAT, VERSION = "umanet-model", 1


@dataclass(frozen=True)
class Model:
    """A method with its weights, ready to predict; ``classes`` say how labels are written to files.

    Attributes:
        method: In evaluation mode, on ``device``.
        task: What it was trained for.
        config: What it was trained with; ``config.data`` decides how images are prepared.
        classes: Names and file values.
        digest: SHA-256 of the weights.
    """

    method: Method
    task: Task
    config: RunConfig
    classes: tuple[ClassDefinition, ...]
    digest: str
    device: torch.device


def save_model(method: Method, index: DatasetIndex, config: RunConfig, run: Path) -> None:
    """Write the released model and, where the method can grade annotations, its grading file into ``run``."""
    # Copies: dynunet has its layers under two names each, and safetensors refuses memory that is shared.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in method.state_dict().items()}
    deployed = {name: tensor for name, tensor in state.items() if name.split(".")[0] in method.deployed}
    rest = {name: tensor for name, tensor in state.items() if name not in deployed}
    description: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "umanet": version("umanet"),
        "method": config.method,
        "task": dataclasses.asdict(index.task),
        "classes": [definition.model_dump(mode="json") for definition in index.classes],
        "config": config.model_dump(mode="json", exclude={"data": {"cache"}}),  # a place of this machine
        "weights": {"file": WEIGHTS, "sha256": _write(deployed, run / WEIGHTS)},
        "grading": None,
    }
    if isinstance(method, GradesAnnotations):
        description["grading"] = {"file": GRADING, "sha256": _write(rest, run / GRADING)}
    description["sha256"] = description_digest(description)
    replace_file(run / DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())


def load_model(run: Path, *, device: str | torch.device = "cpu", grading: bool = False) -> Model:
    """Read a released model.

    Args:
        run: The run folder (or any folder that the released files were copied to).
        device: Where to put it.
        grading: Also load what grading annotations needs.

    Raises:
        ModelFileError: A file is missing, truncated, changed since it was written, or of another version.
        TaskError: ``grading`` is asked of a method that cannot grade.
    """
    description = _read_description(run)
    task, config, classes = _parse(description, run)
    if grading and not description["grading"]:
        raise TaskError(
            f"{run} was trained with {config.method!r}, which cannot grade annotations. Train with --method uma-net."
        )
    entries = [description["weights"]] + ([description["grading"]] if grading else [])
    state: dict[str, Tensor] = {}
    for entry in entries:
        state |= _read(run / entry["file"], entry["sha256"])
    method = build_method(task, config)
    if not grading:
        _strip(method)
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise ModelFileError(
            f"The weights in {run} do not fit the model of this version of umanet: {_one_line(error)}. Use the "
            f"version that wrote them ({description.get('umanet')}), or train anew."
        ) from None
    where = torch.device(device)
    return Model(method.to(where).eval(), task, config, classes, description["weights"]["sha256"], where)


@dataclass(frozen=True)
class ModelElsewhere:
    """A model that travels: as its folder.

    Attributes:
        run: Its folder.
        digest: Of the weights that are expected there.
        device: Where it computes.
    """

    run: Path
    digest: str
    device: str

    def load(self, *, grading: bool = False) -> Model:
        """Raises: ModelFileError: It is not there, or another one by now."""
        model = load_model(self.run, device=self.device, grading=grading)
        if model.digest != self.digest:
            raise ModelFileError(
                f"Weights {model.digest[:12]}… found by a worker, {self.digest[:12]}… expected, in {self.run}: another "
                "run took its place. Start again."
            )
        return model


def can_grade(run: Path) -> bool:
    """Whether the run's method grades annotations, so that ``load_model`` takes ``grading``.

    Raises:
        ModelFileError: As ``load_model``.
    """
    return bool(_read_description(run)["grading"])


def _parse(description: dict[str, Any], run: Path) -> tuple[Task, RunConfig, tuple[ClassDefinition, ...]]:
    try:
        task = Task(**{key: _as_tuple(value) for key, value in description["task"].items()})
        classes = tuple(ClassDefinition.model_validate(entry) for entry in description["classes"])
        config = RunConfig.model_validate(description["config"])
        for entry in (description["weights"], *filter(None, [description["grading"]])):
            if Path(entry["file"]).name != entry["file"] or not isinstance(entry["sha256"], str):
                raise ValueError("a file outside the run folder")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelFileError(
            f"{run / DESCRIPTION} does not describe a model ({type(error).__name__}: {_one_line(error)}). "
            "Copy the run anew."
        ) from None
    return task, config, classes


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _strip(method: Method) -> None:
    """Leave only what predicts."""
    for name, _ in list(method.named_children()):
        if name not in method.deployed:
            delattr(method, name)
    for name in [name for name, _ in method.named_buffers(recurse=False)]:
        delattr(method, name)


def description_digest(description: dict[str, Any]) -> str:
    """SHA-256 of everything that ``model.json`` says, but for this digest itself."""
    rest = {key: value for key, value in description.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def check_task(model: Model, index: DatasetIndex, *, annotations: bool) -> None:
    """Refuse a data set that the model was not made for.

    Args:
        model: The model.
        index: The data set.
        annotations: Whether annotators matter for what is to be done, not only images.

    Raises:
        TaskError: Dimensions, number of channels, classes (or whether annotators are identified) differ.
    """
    wanted, found = model.task, index.task
    differences = [
        ("spatial dimensions", found.spatial_dims, wanted.spatial_dims),
        ("number of channels", len(found.channels), len(wanted.channels)),
        ("classes", found.classes, wanted.classes),
    ]
    if annotations:
        identified = found.annotators_are_identified, wanted.annotators_are_identified
        differences.append(("annotators_are_identified:", *identified))
    for what, have, expected in differences:
        if have != expected:
            raise TaskError(
                f"{what} {have} found in data set {index.name!r}, {expected} expected by the model. "
                "Use a model trained for this data set, or train one."
            )


def _read_description(run: Path) -> dict[str, Any]:
    path = run / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ModelFileError(
            f"No {DESCRIPTION} found in {run}, a folder made by 'umanet train' expected. "
            "Check the path; a run that was interrupted has no model yet: go on with --resume."
        ) from None
    except ValueError as error:
        raise ModelFileError(f"{path} is not valid JSON ({error}): truncated or changed. Copy the run anew.") from None
    if (
        not isinstance(description, dict)
        or description.get("format") != FORMAT
        or description.get("version") != VERSION
    ):
        found = (
            (description.get("format"), description.get("version")) if isinstance(description, dict) else description
        )
        raise ModelFileError(f"{found} found in {path}, {(FORMAT, VERSION)} expected. Use the umanet that wrote it.")
    if description.get("sha256") != description_digest(description):
        raise ModelFileError(f"{path} was changed since it was written: its SHA-256 does not fit. Copy the run anew.")
    return description


def _write(state: dict[str, Tensor], path: Path) -> str:
    content = save(state)
    replace_file(path, content)
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, digest: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError:
        raise ModelFileError(f"{path.name} is missing in {path.parent}. Copy the whole run folder.") from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ModelFileError(
            f"SHA-256 {found[:12]}… found, {digest[:12]}… expected, in {path}: truncated or changed since it was "
            "written. Copy the run anew."
        )
    try:
        return load(content)
    except SafetensorError as error:
        raise ModelFileError(f"{path} is not a safetensors file ({error}). Copy the run anew.") from None
