"""One run from a data set and a configuration to a run folder with a released model."""

import logging
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from umanet.config import Precision, RunConfig
from umanet.data.check import patients_in_two_splits
from umanet.data.index import DatasetIndex, require_trainable
from umanet.errors import DatasetError, Interrupted, RunError, UmanetError
from umanet.grading import warn_if_blind
from umanet.inference.model_file import save_model
from umanet.inference.tiles import half_on_cuda
from umanet.methods import Method, build_method
from umanet.ranks import launch
from umanet.training.checkpoints import BEST, FOLDER, LAST, WholeCheckpoints, read_checkpoint
from umanet.training.datamodule import RunData
from umanet.training.distributed import disconnect, raise_if_lost, refuse_uneven_ranks, strategy_for
from umanet.training.global_state import global_state_put_back, lightning_quiet
from umanet.training.loading_errors import as_said_there, raise_if_killed
from umanet.training.metrics_file import MetricsFile
from umanet.training.module import VALIDATION_METRIC, TrainingModule
from umanet.training.plan import plan
from umanet.training.processors import within_processors
from umanet.training.run_folder import (
    CACHE,
    Resume,
    find_checkpoint,
    is_finished,
    record,
    refuse_other_config,
    refuse_other_data,
    run_folder,
)
from umanet.types import Case

log = logging.getLogger("umanet")


@global_state_put_back()
@lightning_quiet()
def train(
    config: RunConfig,
    index: DatasetIndex,
    run: Path,
    *,
    resume: Resume = "never",
    callbacks: list[Callback] | None = None,
) -> Path:
    """Train a method and release it. Random states and torch's number of threads are afterwards as before.

    Args:
        config: What to do; written, with everything that was decided from the data, to ``run/run.toml``.
        index: The data set; its ``train`` and ``validation`` splits are used, nothing else is read.
        run: The run folder to make; where several ranks train together (``umanet.ranks``), one that all see.
        resume: ``never``: ``run`` must be new. ``auto``: go on if there is something to go on from. ``must``: refuse
            to start afresh.
        callbacks: Further Lightning callbacks (a progress bar).

    Returns:
        ``run``.

    Raises:
        RunError: The run exists already, or there is nothing to resume.
        DatasetError: A split is empty or a training case has no annotation.
        Interrupted: Ctrl-C; the last checkpoint is kept.
    """
    torch.set_num_threads(config.threads or 1)
    ours = launch()
    checkpoint = find_checkpoint(run, resume, leads=ours.leads)
    training, validation = _cases(index)
    refuse_uneven_ranks(ours, config.trainer.batch_size, len(validation))
    config = plan(config, index, training)
    if checkpoint is not None:
        refuse_other_config(run, config, index.spatial_dims)
        refuse_other_data(run, index)
        if is_finished(run):
            shutil.rmtree(run / CACHE, ignore_errors=True)  # of one that was killed at its very end
            return run
    pl.seed_everything(config.seed, verbose=False)
    method = build_method(index.task, config)
    able = [case for case in training if method.trains_on(case)]
    if len(able) < len(training):
        log.warning(
            "%d of %d training cases lack what %r learns from.", len(training) - len(able), len(training), config.method
        )
    training = able
    if not training:
        raise DatasetError(
            f"No training case of {index.name!r} has what {config.method!r} learns from. Use another method."
        )
    with run_folder(run, leads=ours.leads):
        if checkpoint is None and ours.leads:
            record(run, config, index)
        log.info("Working grid: %s.", config.data.working_grid)
        data = RunData(index, training, validation, method, within_processors(config, ours), run / CACHE)
        module = TrainingModule(method, config.trainer, config.data, index.task.drawn, config.seed)
        trainer = _trainer(config, method, run, callbacks or [])
        _fit(trainer, module, data, checkpoint, run)
        if ours.leads:
            _release(trainer, module, index, config, run)
            shutil.rmtree(run / CACHE, ignore_errors=True)
            warn_if_blind(method)
    return run


def _cases(index: DatasetIndex) -> tuple[list[Case], list[Case]]:
    require_trainable(index, "train")
    require_trainable(index, "validation")
    for problem in patients_in_two_splits(index):
        raise DatasetError(problem.message)
    return index.select("train"), index.select("validation")


def _trainer(config: RunConfig, method: Method, run: Path, callbacks: list[Callback]) -> pl.Trainer:
    options = config.trainer
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}[config.device]
    checkpoints = [
        ModelCheckpoint(
            run / FOLDER,
            Path(LAST).stem,
            save_top_k=1,
            monitor=None,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
        ModelCheckpoint(
            run / FOLDER,
            Path(BEST).stem,
            VALIDATION_METRIC,
            mode="max",
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        ),
    ]
    trainer = pl.Trainer(
        accelerator=accelerator,
        **strategy_for(launch(), config.device, method),
        max_steps=options.max_steps,
        max_epochs=-1,
        precision=_precision(options.precision, config.device),
        gradient_clip_val=options.clip,
        logger=[
            MetricsFile(run, lambda: trainer.global_step),
            TensorBoardLogger(run, name=None, version="tensorboard"),
        ],
        callbacks=[*checkpoints, *callbacks],
        plugins=[WholeCheckpoints()],
        use_distributed_sampler=False,  # ours deals out the draws
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
        default_root_dir=run,
    )
    return trainer


def _precision(wanted: Precision, device: str) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    if wanted == "auto":
        if device not in ("auto", "cuda") or not torch.cuda.is_available():
            return "32-true"
        return "bf16-mixed" if half_on_cuda(wanted) is torch.bfloat16 else "16-mixed"
    return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[wanted]  # type: ignore[return-value]  # of Literal


def _fit(trainer: pl.Trainer, module: TrainingModule, data: RunData, checkpoint: Path | None, run: Path) -> None:
    started, on_interrupt = time.monotonic(), signal.getsignal(signal.SIGINT)
    interrupted = False
    try:
        trainer.fit(module, data, ckpt_path=None if checkpoint is None else str(checkpoint))
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into SystemExit
        interrupted = True
    except UmanetError as error:
        raise as_said_there(error) from error
    except RuntimeError as error:
        raise_if_lost(error, trainer.global_step, run / FOLDER / LAST)
        raise_if_killed(error, trainer.global_step, run / FOLDER / LAST)
        if "loading state_dict" not in str(error):
            raise
        raise RunError(
            f"The checkpoint of another version of umanet found in {run / FOLDER / LAST}, one of this one expected. "
            "Go on with the version that the run was started with, or start a new run."
        ) from error
    finally:
        disconnect()
    if interrupted and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, on_interrupt)  # and leaves Ctrl-C switched off
    if interrupted or trainer.interrupted:
        kept = (
            f"{run / FOLDER / LAST} is kept" if (run / FOLDER / LAST).exists() else "no checkpoint had been written yet"
        )
        raise Interrupted(
            f"Interrupted at step {trainer.global_step} of {trainer.max_steps}: {kept}. Go on with --resume auto."
        ) from None
    log.info("Trained %d steps in %.0f s", trainer.global_step, time.monotonic() - started)


def _release(trainer: pl.Trainer, module: TrainingModule, index: DatasetIndex, config: RunConfig, run: Path) -> None:
    best = run / FOLDER / BEST
    if config.trainer.release == "best" and best.exists():
        module.load_state_dict(read_checkpoint(best)["state_dict"])
    save_model(module.method, index, config, run)
