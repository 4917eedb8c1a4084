from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Demo:
    """Make a phantom data set with five annotators, train on it, grade them: minutes."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("demo")
    """A new folder for everything that is made."""
    seed: int = 0
    """Of phantoms, annotators and training."""

    def run(self) -> None:
        from umanet.demo import demo

        demo(self.output, seed=self.seed)
