"""Medical image segmentation learned from several annotations per image (UMA-Net), in 2D and 3D.

The public names, in the order of the work. Each is imported when it is first used, so that ``import umanet`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umanet.agreement import measure_agreement
    from umanet.config import RunConfig, build_config, read_config
    from umanet.consensus import fuse_dataset
    from umanet.data.check import check
    from umanet.data.images import read_case
    from umanet.data.index import DatasetIndex, read_index, write_index
    from umanet.data.sources.folder import index as index_folder
    from umanet.errors import UmanetError
    from umanet.evaluation import compare, evaluate, read_evaluation
    from umanet.executor import Executor
    from umanet.fusion import FUSIONS
    from umanet.grading import grade
    from umanet.inference.model_file import Model, load_model
    from umanet.inference.predict import predict, predict_case
    from umanet.methods import METHODS, Method
    from umanet.report import build_report
    from umanet.simulation.simulate import simulate
    from umanet.training import train
    from umanet.types import Batch, Case, Prediction, Sample, Task

_WHERE = {
    "Case": "types",
    "Sample": "types",
    "Batch": "types",
    "Prediction": "types",
    "Task": "types",
    "UmanetError": "errors",
    "RunConfig": "config",
    "build_config": "config",
    "read_config": "config",
    "index_folder": "data.sources.folder:index",
    "DatasetIndex": "data.index",
    "read_index": "data.index",
    "write_index": "data.index",
    "read_case": "data.images",
    "check": "data.check",
    "measure_agreement": "agreement",
    "simulate": "simulation.simulate",
    "FUSIONS": "fusion",
    "fuse_dataset": "consensus",
    "Method": "methods",
    "METHODS": "methods",
    "train": "training",
    "Model": "inference.model_file",
    "load_model": "inference.model_file",
    "predict": "inference.predict",
    "predict_case": "inference.predict",
    "grade": "grading",
    "evaluate": "evaluation",
    "read_evaluation": "evaluation",
    "compare": "evaluation",
    "Executor": "executor",
    "build_report": "report",
}

__all__ = [
    "FUSIONS",
    "METHODS",
    "Batch",
    "Case",
    "DatasetIndex",
    "Executor",
    "Method",
    "Model",
    "Prediction",
    "RunConfig",
    "Sample",
    "Task",
    "UmanetError",
    "build_config",
    "build_report",
    "check",
    "compare",
    "evaluate",
    "fuse_dataset",
    "grade",
    "index_folder",
    "load_model",
    "measure_agreement",
    "predict",
    "predict_case",
    "read_case",
    "read_config",
    "read_evaluation",
    "read_index",
    "simulate",
    "train",
    "write_index",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("umanet")
    if name not in _WHERE:
        raise AttributeError(f"module 'umanet' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    value = getattr(import_module(f"umanet.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
