"""Phantoms: images whose truth is known because they were drawn from it. For demo, tests and benchmarks."""

from umanet.simulation.phantoms.brain_tumour import brain_tumour
from umanet.simulation.phantoms.breast_dce import breast_dce
from umanet.simulation.phantoms.chest_xray import chest_xray
from umanet.simulation.phantoms.ellipsoids import ellipsoids
from umanet.simulation.phantoms.files import write_phantoms
from umanet.simulation.phantoms.fundus import fundus

__all__ = ["brain_tumour", "breast_dce", "chest_xray", "ellipsoids", "fundus", "write_phantoms"]
