import csv

from umanet.training.metrics_file import METRICS, MetricsFile


def log(run, *rows):
    """Every row begins with the number of steps that are done."""
    steps = iter([done for done, _ in rows])
    logger = MetricsFile(run, lambda: next(steps))
    for _, metrics in rows:
        logger.log_metrics(metrics, 77)


def rows_of(run):
    with (run / METRICS).open() as file:
        return [list(row.items()) for row in csv.DictReader(file)]


def test_what_is_logged_apart_at_one_step_is_one_row(tmp_path):
    log(
        tmp_path,
        (2, {"soft_dice": 0.5, "epoch": 0}),
        (2, {"loss": 2.0, "epoch": 0}),
        (4, {"loss": 1.5, "epoch": 1, "late": 7.0}),
    )
    assert rows_of(tmp_path) == [
        [("step", "2"), ("epoch", "0"), ("late", ""), ("loss", "2.0"), ("soft_dice", "0.5")],
        [("step", "4"), ("epoch", "1"), ("late", "7.0"), ("loss", "1.5"), ("soft_dice", "")],
    ]


def test_a_resumed_run_goes_on_and_replaces_a_step_that_it_does_again(tmp_path):
    log(tmp_path, (2, {"loss": 0.1 + 0.2, "epoch": 0}), (4, {"loss": 9.0, "epoch": 1}))  # no checkpoint after 4
    log(tmp_path, (4, {"loss": 1.0, "epoch": 1}))
    assert [row[2] for row in rows_of(tmp_path)] == [("loss", str(0.1 + 0.2)), ("loss", "1.0")]
