"""One typed configuration: read, overridden, shown, and saved next to the weights. Nothing else configures anything.

Pure pydantic and importable without torch, so that ``umanet --help`` stays quick; the parts that use an option take
the small class that holds it, never the whole.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Discriminator, Field, Tag, ValidationError, field_validator

from umanet.errors import ConfigError, did_you_mean
from umanet.method_options import (
    ConfusionMatrixOptions,
    CoTeachingOptions,
    EnsembleOptions,
    FusionOptions,
    LatentOptions,
    MethodName,
    Options,
    StochasticOptions,
    TruncatedGceOptions,
    UmaNetOptions,
)

Preset = Literal["cpu-small", "small", "medium", "large", "chest-xray", "fundus"]
Precision = Literal["auto", "32", "bf16", "16"]
Count = Annotated[int, Field(ge=1)]
Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
WORD, NUMBERS = "word", "numbers"
Spacing = Annotated[
    Annotated[Literal["auto", "native"], Tag(WORD)] | Annotated[tuple[Millimetres, ...], Tag(NUMBERS)],
    Discriminator(lambda value: WORD if isinstance(value, str) else NUMBERS),
]
"""Told apart by a tag, so that a fault is said of what was meant and not of both."""


class BackboneOptions(Options):
    """The network that turns an image into features."""

    architecture: Literal["unet", "basic-unet", "dynunet"] = "unet"
    """unet: residual, quick on a CPU. basic-unet: two convolutions a level. dynunet: as nnU-Net's plain U-Net."""
    channels: tuple[Count, ...] = Field(default=(16, 32, 64, 128), min_length=2)
    """Features per level, finest first."""
    features: int = Field(default=16, ge=1)
    """Features per voxel that the predictors and the annotation uncertainty module see."""
    residual_units: int = Field(default=1, ge=0)
    """Convolutions per residual block (unet only)."""


class AugmentOptions(Options):
    """Random changes of training samples, by MONAI. Zero switches one off."""

    probability: float = Field(default=0.8, ge=0, le=1)
    """Probability of the affine change; changes of intensity and noise have half of it, flips one half."""
    rotate: float = Field(default=10.0, ge=0)
    """Degrees, either way, about every axis."""
    scale: float = Field(default=0.1, ge=0, lt=1)
    """Share, either way."""
    shift: float = Field(default=0.06, ge=0, lt=1)
    """Share of the side, either way."""
    flip: tuple[int, ...] = ()
    """Spatial axes that may be mirrored. None by default: a mirrored chest has its heart on the wrong side."""
    intensity: float = Field(default=0.2, ge=0)
    """Contrast and brightness, in standard deviations of the image."""
    noise: float = Field(default=0.05, ge=0)
    """Gaussian noise, in standard deviations of the image."""


class DataOptions(Options):
    """From files to batches."""

    longest_side: int = Field(default=0, ge=0)
    """Images whose longest side is longer are downsampled to it (0: never); outputs keep the input's grid."""
    spacing: Spacing = "auto"
    """Millimetres per axis of the working grid, where files know their spacing; native: as in the files. auto: the
    median of the training images, with thinner slices where these are far thicker than voxels are wide; native where
    all images have one spacing. run.toml and model.json hold what was chosen."""
    size: tuple[Count, ...] | None = None
    """Voxels per axis of the working grid, the same for every image whatever its aspect. Then neither spacing nor
    ``longest_side`` decides. Default: none."""
    patch: tuple[Count, ...] | None = None
    """Voxels that the network sees at once. Default: the median image, at most the preset's ``largest_patch``."""
    largest_patch: int = Field(default=256, ge=8)
    """Largest side of a patch that is chosen automatically."""
    foreground: float = Field(default=0.5, ge=0, le=1)
    """Share of patches centred on annotated foreground, where images are larger than the patch."""
    normalise: Literal["zscore", "unit", "none"] = "zscore"
    """Per image and channel: mean 0 and deviation 1, or 1st..99th percentile to 0..1, or as stored."""
    augment: AugmentOptions = AugmentOptions()
    workers: int = Field(default=0, ge=0)
    """Processes that load data, as far as there are processors for them. 0: in the training process."""
    cache_gib: float = Field(default=4.0, ge=0)
    """Memory for training cases that have been read, resampled and fused; as much again for validation. What does not
    fit, and all of it where ``workers`` load data, is kept in the run folder until the run is finished."""
    cache: Path | None = None
    """Folder that keeps all cases that have been read, resampled and fused, for this run and others. Default: none."""

    @field_validator("spacing", mode="before")
    @classmethod
    def _none_is_native(cls, value: Any) -> Any:
        # Models that were released before there was "auto" hold null.
        return "native" if value is None else value

    @property
    def millimetres(self) -> tuple[float, ...] | None:
        """The spacing of the working grid; None where it is that of the files, or not chosen yet."""
        return None if isinstance(self.spacing, str) else self.spacing

    @property
    def working_grid(self) -> str:
        """What the network sees of an image, in words."""
        if self.size:
            grid = f"every image as {_by(self.size)} voxels"
        elif self.millimetres:
            grid = f"spacing {_by(self.millimetres)} mm"
        else:
            grid = "spacing as in the files"
        shrunk = f", longest side at most {self.longest_side}" if self.longest_side and not self.size else ""
        return f"{grid}{shrunk}; patch {_by(self.patch or ())}; normalisation {self.normalise}"


class TrainerOptions(Options):
    """The training loop."""

    max_steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    validate_every: int = Field(default=100, ge=1)
    """Steps between validations; also the length of an epoch and the distance of checkpoints."""
    precision: Precision = "auto"
    """auto: on a CUDA device bf16 where it has it, else 16; 32 elsewhere. Also of predictions on a CUDA device."""
    release: Literal["last", "best"] = "last"
    """Which weights are released; best is by soft Dice of the validation cases against their annotations."""


class RunConfig(Options):
    """Everything that decides what a training run does. Written to ``run.toml``."""

    method: MethodName = "uma-net"
    preset: Preset = "small"
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch. Default: one on a CPU (two are slower as soon as anything else runs)."""
    backbone: BackboneOptions = BackboneOptions()
    uma_net: UmaNetOptions = UmaNetOptions()
    fusion: FusionOptions = FusionOptions()
    confusion_matrix: ConfusionMatrixOptions = ConfusionMatrixOptions()
    truncated_gce: TruncatedGceOptions = TruncatedGceOptions()
    latent: LatentOptions = LatentOptions()
    stochastic: StochasticOptions = StochasticOptions()
    co_teaching: CoTeachingOptions = CoTeachingOptions()
    ensemble: EnsembleOptions = EnsembleOptions()
    data: DataOptions = DataOptions()
    trainer: TrainerOptions = TrainerOptions()

    @property
    def learner(self) -> MethodName:
        """The method that learns: of an ensemble that of its members."""
        return self.ensemble.of if self.method == "ensemble" else self.method


SQUARE_PICTURES: dict[str, dict[str, Any]] = {
    "backbone": {"channels": (16, 32, 64, 128, 256), "features": 16, "residual_units": 2},
    "data": {"size": (256, 256), "largest_patch": 256},
    "trainer": {"max_steps": 8000, "batch_size": 8, "validate_every": 250},
}
"""Whole pictures as 256 x 256, the grid of published results on RIGA; for chest X-rays too, so that both compare."""

PRESETS: dict[Preset, dict[str, dict[str, Any]]] = {
    "cpu-small": {
        "backbone": {"channels": (8, 16, 32, 64), "features": 8, "residual_units": 1},
        "uma_net": {"width": 8},
        "data": {"longest_side": 96, "largest_patch": 96},
        "trainer": {"max_steps": 600, "batch_size": 8, "validate_every": 100},
    },
    "small": {
        "backbone": {"channels": (16, 32, 64, 128), "features": 16, "residual_units": 2},
        "data": {"largest_patch": 192},
        "trainer": {"max_steps": 4000, "batch_size": 8, "validate_every": 250},
    },
    "medium": {
        "backbone": {"architecture": "dynunet", "channels": (32, 64, 128, 256, 320), "features": 32},
        "data": {"largest_patch": 256, "workers": 4},
        "trainer": {"max_steps": 20000, "batch_size": 12, "learning_rate": 1e-3, "validate_every": 500},
    },
    "large": {
        "backbone": {"architecture": "dynunet", "channels": (32, 64, 128, 256, 512, 512), "features": 32},
        "data": {"largest_patch": 512, "workers": 8},
        "trainer": {"max_steps": 60000, "batch_size": 12, "learning_rate": 1e-3, "validate_every": 1000},
    },
    "chest-xray": SQUARE_PICTURES,
    "fundus": SQUARE_PICTURES,
}
"""Sizes for 2D. ``preset_values`` says what 3D changes; the last two are for 2D only, as their ``size`` says."""

PRESETS_3D: dict[Preset, dict[str, dict[str, Any]]] = {
    "cpu-small": {"data": {"longest_side": 0, "largest_patch": 48}, "trainer": {"batch_size": 2}},
    "small": {"data": {"largest_patch": 64}, "trainer": {"batch_size": 2}},
    "medium": {"data": {"largest_patch": 96}, "trainer": {"batch_size": 2}},
    "large": {"data": {"largest_patch": 128}, "trainer": {"batch_size": 2}},
}


def _by(numbers: tuple[int, ...] | tuple[float, ...]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def preset_values(preset: Preset, spatial_dims: int) -> dict[str, Any]:
    """The values that ``preset`` sets for 2D or 3D images, as a nested mapping."""
    values: dict[str, Any] = {"preset": preset}
    changes = PRESETS_3D.get(preset, {}) if spatial_dims == 3 else {}
    return merge(merge(values, PRESETS[preset]), changes)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one; where both have a value, ``over`` wins."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def build_config(values: Mapping[str, Any], spatial_dims: int = 2, where: str = "the configuration") -> RunConfig:
    """A configuration from a nested mapping, on top of the preset that it names.

    Raises:
        ConfigError: An unknown key (with the nearest known one), a value out of range, or too many or few axes.
    """
    preset = values.get("preset", RunConfig.model_fields["preset"].default)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} found, one of {', '.join(PRESETS)} expected, in {where}.")
    try:
        config = RunConfig.model_validate(merge(preset_values(preset, spatial_dims), values))
    except ValidationError as error:
        raise ConfigError(_explain(error, where)) from None
    for name in ("patch", "millimetres", "size"):
        found, name = getattr(config.data, name), name.replace("millimetres", "spacing")
        if found is not None and len(found) != spatial_dims:
            raise ConfigError(
                f"data.{name} = {found} found, {spatial_dims} numbers expected, in {where}, because the images are "
                f"{spatial_dims}D. Give one per axis."
            )
    if any(not 0 <= axis < spatial_dims for axis in config.data.augment.flip):
        raise ConfigError(
            f"data.augment.flip = {config.data.augment.flip} found, axes from 0 to {spatial_dims - 1} expected, in "
            f"{where}. Mend the axes."
        )
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """The keys that a TOML file sets, unchecked.

    Raises:
        ConfigError: The file is missing or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"No configuration could be read from {path}: {error.strerror}. Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}. Mend the file.") from None


def read_config(path: Path, spatial_dims: int = 2) -> RunConfig:
    """The configuration in a TOML file, on top of the preset that it names.

    Raises:
        ConfigError: The file is unreadable, or has an unknown key or a value out of range.
    """
    return build_config(read_toml(path), spatial_dims, str(path))


def format_config(config: RunConfig) -> str:
    """Every value as TOML that ``read_config`` reads back unchanged."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors():
        *above, key = problem["loc"]
        name = ".".join(str(part) for part in problem["loc"] if part not in (WORD, NUMBERS))
        if problem["type"] == "extra_forbidden":
            hint = did_you_mean(str(key), _known_keys(above)) or f" Known keys: {', '.join(_known_keys(above))}."
            lines.append(f"Unknown key {name!r} in {where}.{hint}")
        else:
            lines.append(f"{name} = {problem['input']!r} found in {where}: {problem['msg']}.")
    return " ".join(lines)


def _known_keys(above: list[Any]) -> list[str]:
    options: Any = RunConfig
    for key in above:
        options = options.model_fields[key].annotation
    return list(options.model_fields)
