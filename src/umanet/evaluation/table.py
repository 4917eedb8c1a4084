"""Scores and differences as tables of text: for a terminal, or ready to paste as Markdown or LaTeX."""

import re
from dataclasses import dataclass
from typing import Literal

from umanet.evaluation.comparison import Comparison
from umanet.evaluation.evaluation import Evaluation
from umanet.evaluation.protocol import METRICS
from umanet.evaluation.scores import Row

Layout = Literal["table", "markdown", "latex"]

DIGITS = {"table": 4, "markdown": 3, "latex": 3}
ARROWS = {"higher": "↑", "lower": "↓"}
LEAST_P = 0.001
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "<": "$<$", ">": "$>$", "|": "$|$", **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip
"""What LaTeX would take for a command, or print as another letter."""
MINUS = re.compile(r"(?<![\w-])-(?=\d)")
"""A hyphen that is one: before a number, and not within a name."""
WORDS = re.compile(r"class$|metric$|method$|annotator$")
"""Columns of words stand to the left, numbers to the right."""


@dataclass(frozen=True)
class Table:
    """Text, cell by cell; all rows have the same columns.

    Attributes:
        title: What it shows.
        rows: Column to text.
    """

    title: str
    rows: list[dict[str, str]]

    def markdown(self) -> str:
        columns = list(self.rows[0])
        rules = ["---" if WORDS.match(name) else "---:" for name in columns]
        lines = [columns, rules, *(list(row.values()) for row in self.rows)]
        cells = ("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
        return "\n".join([self.title, "", *cells])

    def latex(self) -> str:
        columns = list(self.rows[0])
        places = "".join("l" if WORDS.match(name) else "r" for name in columns)
        header, *body = (
            " & ".join(map(escaped, line)) + r" \\" for line in (columns, *(r.values() for r in self.rows))
        )
        return "\n".join([
            r"% Needs \usepackage{booktabs}.", r"\begin{table}", r"\centering", rf"\caption{{{escaped(self.title)}}}",
            rf"\begin{{tabular}}{{{places}}}", r"\toprule", header, r"\midrule", *body, r"\bottomrule",
            r"\end{tabular}", r"\end{table}",
        ])  # fmt: skip


def scores_table(evaluation: Evaluation, layout: Layout = "table") -> Table:
    """A row per class and metric; of several classes their mean first."""
    said = evaluation.protocol
    return Table(f"{_about(said)}: means with {_over(layout)}", [
        {"class": row["class"], **_metric(row["metric"], said, layout), **_mean(row, layout), **_counts(row)}
        for row in evaluation.summary_rows()
    ])  # fmt: skip


def annotators_table(evaluation: Evaluation, layout: Layout = "table") -> Table:
    """A row per annotator and class."""
    return Table(f"{_about(evaluation.protocol)}: Dice of the prediction with each annotator, with {_over(layout)}", [
        {"annotator": row["annotator"], "class": row["class"], **_mean(row, layout), **_counts(row)}
        for row in evaluation.annotator_rows()
    ])  # fmt: skip


def differences_table(comparison: Comparison, layout: Layout = "table") -> Table:
    """A row per class, metric and method. Where there is no p, it says why."""
    said = comparison.protocol
    corrected = said["correction"]["name"] != "none" and len(said["methods"]) > 1
    about = said["evaluation"]
    rows = []
    for row in comparison.rows:
        cells = {"class": row["class"], **_metric(row["metric"], about, layout), "method": row["method"]}
        cells["baseline"] = number(row["baseline_mean"], DIGITS[layout])
        cells["mean"] = number(row["mean"], DIGITS[layout])
        cells |= _interval("difference", row, layout, sign="+")
        cells["p"] = row["note"] or p_value(row["p"])
        if corrected:
            cells["p (Holm)"] = p_value(row["p_corrected"])
        rows.append(cells | {"cases": str(row["cases"]), "undefined": str(row["undefined"])})
    return Table(f"{_about(about)}: differences to {said['baseline']}, with {_over(layout)}", rows)


def metric_title(name: str, protocol: Row) -> str:
    """A metric in words; distances in the unit in which the protocol says that they were measured."""
    unit = protocol.get("distances", {}).get("unit", "mm")
    return METRICS[name].title.replace("(mm)", f"({unit})")


def number(value: float | None, digits: int, sign: str = "") -> str:
    """Empty where there is no value."""
    return "" if value is None else f"{value:{sign}.{digits}f}"


def p_value(value: float | None) -> str:
    if value is None:
        return ""
    return f"< {LEAST_P}" if value < LEAST_P else f"{value:.3f}"


def escaped(text: str) -> str:
    """For LaTeX."""
    return MINUS.sub("$-$", "".join(SPECIAL.get(letter, letter) for letter in text))


def _about(protocol: Row) -> str:
    return protocol["data"] if protocol["name"] == "default" else f"{protocol['data']}, protocol {protocol['name']}"


def _over(layout: Layout) -> str:
    return "95 % intervals over patients" if layout == "table" else "95 % bootstrap intervals over patients"


def _metric(name: str, protocol: Row, layout: Layout) -> dict[str, str]:
    """On a terminal the name that JSON has; to paste, words."""
    title = name if layout == "table" else metric_title(name, protocol)
    return {"metric": f"{title} {ARROWS[METRICS[name].better]}"}


def _mean(row: Row, layout: Layout) -> dict[str, str]:
    return _interval("mean", row, layout)


def _interval(key: str, row: Row, layout: Layout, sign: str = "") -> dict[str, str]:
    digits = DIGITS[layout]
    middle, low, high = (number(row[name], digits, sign) for name in (key, "low", "high"))
    if layout == "table":
        return {key: middle, "95 %": f"{low} to {high}" if low else ""}
    return {f"{key} [95 %]": f"{middle} [{low}, {high}]" if low else middle}


def _counts(row: Row) -> dict[str, str]:
    names = {"cases": "cases", "both_empty": "empty", "missed": "missed", "false": "false"}
    return {title: str(row[key]) for key, title in names.items()}
