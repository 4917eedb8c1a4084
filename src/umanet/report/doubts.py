"""Graded annotations and images: all of them in a table, the most doubtful as cards with pictures."""

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, UInt8

from umanet.data.case_size import largest_case
from umanet.data.index import DatasetIndex
from umanet.executor import INLINE, Executor
from umanet.grading import (
    DOUBTFUL,
    GradedCase,
    annotation_rows,
    for_annotators,
    graded_case,
    grader_for,
    rank_annotators,
)
from umanet.inference.model_file import Model
from umanet.report.pictures import (
    Outline,
    Picture,
    any_of,
    cross,
    displayed,
    outline,
    picture,
    picture_of_annotations,
    styles_of,
)
from umanet.report.reasons import Grid, Reason, comparable, find_reasons, sizes
from umanet.report.view import View, find_view
from umanet.types import IGNORE, Case

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
MOST_REASONS = 3
MOST_IMAGES = 24


@dataclass(frozen=True)
class Card:
    """A doubtful annotation; ``row`` is that of ``quality.csv``."""

    row: dict[str, Any]
    reasons: list[Reason]
    place: str
    outlines: Picture
    heat: Picture


@dataclass(frozen=True)
class Empty:
    """An annotation without anything where the consensus has something: ``lacks`` says what, class by class."""

    row: dict[str, Any]
    lacks: str


@dataclass(frozen=True)
class ImageCard:
    """An image of low quality, and the quality of each of its annotations."""

    case: str
    quality: float
    low: bool
    split: str
    place: str
    annotations: list[dict[str, Any]]
    picture: Picture


@dataclass(frozen=True)
class Doubts:
    """What grading found. ``table`` is that of ``quality.csv``, ``ranking`` the annotators from best to worst.

    ``empties`` have no card: they are many where objects are small, look all alike, and would crowd out what can be
    seen.
    """

    table: pd.DataFrame
    ranking: list[dict[str, Any]]
    empties: list[Empty]
    cards: list[Card]
    images: list[ImageCard]

    @property
    def low(self) -> int:
        return int(self.table.low.sum())

    @property
    def kinds(self) -> dict[str, int]:
        """How many cards have a reason of this kind, be it not the gravest."""
        each = (dict.fromkeys(reason.kind for reason in card.reasons) for card in self.cards)
        return dict(Counter(kind for kinds in each for kind in kinds).most_common())

    @property
    def cases(self) -> pd.DataFrame:
        """A row per image, worst first."""
        images = self.table.groupby("case", as_index=False).agg(
            split=("split", "first"),
            image_quality=("image_quality", "first"),
            image_low=("image_low", "first"),
            annotations=("quality", "size"),
            lowest=("quality", "min"),
        )
        return images.sort_values(["image_quality", "case"])


class Lowest(Generic[Item]):
    """The items with the lowest values of all that are offered, made only when they are among these."""

    def __init__(self, most: int):
        self.most = most
        self._heap: list[tuple[float, int, Item]] = []
        self._count = itertools.count()

    def offer(self, value: float, make: Callable[[], Item]) -> None:
        # Later ones do not displace earlier ones of the same value: the order of the table.
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, (-value, -next(self._count), make()))
        elif self.most and value < -self._heap[0][0]:
            heapq.heapreplace(self._heap, (-value, -next(self._count), make()))

    @property
    def items(self) -> list[Item]:
        """Lowest first."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))]


def find_doubts(
    model: Model,
    index: DatasetIndex,
    split: str | None,
    most_cards: int,
    progress: Progress,
    executor: Executor = INLINE,
    run: Path | None = None,
) -> Doubts | None:
    """Grade all annotations of a split and draw the most doubtful; None where there is no annotation.

    Other processes grade the cases that are drawn a second time: what a drawing needs is too large to be sent.

    Raises:
        TaskError: The data set is of another task than the model.
        ConfigError: Other processes are to load the model, and ``run`` is not given.
        ExecutorError: A case cannot be done, as its worker dies each time.
    """
    model = for_annotators(model, index)
    ready, small = grader_for(model, index, executor, run), index.without_cases()
    cases = [case for case in index.select(split) if case.annotations]
    rows: list[dict[str, Any]] = []
    empties: list[Empty] = []
    cards, images = Lowest[Any](most_cards), Lowest[Any](min(MOST_IMAGES, most_cards))
    look = partial(_look, ready=ready, index=small, keep=not executor.elsewhere)
    with executor.map(look, cases, [case.id for case in cases], partial(largest_case, cases)) as results:
        for done, one in enumerate(results, start=1):
            for row in one.visible:
                cards.offer(row["quality"], partial(one.card, row))
            if not math.isnan(one.rows[0]["image_quality"]):
                images.offer(one.rows[0]["image_quality"], one.image_card)
            empties += one.empties
            rows += one.rows
            progress(done, len(cases))
    if not rows:
        return None
    table = pd.DataFrame(rows).sort_values(["quality", "case", "annotator"], ignore_index=True)
    empties.sort(key=lambda one: (one.row["quality"], one.row["case"], one.row["annotator"]))
    drawn = cards.items, images.items
    if executor.elsewhere:
        drawn = _drawn(*drawn, cases, partial(_draw, ready=ready, index=small), executor)
    return Doubts(table, rank_annotators(table, model.method, index), empties, *drawn)


@dataclass(frozen=True)
class _Looked:
    """A graded case: its rows, those that a card can show, and what draws them, where that is at hand."""

    rows: list[dict[str, Any]]
    visible: list[dict[str, Any]]
    empties: list[Empty]
    drawing: "_Drawing | None"

    def card(self, row: dict[str, Any]) -> Card | dict[str, Any]:
        """Or the row, to be drawn later; so is ``image_card``."""
        return self.drawing.card(row) if self.drawing else row

    def image_card(self) -> ImageCard | list[dict[str, Any]]:
        return self.drawing.image_card(self.rows) if self.drawing else self.rows


def _look(case: Case, ready: Callable[[], Model], index: DatasetIndex, *, keep: bool) -> _Looked:
    graded = graded_case(ready(), case, index)
    rows, drawing = annotation_rows(graded, index.annotators), _Drawing(graded, index)
    empties = [row for row in rows if row["empty"] and drawing.compared(row)[1].any()]
    visible = [row for row in rows if row not in empties and not math.isnan(row["quality"])]
    of_nothing = [Empty(row, drawing.sizes(row)) for row in empties]
    return _Looked(rows, visible, of_nothing, drawing if keep else None)


def _drawn(
    cards: list[dict[str, Any]],
    images: list[list[dict[str, Any]]],
    cases: list[Case],
    draw: Callable[[Any], tuple[list[Card], list[ImageCard]]],
    executor: Executor,
) -> tuple[list[Card], list[ImageCard]]:
    """The cards of rows, and the image cards of all rows of a case, drawn case by case; in the order given."""
    of_card, of_image = Counter(row["case"] for row in cards), {rows[0]["case"]: rows for rows in images}
    chosen = [case for case in cases if case.id in of_card or case.id in of_image]
    items = [(case, [row for row in cards if row["case"] == case.id], of_image.get(case.id)) for case in chosen]
    found: dict[tuple[str, str], Card] = {}
    shown: dict[str, ImageCard] = {}
    with executor.map(draw, items, [case.id for case in chosen], partial(largest_case, chosen)) as results:
        for own, of_images in results:
            found |= {(card.row["case"], card.row["annotator"]): card for card in own}
            shown |= {card.case: card for card in of_images}
    return [found[row["case"], row["annotator"]] for row in cards], [shown[rows[0]["case"]] for rows in images]


def _draw(
    item: tuple[Case, list[dict[str, Any]], list[dict[str, Any]] | None],
    ready: Callable[[], Model],
    index: DatasetIndex,
) -> tuple[list[Card], list[ImageCard]]:
    case, rows, of_image = item
    drawing = _Drawing(graded_case(ready(), case, index), index)
    return [drawing.card(row) for row in rows], [] if of_image is None else [drawing.image_card(of_image)]


class _Drawing:
    """A graded case, and what its pictures share."""

    def __init__(self, graded: GradedCase, index: DatasetIndex):
        self.graded, self.index = graded, index

    @cached_property
    def image(self) -> Float32[np.ndarray, "C *spatial"]:
        return displayed(self.graded.sample.image.numpy(), self.index)

    @cached_property
    def consensus(self) -> UInt8[np.ndarray, "*spatial"]:
        return self.graded.grades.consensus[0].numpy().argmax(0).astype(np.uint8)

    def compared(self, row: dict[str, Any]) -> tuple[UInt8[np.ndarray, "*spatial"], UInt8[np.ndarray, "*spatial"]]:
        """An annotation and what the consensus has of its classes, both where the annotation says something."""
        drawn = self.graded.sample.annotations[self.index.annotators.index(row["annotator"])].numpy()
        return comparable(drawn, self.consensus, self.index.drawn_by(row["annotator"]))

    def sizes(self, row: dict[str, Any]) -> str:
        """Of what the consensus has."""
        geometry = self.graded.sample.geometry
        grid = Grid(tuple(geometry.spacing), geometry.spacing_is_known)
        return sizes(self.compared(row)[1], self.index.task.classes, grid)

    def card(self, row: dict[str, Any]) -> Card:
        sample, number = self.graded.sample, self.index.annotators.index(row["annotator"])
        drawn, consensus = self.compared(row)
        silent = sample.annotations[number].numpy() == IGNORE
        uncertainty = self.graded.grades.uncertainty[0, number].numpy()
        wrong, doubted = -np.expm1(-uncertainty), uncertainty > DOUBTFUL
        there = _doubt(drawn != consensus, wrong, doubted)
        lined = any_of(drawn, consensus)
        where = tuple(map(int, row["where"].split()))
        wide = find_view(sample.geometry, lined | doubted, there, where)
        close = find_view(sample.geometry, lined if lined.any() else doubted, there, where)
        if not close.of(lined).any():  # doubted in a slice where nothing is drawn
            close = wide
        found = find_reasons(
            drawn, consensus, self.index.task.classes, sample.geometry.spacing,
            spacing_is_known=sample.geometry.spacing_is_known,
        )  # fmt: skip
        whose = f"{row['case']}, annotation of {row['annotator']}"
        lines = (("consensus", consensus), ("drawn", drawn))
        says = f"{whose}, and the consensus, outlined on the image: {found[0].text}"
        wrong_at = f"{whose}: probability of being wrong"
        heat = picture(self.image, wide, (("thin", drawn),), wrong_at, heat=wrong, silent=silent)
        elsewhere = wide.elsewhere(drawn > 0)
        return Card(
            row, found[:MOST_REASONS], wide.place + (f", the annotation is in {elsewhere}" if elsewhere else ""),
            picture(self.image, close, lines, says, silent=silent),
            _marked(heat, wide, close, where, drawn.shape),
        )  # fmt: skip

    def image_card(self, rows: list[dict[str, Any]]) -> ImageCard:
        styles = styles_of(self.index.annotators)
        shown, place = picture_of_annotations(self.graded.sample, self.index, self.image, self.consensus)
        return ImageCard(
            self.graded.case.id, rows[0]["image_quality"], rows[0]["image_low"], rows[0]["split"], place,
            [{"name": row["annotator"], "style": styles[row["annotator"]], **row} for row in rows], shown,
        )  # fmt: skip


def _doubt(
    differs: Bool[np.ndarray, "*spatial"],
    wrong: Float[np.ndarray, "*spatial"],
    doubted: Bool[np.ndarray, "*spatial"],
) -> Float[np.ndarray, "*spatial"]:
    """Where the annotation differs and is doubted; else where it is doubted at all."""
    there = wrong * differs
    return there if there.any() else wrong * doubted


def _marked(heat: Picture, wide: View, close: View, where: tuple[int, ...], shape: tuple[int, ...]) -> Picture:
    """With a cross at the place that the table names, and a frame around the close view."""
    marks = []
    if where:
        there = np.zeros(shape, dtype=bool)
        there[where] = True
        marks.append(Outline("place", cross(wide.take(there), heat.width, heat.height)))
    if close.box != wide.box:
        inside = np.zeros(shape, dtype=np.uint8)
        close.of(inside)[...] = 1
        marks.append(Outline("close", outline(wide.take(inside), heat.width, heat.height)))
    return replace(heat, outlines=(*heat.outlines, *marks))
