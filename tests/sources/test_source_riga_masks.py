"""DiscRegion, RIGA with masks: what the tables say is what is read."""

import logging

import numpy as np
import pytest

from fake_data.raw.riga_masks import write
from umanet.data.images import read_case
from umanet.data.sources.riga_masks import index
from umanet.errors import DatasetError


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path / "raw")


def test_disc_is_what_is_not_0_and_cup_is_255(raw, tmp_path):
    found = index(raw, tmp_path / "files")
    assert len(found.cases) == 15 and len(found.annotators) == 6
    case = next(case for case in found.cases if case.id == "BinRushed_BinRushed2_image3")
    drawn = read_case(case, found).annotations.numpy()
    disc, cup = (drawn > 0).sum((1, 2)), (drawn == 2).sum((1, 2))
    radii = np.arange(1, 7) / 2
    # The soft edge belongs to the disc.
    assert np.allclose(disc, np.pi * (19.5 + radii) ** 2, rtol=0.05)
    assert np.allclose(cup, np.pi * (8 + radii) ** 2, rtol=0.08)


def test_magrabia_is_for_testing_and_the_fused_label_is_nobody(raw, tmp_path):
    found = index(raw, tmp_path / "files")
    assert {case.id for case in found.cases if case.split == "test"} == {
        f"Magrabia_{group}_image{number}" for group in ("Male", "Female") for number in (1, 2, 3)
    }
    assert not any("FinalLabel" in str(path) for case in found.cases for path in case.annotations.values())


def test_tables_that_list_only_the_fused_label_lead_to_the_others(raw, tmp_path):
    expected = index(raw, tmp_path / "files")
    for table in raw.glob("*.csv"):
        header, *rows = table.read_text(encoding="gbk").splitlines()
        table.write_text("\n".join([header, *(row for row in rows if row.endswith(",0"))]), encoding="gbk")
    found = index(raw, tmp_path / "again")
    for old, new in zip(expected.cases, found.cases, strict=True):
        assert np.array_equal(read_case(old, expected).annotations, read_case(new, found).annotations)


def test_a_copy_of_a_table_is_refused(raw, tmp_path, caplog):
    (raw / "copy").mkdir()
    table = raw / "Glaucoma_multirater_Magrabia.csv"
    (raw / "copy" / table.name).write_bytes(table.read_bytes())
    with pytest.raises(DatasetError, match="1 fault found"):
        index(raw, tmp_path / "files")
    assert f"{table.name}: " in caplog.text and "found, one of them expected" in caplog.text


def test_a_missing_mask_is_named_and_may_be_left_out(raw, tmp_path, caplog):
    (raw / "DiscRegion/MESSIDOR/Rater4/MESSIDOR/image2.png").unlink()
    with caplog.at_level(logging.WARNING, "umanet"), pytest.raises(DatasetError, match="1 fault found"):
        index(raw, tmp_path / "files")
    assert "MESSIDOR_image2/annotator4: " in caplog.text
    found = index(raw, tmp_path / "again", leave_out=True)
    assert sum(len(case.annotations) for case in found.cases) == 15 * 6 - 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"imgName,mask\r\na,b\r\n", "imgName, mask found, the columns imgName, maskName, rater expected"),
        (b"\xff\xff", "cannot be read as CSV in GBK"),
        (b"", "no row found"),
    ],
)
def test_a_table_of_another_form_is_refused(raw, tmp_path, content, said):
    (raw / "Glaucoma_multirater_MESSIDOR.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        index(raw, tmp_path / "files")
