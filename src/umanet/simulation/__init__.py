"""Simulated annotators of known faults, phantoms, and data sets made of them.

Import ``simulate`` from ``umanet.simulation.simulate``: it reads and writes images, the others are arrays only.
"""

from umanet.simulation.annotators import Recipe, annotate
from umanet.simulation.phantoms import brain_tumour, breast_dce, chest_xray, ellipsoids, fundus, write_phantoms
from umanet.simulation.scenarios import SCENARIOS, Scenario, annotate_case

__all__ = [
    "SCENARIOS",
    "Recipe",
    "Scenario",
    "annotate",
    "annotate_case",
    "brain_tumour",
    "breast_dce",
    "chest_xray",
    "ellipsoids",
    "fundus",
    "write_phantoms",
]
