"""The model spec: everything that a team declares about a model, in ``model.yaml``; one file a group of sections."""

from include.core.spec.data import PREDICTION, Data, Expectation, Feature, FileSource, SqlSource, Truth
from include.core.spec.fields import RESERVED, Column, Entrypoint, FeatureType, Fraction, Identifier, SpecSection, Task
from include.core.spec.model import ModelSpec, Repository
from include.core.spec.monitoring import Degradation, Monitoring
from include.core.spec.question import Approval, Question
from include.core.spec.release import Canary, Deployment, PredictionLimits, Promotion
from include.core.spec.retention import Retention
from include.core.spec.training import Metrics, Training
from include.core.spec.versions import SpecChange, change_between, spec_of_version

__all__ = [
    "PREDICTION",
    "RESERVED",
    "Approval",
    "Canary",
    "Column",
    "Data",
    "Degradation",
    "Deployment",
    "Entrypoint",
    "Expectation",
    "Feature",
    "FeatureType",
    "FileSource",
    "Fraction",
    "Identifier",
    "Metrics",
    "ModelSpec",
    "Monitoring",
    "PredictionLimits",
    "Promotion",
    "Question",
    "Repository",
    "Retention",
    "SpecChange",
    "SpecSection",
    "SqlSource",
    "Task",
    "Training",
    "Truth",
    "change_between",
    "spec_of_version",
]
