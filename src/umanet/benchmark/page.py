"""The results of a suite as a table of rows, and as a page: means, differences to the best fusion, ranks, cost."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from umanet.benchmark.digest import code_digest, method_digest
from umanet.benchmark.family_chart import draw_family, families
from umanet.benchmark.plan import plan_rows
from umanet.benchmark.ranks_chart import draw_ranks
from umanet.benchmark.row import Row
from umanet.benchmark.run import Results
from umanet.benchmark.scores import (
    TRUTH,
    Scores,
    best,
    by_contestant,
    differences,
    mean_of,
    ranks,
)
from umanet.benchmark.suite import Data, Suite
from umanet.data.files import replace_file
from umanet.data.result_files import to_csv
from umanet.errors import counted
from umanet.evaluation.protocol import METRICS
from umanet.fusion import FUSIONS
from umanet.metrics.interval import PairedDifference

SEVERAL = {
    "ensemble": "An ensemble trains several networks.", "co-teaching": "Co-teaching trains two networks.",
}  # fmt: skip
"""Methods whose steps are not those of one network."""
WIDTH = 120
FEW = 5
"""Seeds, below which an interval is mostly Student's t."""
RANKS = "ranks.png"
GRADES = ("consensus_dice", "uncertainty_auroc", "quality_auroc", "quality_average_precision", "quality_spearman",
          "annotations", "poor_annotations")  # fmt: skip
"""As ``against_truth`` has them."""
SHOWN_GRADES = {
    "quality_auroc": "AUROC of quality", "quality_average_precision": "average precision",
    "quality_spearman": "Spearman", "uncertainty_auroc": "AUROC of uncertainty", "consensus_dice": "Dice of consensus",
}  # fmt: skip
"""With their heads in the table."""
Place = tuple[str, str]
"""Data and scenario."""


def write_results(suite: Suite, results: Results, output: Path, command: str, made_on: Sequence[str] = ()) -> Path:
    """Write ``results.csv`` (a row per row), ``results.md`` and its pictures; returns the page.

    Args:
        suite: What is compared.
        results: The rows with their results.
        output: A folder that exists.
        command: What made them.
        made_on: The machines.
    """
    replace_file(output / "results.csv", to_csv(_flat(suite, results)))
    ranked = ranks(suite, results)
    (output / RANKS).unlink(missing_ok=True)  # there may have been more to rank
    if len(ranked) > 1:
        draw_ranks({name: [rank.place for rank in own] for name, own in ranked.items()}, output / RANKS)
    for data in suite.data:
        for family, methods in families(_intervals(data, results)).items():
            draw_family(family, methods, f"{data.metrics[0]}, {data.name}", output / _picture(data, family))
    replace_file(output / "results.md", page(suite, results, command, made_on).encode())
    return output / "results.md"


def page(suite: Suite, results: Results, command: str, made_on: Sequence[str] = ()) -> str:
    """The page in Markdown."""
    lines = [f"# {suite.name}", "", *([suite.about, ""] if suite.about else [])]
    rates = ", ".join(f"{rate:g}" for rate in suite.learning_rates)
    if len(suite.learning_rates) > 1:
        others = " (other folds test these)" if any(data.folds for data in suite.data) else ""
        rates = f"of {rates} the best on the validation cases of the first scenario, seed and fold{others}"
    lines += [
        f"Command: `{command}`; umanet {version('umanet')}.",
        f"Code {code_digest()[:12]}, methods {_methods_digest(suite)}.",
        f"{progress_of(suite, results)}.",
        *([f"Made on {'; '.join(made_on)}."] if made_on else []),
        "",
        f"Seeds {', '.join(map(str, suite.seeds))}; budget of every network: `{json.dumps(suite.config)}`.",
        f"Learning rate of every method: {rates or 'as configured'}.",
        *_about(suite),
        "",
    ]
    for place in _places(results):
        lines += _section(suite, results, place)
        lines += _grading_section(results, place)
    for data in suite.data:
        for family in families(_intervals(data, results)):
            lines += [f"## {data.name}, {family}", "", f"![{family}]({_picture(data, family)})", ""]
    lines += _rank_section(suite, results)
    lines += _left_out(suite, results)
    return "\n".join(lines).rstrip() + "\n"


def _about(suite: Suite) -> list[str]:
    """How to read the tables, of what is in them."""
    metrics = {metric for data in suite.data for metric in data.metrics}
    methods = {one.method for one in suite.contestants}
    over = "seeds (by Student's t) and patients" if len(suite.seeds) > 1 else "patients, given this seed"
    baseline = suite.baseline or "the fused baseline with the best mean"
    trained = [
        "Nothing else was searched: UMA-Net's options are what its development arrived at, those of the others as "
        "published or as their files say; all are our own implementations.",
        *(said for method, said in SEVERAL.items() if method in methods),
    ]
    if any(one.consensus_of for one in suite.contestants):
        trained.append("A consensus first trains the network that makes it, at the same rate.")
    read = [f"Means over test cases, seeds and folds, with 95 % intervals over {over}."]
    if 1 < len(suite.seeds) < FEW:
        read.append("So few seeds make them wide; they may leave the range of the metric.")
    read.append(
        f"Difference: to {baseline}, paired by case, in points (hundredths); p of Wilcoxon's test over patients, given "
        "these runs, after Holm: where it is small although the interval holds 0, other seeds may turn the difference."
    )
    if TRUTH in methods:
        read.append(
            "Gap: the share of the way from the fused baseline with the best mean to training on the truth, where that "
            "is the better for certain, and between the best variants of both (another loss, say)."
        )
    read.append(
        "Training time: median of the rows that were not interrupted. Memory: the most that any of their processes "
        "had, what it imports included, and of a GPU if there is one."
    )
    if any(METRICS[metric].part.startswith("calibration") for metric in metrics):
        read.append(
            "Calibration (ECE, Brier score) is measured near any annotation (or the truth) and near what the method "
            "draws itself, so over other voxels for each: who draws too much is measured where it is easily right, too."
        )
    return [*wrap(" ".join(trained), WIDTH), "", *wrap(" ".join(read), WIDTH)]


def progress_of(suite: Suite, results: Results) -> str:
    """How many rows are done, and what became of the others: ``2 rows of 12 done, 1 failed, 9 not done yet``."""
    status = Counter(result["status"] for _, result in results)
    lacking = len(_pending(suite, results))
    others = [f"{number} {what}" for what, number in status.items() if what != "done"]
    others += [f"{lacking} not done yet"] if lacking else []
    return ", ".join([f"{counted(status['done'], 'row')} of {len(results) + lacking} done", *others])


def _pending(suite: Suite, results: Results) -> list[Row]:
    """The rows that have no result yet, whatever their learning rates will be."""
    there = {_place(row) for row, _ in results}
    return [row for row in plan_rows(suite, Path()) if _place(row) not in there]


def _place(row: Row) -> tuple[str, str, str, int, int]:
    return row.data, row.scenario, row.contestant, row.seed, row.fold


def _methods_digest(suite: Suite) -> str:
    """Of the files of all its methods."""
    return hashlib.sha256("".join(map(method_digest, sorted(suite.taught))).encode()).hexdigest()[:12]


def _section(suite: Suite, results: Results, place: Place) -> list[str]:
    data = next(one for one in suite.data if one.name == place[0])
    own = [(row, result) for row, result in _done(results, place) if result["cases"]]
    if not own:
        return []
    first, *others = data.metrics
    scores = {metric: by_contestant(own, metric) for metric in data.metrics}
    better = METRICS[first].better
    wanted = len(suite.seeds) * max(1, data.folds)
    number = Counter(row.contestant for row, _ in own)
    most = max(number.values())
    whole = {name: one for name, one in scores[first].items() if number[name] == most}
    baseline = suite.baseline or best(whole, FUSIONS, better)
    baseline = baseline if baseline in scores[first] else None
    compared = differences(scores[first], baseline)
    gaps = _gaps(suite, whole, better)
    rows = []
    for name, one in scores[first].items():
        cells = [_show(*one.interval())]
        if baseline is not None:
            cells.append(_show_difference(*compared[name]) if name in compared else "")
        cells += [_show_share(one.share_of_gap(start, end, better)) for start, end in gaps.values()]
        cells += [_show(*scores[metric][name].interval()) if name in scores[metric] else "" for metric in others]
        part = "" if number[name] == wanted else f" ({number[name]} of {wanted} rows)"
        rows.append(
            [name + part, *cells, *_cost(suite, [(row, result) for row, result in own if row.contestant == name])]
        )
    heads = [f"{first} {_arrow(first)}", *([f"minus {baseline}"] if baseline else []), *gaps]
    heads += [f"{metric} {_arrow(metric)}" for metric in others]
    budget = f"With `{json.dumps(data.config)}`." if data.config else ""
    table = _table(["method", *heads, "learning rate", "train (s)", "memory (MiB)"], rows)
    return [f"## {place[0]}, {place[1]}", "", *([budget, ""] if budget else []), *table, ""]


def _gaps(suite: Suite, scores: dict[str, Scores], better: str) -> dict[str, tuple[Scores, Scores]]:
    """What lies between fused baselines and the truth: as they are, and of their best variants if both have any."""
    fused, true = (
        [one.name for one in suite.contestants if one.method in methods and one.consensus_of is None]
        for methods in (FUSIONS, (TRUTH,))
    )
    ends = {"gap": (best(scores, FUSIONS, better), best(scores, [TRUTH], better))}
    if all(scores.keys() & {*names} - {*FUSIONS, TRUTH} for names in (fused, true)):
        ends["gap, best variants"] = best(scores, fused, better), best(scores, true, better)
    return {head: (scores[low], scores[high]) for head, (low, high) in ends.items() if low and high}


def _intervals(data: Data, results: Results) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Of the first metric, by scenario and contestant."""
    found = {}
    for scenario in data.scenarios:
        own = [(row, result) for row, result in _done(results, (data.name, scenario)) if result["cases"]]
        found[scenario] = {name: one.interval() for name, one in by_contestant(own, data.metrics[0]).items()}
    return found


def _picture(data: Data, family: str) -> str:
    return f"{data.name}_{family}.png"


def _grading_section(results: Results, place: Place) -> list[str]:
    """Of methods that grade annotations, and of checkers."""
    graded: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for row, result in _done(results, place):
        if result.get("grading"):
            graded[row.contestant].append((row.seed, result["grading"]))
    if not graded:
        return []
    rows = []
    for name, grades in graded.items():
        counts = [sum(one[key] for _, one in grades) for key in ("poor_annotations", "annotations")]
        rows.append([name, *(_over_seeds(grades, key) for key in SHOWN_GRADES), f"{counts[0]} of {counts[1]}"])
    return [
        f"## Finding bad annotations: {place[0]}, {place[1]}", "",
        "Of training cases, against a truth that nobody saw. Quality: for annotations with a Dice below 0.6 (AUROC,",
        "average precision), and its rank correlation with the Dice (Spearman); uncertainty: for wrong voxels among",
        "all of the image, the easy ones far from any border included. Means over seeds, with the lowest and highest",
        "seed. Bad: how many of the annotations that have a quality.", "",
        *_table(["method", *(f"{head} ↑" for head in SHOWN_GRADES.values()), "bad"], rows), "",
    ]  # fmt: skip


def _over_seeds(grades: Sequence[tuple[int, dict[str, Any]]], key: str) -> str:
    """Mean over folds, then over seeds, with the range of these; nothing where no seed has a value."""
    by_seed: dict[int, list[float]] = defaultdict(list)
    for seed, one in grades:
        if one.get(key) is not None and not np.isnan(one[key]):
            by_seed[seed].append(one[key])
    means = [float(np.mean(values)) for values in by_seed.values()]
    return _show(float(np.mean(means)), min(means), max(means)) if means else ""


def _rank_section(suite: Suite, results: Results) -> list[str]:
    found = ranks(suite, results)
    if len(found) < 2:
        return []
    rows = []
    for name, own in found.items():
        beaten = np.mean([(rank.of - rank.place) / (rank.of - 1) for rank in own if rank.of > 1])
        rows.append([name, f"{np.mean([rank.place for rank in own]):.2f}", f"{100 * beaten:.0f} %", str(len(own))])
    rows.sort(key=lambda cells: float(cells[1]))
    return [
        "## Mean ranks", "",
        "Over data, scenarios, seeds and folds that all methods have tried, with the variants that have tried all of",
        "them; 1 is best, and rows that failed are last. Where some cannot do a task there are fewer ranks: hence also",
        "the share of the others that a method beats. Networks that the truth has taught are no contestants.", "",
        f"![Ranks]({RANKS})", "", *_table(["method", "mean rank", "beats", "comparisons"], rows), "",
    ]  # fmt: skip


def _left_out(suite: Suite, results: Results) -> list[str]:
    missing = [(row, result) for row, result in results if result["status"] != "done"]
    pending = Counter((row.contestant, row.data) for row in _pending(suite, results))
    if not missing and not pending:
        return []
    why: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row, result in missing:
        fold = f" fold {row.fold}" if next(one for one in suite.data if one.name == row.data).folds else ""
        where = f"{row.data} {row.scenario} seed {row.seed}{fold}"
        said = (result["why"].splitlines() or [""])[0].replace("|", "\\|")
        why[row.contestant, result["status"], said].append(where)
    rows = [[name, status, ", ".join(dict.fromkeys(where)), reason] for (name, status, reason), where in why.items()]
    rows += [
        [name, "not done yet", f"{data}: {counted(number, 'row')}", ""] for (name, data), number in pending.items()
    ]
    return ["## Without a result", "", *_table(["method", "status", "where", "why"], rows), ""]


def _flat(suite: Suite, results: Results) -> list[dict[str, Any]]:
    metrics = list(dict.fromkeys(metric for data in suite.data for metric in data.metrics))
    rows = []
    for row, result in results:
        done = result["status"] == "done"
        rows.append(
            {
                "data": row.data, "scenario": row.scenario, "method": row.contestant, "seed": row.seed,
                "fold": row.fold, "status": result["status"], "why": result.get("why", ""),
                "learning_rate": row.learning_rate,
                **{metric: mean_of(result, metric) if done else None for metric in metrics},
                "validation": result.get("validation"),
                "train_seconds": result["seconds"]["train"] if done else None,
                "predict_seconds": result["seconds"]["predict"] if done else None,
                **{key: result.get(key) for key in ("memory_mib", "gpu_memory_mib")},
                **{f"grading_{key}": result.get("grading", {}).get(key) for key in GRADES},
            }
        )  # fmt: skip
    return rows


def _cost(suite: Suite, own: Results) -> list[str]:
    """Learning rates, median of the training times, most memory."""
    rates = sorted({row.learning_rate for row, _ in own if row.learning_rate is not None})
    seconds = [result["seconds"]["train"] for _, result in own if result["seconds"]["train"] is not None]
    memory = [
        f"{max(values):.0f}{where}"
        for key, where in (("memory_mib", ""), ("gpu_memory_mib", " on the GPU"))
        if (values := [result[key] for _, result in own if result.get(key) is not None])
    ]
    tried = suite.learning_rates
    edges = {min(tried): " (lowest tried)", max(tried): " (highest tried)"} if len(tried) > 1 else {}
    rate = ", ".join(f"{rate:g}{edges.get(rate, '')}" for rate in rates)
    lost = sorted({rate for _, result in own for rate in result.get("lost_rates", ())})
    rate += f"; without a result: {', '.join(f'{one:g}' for one in lost)}" if lost else ""
    return [rate, f"{np.median(seconds):.0f}" if seconds else "", ", ".join(memory)]


def _done(results: Results, place: Place) -> list[tuple[Row, dict[str, Any]]]:
    return [(row, one) for row, one in results if (row.data, row.scenario) == place and one["status"] == "done"]


def _places(results: Results) -> list[Place]:
    return list(dict.fromkeys((row.data, row.scenario) for row, _ in results))


def _arrow(metric: str) -> str:
    return "↓" if METRICS[metric].better == "lower" else "↑"


def _show_difference(one: PairedDifference, p: float | None) -> str:
    return _show(100 * one.mean, 100 * one.low, 100 * one.high, 2) + ("" if p is None else f", p {p:.2g}")


def _show_share(share: tuple[float, float, float] | None) -> str:
    """A method that is further below the baseline than the truth is above it closes no share worth a figure."""
    if share is None:
        return ""
    if share[0] < -1:
        return "< -100 %"
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * value for value in share))


def _show(mean: float, low: float, high: float, digits: int = 3) -> str:
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in [list(header), ["---"] * len(header), *rows]]
