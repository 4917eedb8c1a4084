"""What classes are in the words of DICOM: coded concepts of SNOMED CT."""

from umanet.data.index import ClassDefinition

Code = tuple[str, str, str]
"""Value, scheme, meaning, in the order of pydicom."""

ANATOMY: Code = ("91723000", "SCT", "Anatomical Structure")
ABNORMAL: Code = ("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE: Code = ("85756007", "SCT", "Tissue")
"""The category, and without a code of its own the type, of a class whose name says nothing. Other tools do so too."""

NEOPLASM: Code = ("108369006", "SCT", "Neoplasm")
OPTIC_DISC: Code = ("81016008", "SCT", "Optic nerve head")
VESSEL: Code = ("59820001", "SCT", "Blood Vessel")

KNOWN: dict[str, tuple[Code, Code]] = {
    "artery": (ANATOMY, ("51114001", "SCT", "Artery")),
    "bladder": (ANATOMY, ("89837001", "SCT", "Bladder")),
    "blood vessel": (ANATOMY, VESSEL),
    "brain": (ANATOMY, ("12738006", "SCT", "Brain")),
    "breast": (ANATOMY, ("76752008", "SCT", "Breast")),
    "clavicle": (ANATOMY, ("51299004", "SCT", "Clavicle")),
    "heart": (ANATOMY, ("80891009", "SCT", "Heart")),
    "hippocampus": (ANATOMY, ("5366008", "SCT", "Hippocampus")),
    "kidney": (ANATOMY, ("64033007", "SCT", "Kidney")),
    "lesion": (ABNORMAL, ("52988006", "SCT", "Lesion")),
    "liver": (ANATOMY, ("10200004", "SCT", "Liver")),
    "lung": (ANATOMY, ("39607008", "SCT", "Lung")),
    "mass": (ABNORMAL, ("4147007", "SCT", "Mass")),
    "neoplasm": (ABNORMAL, NEOPLASM),
    "nodule": (ABNORMAL, ("27925004", "SCT", "Nodule")),
    "optic disc": (ANATOMY, OPTIC_DISC),
    "optic disk": (ANATOMY, OPTIC_DISC),
    "pancreas": (ANATOMY, ("15776009", "SCT", "Pancreas")),
    "prostate": (ANATOMY, ("41216001", "SCT", "Prostate")),
    "spleen": (ANATOMY, ("78961009", "SCT", "Spleen")),
    "tumor": (ABNORMAL, NEOPLASM),
    "tumour": (ABNORMAL, NEOPLASM),
    "vein": (ANATOMY, ("29092000", "SCT", "Vein")),
    "vessel": (ANATOMY, VESSEL),
}
"""Class name, in small letters and in the singular, to category and type."""


def coded(definition: ClassDefinition) -> tuple[Code, Code]:
    """Segmented property category and type of a class: of its ``code``, else of its name, else tissue."""
    if definition.code is None:
        name = definition.name.casefold().replace("_", " ").replace("-", " ").strip()
        return KNOWN.get(name) or KNOWN.get(name.removesuffix("s")) or (TISSUE, TISSUE)
    scheme, value, meaning = definition.code.split(":")
    category = next((known for known, kind in KNOWN.values() if kind[:2] == (value, scheme)), TISSUE)
    return category, (value, scheme, meaning)
