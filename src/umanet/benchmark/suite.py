"""What is compared, on which data, with which budget: ``suite.toml``."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from umanet.config import build_config, merge
from umanet.data.index import SPLITS
from umanet.errors import ConfigError, did_you_mean
from umanet.evaluation.protocol import DISTRIBUTION, METRICS, PROTOCOLS
from umanet.method_options import EnsembleOptions, MethodName, Options
from umanet.simulation.scenarios import find_scenario

GIVEN = "given"
"""In place of a scenario: the annotations are those of people."""
CheckerName = Literal["cleanlab", "others", "staple"]
SIMULATED = ("cases", "split_seed", "patient_pattern")
"""What only data with simulated annotators have."""
CHECK = "check-"
"""Before the name of a checker: the contestant and method of its rows."""


class Variant(Options):
    """A method with options of its own, as a row of its own: for ablations."""

    name: str = Field(pattern=r"^\w[\w .,+=()-]*$")
    method: MethodName = "uma-net"
    consensus_of: Literal["uma-net"] | None = None
    """Teach the method, ``majority`` say, with the consensus that a run of this one makes (``umanet fuse --with``)."""
    config: Mapping[str, Any] = Field(default_factory=dict)
    """Over that of the suite and of the data."""


class Data(Options):
    """One data set: a ``dataset.json``, or images with their truth, of which annotators are simulated."""

    name: str = Field(pattern=r"^\w[\w+=()-]*$")
    dataset: Path | None = None
    images: Path | None = None
    truth: Path | None = None
    scenarios: tuple[str, ...] = ()
    """Of simulated annotators."""
    cases: Mapping[str, int] = Field(default_factory=lambda: {"train": 100, "validation": 20, "test": 50})
    """How many are simulated per split."""
    split_seed: int | None = None
    """Of simulated data: all seeds then share their test cases, and only annotators and training differ."""
    patient_pattern: str | None = None
    folds: int = Field(default=0, ge=0)
    """Of a ``dataset``: so many splits by patient, each tested once; 0: its own splits."""
    against: Literal["truth", "annotations"] = "truth"
    """What test cases are scored against."""
    metrics: tuple[str, ...] = Field(default=("dice",), min_length=1)
    """The first one decides."""
    config: Mapping[str, Any] = Field(default_factory=dict)
    """Over that of the suite: the patch, say."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Data":
        simulated = self.images is not None and self.truth is not None and bool(self.scenarios)
        given = self.dataset is not None
        if given == simulated or (given and (self.images or self.truth or self.scenarios)):
            raise ValueError(f"data {self.name!r} needs either dataset, or images, truth and scenarios")
        if self.folds == 1 or (self.folds and not given):
            raise ValueError(f"data {self.name!r}: folds are 0, or 2 and more, of a dataset")
        if given and (ignored := [key for key in SIMULATED if key in self.model_fields_set]):
            raise ValueError(
                f"data {self.name!r}: {ignored[0]} found, which is of images with simulated annotators. Leave it out: "
                "a dataset has its own cases, patients and splits, or folds"
            )
        _known("split", tuple(self.cases), SPLITS)
        _once("scenario", self.scenarios)
        for scenario in self.scenarios:
            try:
                find_scenario(scenario)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _scored(self) -> "Data":
        _known("metric", self.metrics, METRICS)
        _once("metric", self.metrics)
        # As rows are evaluated: otherwise every row would be trained in vain.
        known = PROTOCOLS["default"].metrics_against(self.against)
        for metric in set(self.metrics) - set(known):
            other = "annotations" if self.against == "truth" else "truth"
            if metric in PROTOCOLS["default"].metrics_against(other):
                default = "" if "metrics" in self.model_fields_set else ", the default,"
                raise ValueError(
                    f"metric {metric!r}{default} found, which is against {other}, where cases are scored against "
                    f'{self.against}: {", ".join(known)} are. Set against = "{other}", or take another'
                )
        _known(f"metric against {self.against}", self.metrics, known)
        if self.metrics[0] in DISTRIBUTION:
            raise ValueError(
                f"{self.metrics[0]!r} found as the first metric, which decides; one of all methods expected, as not "
                "all draw samples"
            )
        return self


class Suite(Options):
    """A benchmark. Paths are relative to a folder that is named when it is run."""

    name: str
    about: str = ""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    methods: tuple[MethodName, ...] = ()
    variants: tuple[Variant, ...] = ()
    checkers: tuple[CheckerName, ...] = ()
    """Give the training annotations a quality, and predict nothing."""
    data: tuple[Data, ...] = Field(min_length=1)
    config: Mapping[str, Any] = Field(default_factory=dict)
    """The budget of all: preset, steps, backbone, augmentation."""
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Tried for every method alike with the first scenario, seed and fold of each data; for all of them the best on the
    validation cases is taken. None: that of the configuration."""
    minutes: float = Field(default=60, gt=0)
    """A row that takes longer is stopped."""
    baseline: str | None = None
    """Whom the page compares the others with, UMA-Net say in its ablation. None: the best fused baseline."""

    @model_validator(mode="after")
    def _names(self) -> "Suite":
        names = [*self.methods, *(variant.name for variant in self.variants), *(CHECK + one for one in self.checkers)]
        _once("method or variant", names)
        _once("data", [one.name for one in self.data])
        _once("seed", self.seeds)
        _once("learning rate", [f"{rate:g}" for rate in self.learning_rates])  # as in the names of rows
        if not names:
            raise ValueError("no method, no variant and no checker found")
        for where, one in [("suite", self), *((part.name, part) for part in (*self.data, *self.variants))]:
            for key, instead in (("method", "methods or variants"), ("seed", "seeds")):
                if key in one.config:
                    raise ValueError(f"config of {where}: {key!r} found, which {instead} of the suite say")
        if self.baseline is not None:
            _known("baseline", (self.baseline,), [one.name for one in self.contestants])
        return self

    @property
    def contestants(self) -> tuple[Variant, ...]:
        """Methods as they are, and then the variants."""
        return (*(Variant(name=name, method=name) for name in self.methods), *self.variants)

    @property
    def taught(self) -> set[str]:
        """All methods that train a network."""
        return {name for one in self.contestants for name in (one.method, one.consensus_of) if name} | self.members

    @property
    def members(self) -> set[MethodName]:
        """What its ensembles consist of."""
        configs = [(one, data) for one in self.contestants if one.method == "ensemble" for data in self.data]
        merged = [merge(merge(self.config, data.config), one.config) for one, data in configs]
        return {EnsembleOptions.model_validate(config.get("ensemble", {})).of for config in merged}


def read_suite(path: Path) -> Suite:
    """Read and check a suite, with every configuration in it; ``extends = "OTHER.toml"`` begins with another suite.

    Raises:
        ConfigError: Unreadable, an unknown key, method, scenario or metric, or a configuration that is none.
    """
    values = _values(path)
    try:
        suite = Suite.model_validate(values)
    except ValidationError as error:
        # Of a tuple whose entries are wrong it is said, too, that it is short.
        found = [problem for problem in error.errors() if problem["type"] != "too_short"] or error.errors()[:1]
        raise ConfigError(" ".join(_explain(problem, path, values) for problem in found)) from None
    for contestant in suite.contestants:
        for data in suite.data:
            of_data = merge(suite.config, data.config)
            dims = _dims(merge(of_data, contestant.config))
            own = {**contestant.config, "method": contestant.method}
            build_config(of_data, dims, f"data {data.name!r} in {path}")
            build_config(merge(of_data, own), dims, f"{contestant.name!r} in {path}")
    if "ensemble" in suite.members:
        raise ConfigError(f"An ensemble of ensembles found in {path}, one of another method expected. Mend the file.")
    return suite


def _dims(config: Mapping[str, Any]) -> int:
    """By the patch, whatever else may be wrong with the configuration."""
    data = config.get("data")
    patch = data.get("patch") if isinstance(data, Mapping) else None
    return 3 if isinstance(patch, list) and len(patch) == 3 else 2


def _values(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What the file sets, over what the suite sets that it ``extends``; a list replaces a list."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"No suite could be read from {path}: {error.strerror}. Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}. Mend the file.") from None
    if "extends" not in values:
        return values
    wider = path.parent / str(values.pop("extends"))
    if wider.resolve() in (seen := (*below, path.resolve())):
        raise ConfigError(f"{path} extends {wider}, which extends it again. Leave one of them out.")
    return merge(_values(wider, seen), values)


def _once(kind: str, names: Sequence[object]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{kind} {name!r} found twice")


def _known(kind: str, names: tuple[str, ...], known: Any) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{kind} {name!r} found, one of {', '.join(known)} expected.{did_you_mean(name, known)}")


def _explain(problem: Any, path: Path, values: Mapping[str, Any]) -> str:
    part, *place = problem["loc"] or ("",)
    model = {"data": Data, "variants": Variant}.get(part, Suite)
    if model is not Suite and place:  # by its name, not its number
        number, *place = place
        one = values[part][number]
        part = f"{part.removesuffix('s')} {one.get('name', number) if isinstance(one, Mapping) else number!r}"
    where = " of ".join(map(str, (*reversed([one for one in place if not isinstance(one, int)]), part)))
    said, found = problem["msg"].removeprefix("Value error, ").rstrip("."), problem["input"]
    if problem["type"] == "extra_forbidden":
        known = [*model.model_fields, *(["extends"] if model is Suite else [])]
        said = f"unknown key, one of {', '.join(known)} expected.{did_you_mean(str(problem['loc'][-1]), known)}"
    elif problem["type"] == "literal_error":
        known = re.findall("'([^']*)'", problem["ctx"]["expected"])
        said = f"{found!r} found, one of {', '.join(known)} expected.{did_you_mean(str(found), known)}"
    elif problem["type"] == "missing":
        said = "not found, expected"
    elif problem["type"] == "too_short":
        said = "nothing found, at least one expected"
    elif problem["type"] != "value_error":
        said = f"{found!r} found: {said[:1].lower()}{said[1:]}".replace("valid tuple", "list")
    return f"{f'{where} in ' if where else ''}{path}: {said}{'' if said.endswith(('?', '.')) else '.'} Mend the file."
