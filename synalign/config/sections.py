"""The configuration as a whole: one section for each step, and what a run file adds to it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from synalign.config.alignment import Align
from synalign.config.base import Section
from synalign.config.corpus import Source
from synalign.config.evaluation import Evaluate
from synalign.config.generation import Accept, Annotate, Generate, Llm, Price, Reason
from synalign.config.retrieval import Retrieve
from synalign.config.selection import Cluster, Embed, Select


class Task(Section):
    """What the text is, in words that the prompts show."""

    description: str = Field(default="", description="What one text is, e.g. 'a message from a customer to a shop'.")
    labels: dict[str, str] = Field(default_factory=dict, description="What each label in the data means.")
    language: str = Field(default="", description="The language to write in; empty: that of the demonstrations.")

    def meaning(self, label: str) -> str:
        """Return what prompts call a label: its name or meaning if one is configured, else the label itself."""
        return self.labels.get(label, label)


class Config(Section):
    """All settings of a workspace, as `synalign.toml` holds them."""

    seed: int = Field(default=0, ge=0, lt=2**63, description="Decides everything that is drawn by chance.")
    rounds: int = Field(
        default=1, ge=1, le=1000, description="Rounds of select, reason, generate and align that 'run' does, at most."
    )
    task: Task = Task()
    embed: Embed = Embed()
    cluster: Cluster = Cluster()
    select: Select = Select()
    llm: Llm = Llm()
    prices: dict[str, Price] = Field(default_factory=dict, description="What models cost, by name.")
    reason: Reason = Reason()
    annotate: Annotate = Annotate()
    generate: Generate = Generate()
    accept: Accept = Accept()
    align: Align = Align()
    evaluate: Evaluate = Evaluate()
    retrieve: Retrieve = Retrieve()


class RunConfig(Config):
    """What `synalign run FILE` reads: a workspace, its sources and all settings."""

    workspace: Path = Field(description="The folder of the workspace, relative to the run file.")
    sources: tuple[Source, ...] = Field(default=(), description="Files to ingest, each a [[sources]] table.")
    steps: tuple[str, ...] | None = Field(default=None, description="Steps to do; unset: all but evaluate.")

    def settings(self) -> Config:
        """Return the part that is kept in the workspace."""
        return Config(**{name: getattr(self, name) for name in Config.model_fields})
