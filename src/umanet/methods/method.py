"""The one interface of everything that learns from several annotations."""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.errors import TaskError
from umanet.types import AnnotationGrades, Batch, Case, Prediction, Sample, Task


class Method(nn.Module, ABC):
    """A network and the way it learns from several annotations. Subclasses are final.

    A method knows nothing of training, files or progress bars. It is built as ``METHODS[name](task, config)``. The
    docstring of its module names the paper under ``Reference:``.
    """

    deployed: ClassVar[tuple[str, ...]] = ("backbone", "primary")
    """The submodules that a released model keeps; ``predict`` needs no others."""

    per_annotator: ClassVar[bool] = False
    """Whether ``predict`` says what each annotator would draw."""
    samples: ClassVar[bool] = False
    """Whether ``predict`` draws samples."""
    needs_identity: ClassVar[bool] = False
    """Whether it learns the style of annotators, so that ``annotator1`` must be one and the same in all cases."""

    has_idle_parts: bool = False
    """Whether in some steps a parameter has no part at all. Several ranks must know."""

    def __init__(self, task: Task, config: RunConfig):
        super().__init__()

    @abstractmethod
    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        """Named terms whose sum is minimised. ``progress`` runs from 0 to 1 over the training."""

    @abstractmethod
    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        """Class probabilities of prepared (resampled, normalised) images."""

    def trains_on(self, case: Case) -> bool:
        """Whether the case has what the method learns from."""
        return bool(case.annotations)

    def target(self, sample: Sample, epoch: int) -> Float[Tensor, "K *spatial"] | None:
        """The fused target, or None where the method takes the annotations as they are.

        Of a whole case; where it depends on the epoch, of each patch.
        """
        return None

    target_depends_on_epoch: bool = False
    """False: a target is made once and kept."""

    @property
    def has_target(self) -> bool:
        """Whether ``target`` makes any."""
        return type(self).target is not Method.target

    def monitor(self) -> dict[str, float]:
        """What a person who watches the training wants to see besides the losses."""
        return {}


def require_identified(task: Task, method: str) -> None:
    """Refuse annotators who are not one person each.

    Raises:
        TaskError: They are anonymous.
    """
    if not task.annotators_are_identified:
        raise TaskError(
            f"Anonymous annotators found, identified ones expected by {method!r}: it learns how each annotator draws, "
            f"and {task.annotators[0]!r} is not one person across cases. Choose another --method: `umanet methods`."
        )


@runtime_checkable
class GradesAnnotations(Protocol):
    """The capability of methods that can say how good an annotation is."""

    def grade(self, batch: Batch) -> AnnotationGrades:
        """Uncertainty, quality and consensus of the annotations of prepared images."""
        ...

    def own_uncertainty(self, batch: Batch) -> tuple[Float[Tensor, "B R *spatial"], Float[Tensor, "B K *spatial"]]:
        """What ``assess`` needs: ``-log w`` of every annotation by itself, >= 0, and the class probabilities."""
        ...

    def assess(
        self,
        own_uncertainty: Float[Tensor, "B R *spatial"],
        probabilities: Float[Tensor, "B K *spatial"],
        annotations: Integer[Tensor, "B R *spatial"],
        present: Bool[Tensor, "B R"],
    ) -> AnnotationGrades:
        """The grades that follow from ``own_uncertainty``: for maps that were stitched, or brought to another grid."""
        ...

    def annotator_reliability(self) -> Float[Tensor, " R"] | None:
        """P(right) of each annotator where annotators disagree, in (0, 1).

        NaN of annotators who were not in the training; None where annotators are anonymous.
        """
        ...

    def with_annotators(self, annotators: tuple[str, ...], drawn: tuple[tuple[int, ...], ...] = ()) -> "Method":
        """A copy that grades annotations of these annotators, in this order; new ones count as average.

        ``drawn`` is that of their ``Task``.
        """
        ...
