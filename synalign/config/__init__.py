"""The configuration of a workspace, and what each verb takes. A call may override settings for that call alone."""

from synalign.config.alignment import Align, AlignRequest, CheckRequest, ScoreRequest
from synalign.config.base import Section
from synalign.config.corpus import IngestDocumentsRequest, IngestRequest, Source
from synalign.config.evaluation import Evaluate, EvaluateRequest, LearningCurveRequest, TextQualityRequest
from synalign.config.files import CATALOG_NAME, CONFIG_NAME, dumps, load, override, parse
from synalign.config.generation import (
    ATTRIBUTES,
    RULES,
    Accept,
    Annotate,
    AnnotateRequest,
    AttributeKind,
    EstimateRequest,
    Generate,
    GenerateRequest,
    Llm,
    PersonalKind,
    Price,
    Reason,
    ReasonRequest,
    Rule,
)
from synalign.config.retrieval import (
    AbRequest,
    AnalyseExperimentRequest,
    EvaluateRetrieversRequest,
    Retrieve,
    TrainRetrieverRequest,
)
from synalign.config.sections import Config, RunConfig, Task
from synalign.config.selection import KERNELS, Cluster, ClusterRequest, Embed, EmbedRequest, Select, SelectRequest

__all__ = [
    "ATTRIBUTES",
    "AbRequest",
    "Accept",
    "Align",
    "AlignRequest",
    "AnalyseExperimentRequest",
    "Annotate",
    "AnnotateRequest",
    "AttributeKind",
    "CATALOG_NAME",
    "CONFIG_NAME",
    "CheckRequest",
    "Cluster",
    "ClusterRequest",
    "Config",
    "Embed",
    "EmbedRequest",
    "EstimateRequest",
    "Evaluate",
    "EvaluateRequest",
    "EvaluateRetrieversRequest",
    "Generate",
    "GenerateRequest",
    "IngestDocumentsRequest",
    "IngestRequest",
    "KERNELS",
    "RULES",
    "LearningCurveRequest",
    "Llm",
    "PersonalKind",
    "Price",
    "Reason",
    "ReasonRequest",
    "Retrieve",
    "Rule",
    "RunConfig",
    "ScoreRequest",
    "Section",
    "Select",
    "SelectRequest",
    "Source",
    "Task",
    "TextQualityRequest",
    "TrainRetrieverRequest",
    "dumps",
    "load",
    "override",
    "parse",
]
