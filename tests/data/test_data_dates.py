"""Days of annotations: from a table into dataset.json and back."""

from datetime import date

import pytest

from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.data.dates import with_dates
from umanet.data.index import read_index, write_index
from umanet.errors import DatasetError

SHAPE = (8, 8)


def test_dates_go_round_and_the_other_annotations_keep_theirs(tmp_path):
    index = write_discs(tmp_path, SHAPE)
    table = tmp_path / "dates.csv"
    table.write_text("annotator,case,comment,date\nanna,disc1,late,2024-05-31\nbert,disc0,, 2023-01-02 \n")
    once = with_dates(index, table)
    assert once.cases[0].dates == {"bert": date(2023, 1, 2)} and once.cases[1].dates == {"anna": date(2024, 5, 31)}
    table.write_text("case,annotator,date\ndisc1,bert,2024-06-01\n")
    twice = with_dates(once, table)
    assert twice.cases[1].dates == {"anna": date(2024, 5, 31), "bert": date(2024, 6, 1)}
    write_index(twice, tmp_path / "dataset.json")
    assert read_index(tmp_path / "dataset.json") == twice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,annotator\n", "No column 'date' found"),
        ("case,annotator,date\ndisc9,anna,2024-05-31\n", "Case 'disc9' found in line 2"),
        ("case,annotator,date\ndisc1,ana,2024-05-31\n", "Did you mean 'anna'?"),
        ("case,annotator,date\ndisc1,anna,31.05.2024\n", "'31.05.2024' found in line 2 .*year-month-day expected"),
        ("case,annotator,date\ndisc1,anna\n", "The date '' found"),
        (
            "case,annotator,date\ndisc1,anna,2024-05-31\ndisc1,anna,2024-05-31\n",
            "A second date of disc1/anna .* line 3",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, text, message):
    (tmp_path / "dates.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        with_dates(write_discs(tmp_path, SHAPE), tmp_path / "dates.csv")


def test_a_file_that_is_no_table_is_refused(tmp_path):
    index = write_discs(tmp_path, SHAPE)
    with pytest.raises(DatasetError, match=r"No dates could be read from .*none\.csv"):
        with_dates(index, tmp_path / "none.csv")
    (tmp_path / "dates.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not a CSV file in UTF-8"):
        with_dates(index, tmp_path / "dates.csv")


def test_a_date_without_an_annotation_is_refused(tmp_path):
    index = write_discs(tmp_path, SHAPE)
    table = tmp_path / "dates.csv"
    table.write_text("case,annotator,date\ndisc1,anna,2024-05-31\n")
    write_index(with_dates(index, table), tmp_path / "dataset.json")
    text = (tmp_path / "dataset.json").read_text()
    (tmp_path / "dataset.json").write_text(text.replace('"anna": "2024-05-31"', '"nobody": "2024-05-31"'))
    with pytest.raises(DatasetError, match="A date of 'nobody' found for case 'disc1'"):
        read_index(tmp_path / "dataset.json")


def test_import_takes_a_table_of_dates(tmp_path, capsys):
    write_discs(tmp_path / "raw", SHAPE)
    (tmp_path / "dates.csv").write_text("case,annotator,date\ndisc1,anna,2024-05-31\n")
    words = ["import", "folder", str(tmp_path / "raw"), "-o", str(tmp_path / "d.json"), "--dates"]
    assert main([*words, str(tmp_path / "none.csv")]) == 2
    assert not (tmp_path / "d.json").exists()
    assert main([*words, str(tmp_path / "dates.csv")]) == 0
    dated = [case for case in read_index(tmp_path / "d.json").cases if case.dates]
    assert [(case.id, case.dates) for case in dated] == [("disc1", {"anna": date(2024, 5, 31)})]
