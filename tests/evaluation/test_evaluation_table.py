import re

import numpy as np
import pytest

from umanet.evaluation import annotators_table, compare, differences_table, evaluate, scores_table
from umanet.evaluation.table import escaped, p_value

NAME = "50 % of A_1 & B"


@pytest.fixture
def found(flat):
    """One of three cases is missed; the data set has a name full of what LaTeX takes for commands."""
    for number in range(3):
        mask = np.full(4, number < 2)
        flat.add(f"c{number}", mask, truth=[1] * 4, annotations=[[1] * 4, [1] * 4])
    return evaluate(flat.predictions / "labels", flat.index.model_copy(update={"name": NAME}))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_table_for_a_terminal_has_the_names_and_numbers_of_the_file(found):
    row = scores_table(found).rows[0]
    low, high = found.summary["dice"]["ci95"]
    assert row == {
        "class": "lung", "metric": "dice ↑", "mean": "0.6667", "95 %": f"{low:.4f} to {high:.4f}", "cases": "3",
        "empty": "0", "missed": "1", "false": "0",
    }  # fmt: skip
    assert len(scores_table(found).rows) == len(found.summary)


def test_a_markdown_table_is_one(found):
    title, empty, header, rule, *rows = scores_table(found, "markdown").markdown().splitlines()
    assert title == f"{NAME}: means with 95 % bootstrap intervals over patients" and empty == ""
    assert cells(header) == ["class", "metric", "mean [95 %]", "cases", "empty", "missed", "false"]
    assert cells(rule) == ["---", "---", "---:", "---:", "---:", "---:", "---:"]
    assert {len(cells(row)) for row in rows} == {7} and len(rows) == len(found.summary)
    low, high = found.summary["dice"]["ci95"]
    assert cells(rows[0]) == ["lung", "Dice ↑", f"0.667 [{low:.3f}, {high:.3f}]", "3", "0", "1", "0"]
    # Distances are in pixels here, whatever their key is called; one case has none.
    assert cells(rows[2])[1:4] == ["HD95 (voxels) ↓", "0.000 [0.000, 0.000]", "2"]


def test_a_latex_table_has_as_many_cells_as_columns_and_no_stray_command(found):
    text = scores_table(found, "latex").latex()
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert columns and columns[1] == "llrrrrr"
    assert len(lines) == 1 + len(found.summary)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {6}
    assert r"\caption{50 \% of A\_1 \& B: means" in text
    assert re.search(r"(?<!\\)[%_#]", text.removeprefix("%")) is None
    assert "↑" not in text and r"Dice $\uparrow$" in text


def test_what_latex_takes_for_commands_is_escaped():
    assert escaped(r"a_b & 5 % {x} ~ ^ \ $ #") == (
        r"a\_b \& 5 \% \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$ \#"
    )


def test_signs_are_printed_as_such():
    # In its text fonts LaTeX prints < as an inverted exclamation mark, and a hyphen for a minus.
    assert escaped("-0.005 [-0.010, +0.001]") == "$-$0.005 [$-$0.010, +0.001]"
    assert escaped(p_value(0.0004)) == "$<$ 0.001" and escaped("lidc-2d, a|b > c") == "lidc-2d, a$|$b $>$ c"


def test_annotators_have_a_table(found):
    (first, second) = annotators_table(found, "markdown").rows
    assert (first["annotator"], second["annotator"]) == ("a0", "a1")
    assert first["mean [95 %]"].startswith("0.667 [") and first["missed"] == "1"


def test_differences_have_a_table_that_says_why_there_is_no_test(found):
    rows = differences_table(compare({"mean": found, "other": found})).rows
    assert list(rows[0]) == [
        "class", "metric", "method", "baseline", "mean", "difference", "95 %", "p", "cases", "undefined"
    ]  # fmt: skip
    assert rows[0]["difference"] == "+0.0000" and rows[0]["baseline"] == rows[0]["mean"] == "0.6667"
    assert rows[0]["p"] == "no patient differs"
    three = differences_table(compare({"one": found, "two": found, "three": found}), "latex")
    assert "p (Holm)" in three.rows[0] and [row["method"] for row in three.rows[:2]] == ["two", "three"]
    assert "95 %" not in three.rows[0] and three.rows[0]["difference [95 %]"] == "+0.000 [+0.000, +0.000]"
    uncorrected = compare({"one": found, "two": found, "three": found}, correction="none")
    assert "p (Holm)" not in differences_table(uncorrected).rows[0]


def test_a_small_p_is_said_to_be_small():
    assert [p_value(p) for p in (None, 0.0004, 0.001, 0.5)] == ["", "< 0.001", "0.001", "0.500"]


def test_a_protocol_other_than_the_default_is_named(flat):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1], [0, 1, 1, 1]])
    assert scores_table(flat.evaluate(protocol="riga")).title.startswith("tiny, protocol riga: means with")
