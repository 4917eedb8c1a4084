"""The table of grade names bad annotations only where there are some."""

import pandas as pd
import pytest

from umanet.cli.grade import COLUMNS, Grade


@pytest.mark.parametrize(
    ("low", "title", "said"),
    [
        ([True, False, False], "The 3 worst of 3 annotations", "1 of 3 annotations are graded low"),
        ([False] * 3, "of least quality among 3 annotations; none is graded low", "No annotation stands out"),
    ],
)
def test_the_first_rows_are_called_worst_only_where_an_annotation_is_low(
    low, title, said, tmp_path, capsys, monkeypatch
):
    rows = pd.DataFrame({name: range(3) for name in COLUMNS} | {"low": low})
    monkeypatch.setattr("umanet.cli.grade.open_model", lambda *arguments, **options: None)
    monkeypatch.setattr("umanet.data.index.read_index", lambda path: None)
    monkeypatch.setattr("umanet.grading.grade", lambda *arguments, **options: rows)
    Grade(tmp_path, tmp_path, tmp_path / "new").run()
    shown = capsys.readouterr()
    assert title in shown.out and said in shown.err
    assert ("worst" in shown.out) == any(low)
