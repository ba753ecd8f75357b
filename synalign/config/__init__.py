"""The configuration of a workspace. A call of the API may override single values of a section for that call."""

from synalign.config.base import Section
from synalign.config.evaluation import Evaluate
from synalign.config.files import CATALOG_NAME, CONFIG_NAME, dumps, load, override, parse
from synalign.config.retrieval import Retrieve
from synalign.config.sections import (
    ATTRIBUTES,
    KERNELS,
    Accept,
    Align,
    Annotate,
    AttributeKind,
    Cluster,
    Config,
    Embed,
    Generate,
    Llm,
    PersonalKind,
    Price,
    Reason,
    RunConfig,
    Select,
    Source,
    Task,
)

__all__ = [
    "ATTRIBUTES",
    "Accept",
    "Align",
    "Annotate",
    "AttributeKind",
    "CATALOG_NAME",
    "CONFIG_NAME",
    "Cluster",
    "Config",
    "Embed",
    "Evaluate",
    "Generate",
    "KERNELS",
    "Llm",
    "PersonalKind",
    "Price",
    "Reason",
    "Retrieve",
    "RunConfig",
    "Section",
    "Select",
    "Source",
    "Task",
    "dumps",
    "load",
    "override",
    "parse",
]
