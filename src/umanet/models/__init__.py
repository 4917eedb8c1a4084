"""Networks: backbone, predictors, the annotation uncertainty module (AUEM) and the quality assessment module (QAM)."""

from umanet.models.annotation_uncertainty import AnnotationUncertainty
from umanet.models.backbones import Backbone
from umanet.models.predictors import Predictor, features_of, shared
from umanet.models.quality import QualityAssessment, annotation_quality
from umanet.models.region import region_of_interest

__all__ = [
    "AnnotationUncertainty",
    "Backbone",
    "Predictor",
    "QualityAssessment",
    "annotation_quality",
    "features_of",
    "region_of_interest",
    "shared",
]
