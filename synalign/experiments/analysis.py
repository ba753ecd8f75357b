"""What an online experiment did to its metrics, from the log of it, user by user."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synalign import ids
from synalign.errors import InputError, UsageError
from synalign.experiments.effects import (
    CORRECTIONS,
    Effect,
    Moments,
    adjusted,
    effect,
    sample_ratio,
    simultaneous_alpha,
)
from synalign.experiments.log import LogColumns, LogFigures, read_log

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Below this p-value users did not come into the arms as they were to, and nothing else can be trusted.
SAMPLE_RATIO_ALARM = 0.001

#: What may be done with users who were seen in two arms.
CROSSED = ("refuse", "drop")

#: Below so many users the normal approximation of a mean may be poor.
_FEW = 100


@dataclass(frozen=True)
class Question:
    """What is asked of a log. shares: that users were to come into the arms in, equal if None. crossed: "refuse" or
    "drop" users who were seen in two arms."""

    columns: LogColumns
    experiment: str | None
    control: str
    alpha: float
    correction: str
    shares: Mapping[str, float] | None
    crossed: str


def question(
    metrics: Mapping[str, Any] | Iterable[str],
    *,
    experiment: str | None,
    user: str,
    arm: str,
    control: str,
    alpha: float,
    correction: str,
    time: str | None,
    shares: Mapping[str, float] | None,
    crossed: str,
) -> Question:
    """Check what is asked.

    metrics: for each name a column, "column/column", or a pair of columns; or only those, which are then the names.

    Raises:
        UsageError: if there is no metric, or a value is not among those allowed.
    """
    given = metrics if isinstance(metrics, Mapping) else {str(name): name for name in _listed(metrics)}
    if not given:
        raise UsageError("Name at least one metric, such as metrics={'ctr': ('clicks', 'impressions')}, "
                         "--metric ctr=clicks/impressions.")  # fmt: skip
    if not 0 < alpha < 0.5:
        raise UsageError(f"alpha must be above 0 and below 0.5; given: {alpha!r}.")
    for name, value, known in (("correction", correction, CORRECTIONS), ("crossed", crossed, CROSSED)):
        if value not in known:
            raise UsageError(f"{name} must be one of {', '.join(known)}; given: {value!r}.")
    if shares is not None and not all(math.isfinite(share) and share > 0 for share in shares.values()):
        raise UsageError(f"shares must be numbers above 0, one for each arm; given: {dict(shares)!r}.")
    pairs = {name: _pair(name, metric) for name, metric in given.items()}
    return Question(LogColumns(user, arm, pairs, time), experiment, control, alpha, correction, shares, crossed)


@dataclass(frozen=True)
class Findings:
    """What was found. rows: for each metric and each arm but the control, as {column: value}, null for what is not
    known. notes: what a person should know."""

    rows: Sequence[Mapping[str, Any]]
    figures: LogFigures
    notes: Sequence[str]

    @property
    def digest(self) -> str:
        """A name of what the log says. Sums of many threads differ in their last digits, which are left out."""
        moments = [
            [f"{value:.9g}" if isinstance(value, float) else value for value in row]
            for row in self.figures.moments.iter_rows()
        ]
        seen = [
            None if time is None else time.isoformat() for time in (self.figures.first_event, self.figures.last_event)
        ]
        return ids.digest(["experiment/1", self.figures.arms, moments, self.figures.crossed, seen])


def analyse(
    connection: DuckDBPyConnection, asked: Question, query: str | None = None, shown: str = "The log"
) -> Findings:
    """Compare each arm of a log, which the connection sees as `log`, with the control.

    Args:
        query: SQL over the log, whose result is analysed.
        shown: what messages call the log.

    Raises:
        UsageError, InputError: as `synalign.experiments.log.read_log`; and if an arm of the question is not in the
            log, has fewer than two users, a column that is divided by holds values below 0, or users were seen in two
            arms and nothing is said about them.
    """
    figures = read_log(connection, asked.columns, query, asked.experiment, shown)
    _require_arms(figures, asked)
    notes = _notes(figures)
    arms = sorted(figures.arms)
    expected = None if asked.shares is None else [asked.shares[arm] for arm in arms]
    ratio = sample_ratio([figures.arms[arm] for arm in arms], expected)
    if ratio < SAMPLE_RATIO_ALARM:
        counts = ", ".join(f"{arm} {figures.arms[arm]:,}" for arm in arms)
        notes.insert(
            0,
            f"sample ratio mismatch: users did not come into the arms as they were to ({counts}; p = {ratio:.1g}). "
            "Find out why, and do not trust what is below: whoever is missing is not missing by chance",
        )
    known = {(row.pop("arm"), row.pop("metric")): Moments(**row) for row in figures.moments.to_dicts()}
    pairs = [(metric, arm) for metric in asked.columns.metrics for arm in arms if arm != asked.control]
    effects = [effect(known[arm, metric], known[asked.control, metric], asked.alpha) for metric, arm in pairs]
    corrected = adjusted([found.p_value for found in effects], asked.correction)
    joint = simultaneous_alpha(corrected, asked.correction, asked.alpha)
    rows = []
    for (metric, arm), found, p_value in zip(pairs, effects, corrected, strict=True):
        wide = effect(known[arm, metric], known[asked.control, metric], joint)
        notes += _about(metric, arm, asked.control, found)
        counted, divided_by = asked.columns.metrics[metric]
        rows.append(
            {
                "metric": metric, "arm": arm, "experiment": asked.experiment, "counted": counted,
                "divided_by": divided_by, "control": asked.control, "users": figures.arms[arm],
                "control_users": figures.arms[asked.control], "value": found.value, "control_value": found.control,
                "lift": found.difference, "low": found.low, "high": found.high, "relative_lift": found.relative,
                "relative_low": found.relative_low, "relative_high": found.relative_high, "p_value": found.p_value,
                "corrected_p": float(p_value), "significant": bool(p_value <= asked.alpha), "joint_low": wide.low,
                "joint_high": wide.high, "correction": asked.correction, "alpha": asked.alpha,
                "sample_ratio_p": ratio, "users_in_two_arms": figures.crossed, "first_event": figures.first_event,
                "last_event": figures.last_event,
            }
        )  # fmt: skip
    return Findings([_without_nan(row) for row in rows], figures, notes)


def _listed(metrics: Iterable[str]) -> list[str]:
    return [metrics] if isinstance(metrics, str) else list(metrics)


def _pair(name: str, metric: Any) -> tuple[str, str | None]:
    if isinstance(metric, str):
        parts = [part.strip() for part in metric.split("/")]
    else:
        parts = list(metric) if isinstance(metric, Sequence) else []
    if len(parts) not in (1, 2) or not all(isinstance(part, str) and part for part in parts):
        raise UsageError(
            f"The metric {name!r} must be a column, or two of which one is divided by the other: 'orders', "
            f"'clicks/impressions' or ('clicks', 'impressions'); given: {metric!r}."
        )
    return parts[0], parts[1] if len(parts) == 2 else None


def _require_arms(figures: LogFigures, asked: Question) -> None:
    if figures.crossed and asked.crossed != "drop":
        raise InputError(
            f"{figures.crossed:,} users were seen in more than one arm, such as {figures.crossed_example!r}: what they "
            "did is no arm's doing. Find out why. crossed='drop' (--crossed drop) leaves them out, which is right if "
            "it was chance that mixed them, and biased if it was not."
        )
    there = ", ".join(f"{arm} ({count:,} users)" for arm, count in sorted(figures.arms.items())) or "none"
    if asked.control not in figures.arms:
        raise UsageError(
            f"There is no arm {asked.control!r} to be the control; there are: {there}. Name one: control=..."
        )
    if len(figures.arms) < 2:
        raise InputError(f"The log has one arm only, {there}: there is nothing to compare with.")
    alone = [arm for arm, count in sorted(figures.arms.items()) if count < 2]
    if alone:
        raise InputError(
            f"The arm {alone[0]!r} has 1 user, which says nothing of how users vary; at least 2 are needed. There are: "
            f"{there}."
        )
    if asked.shares is not None and set(asked.shares) != set(figures.arms):
        raise UsageError(f"shares must name each arm once; given: {', '.join(asked.shares)}; there are: {there}.")
    bases = {base for _, base in asked.columns.metrics.values() if base is not None}
    below = [name for name in sorted(bases) if figures.negative[name]]
    if below:
        raise InputError(
            f"The column {below[0]!r}, which is divided by, is below 0 for {figures.negative[below[0]]:,} users. A "
            "count is 0 or above: repair the log, or leave those rows out with a query."
        )


def _notes(figures: LogFigures) -> list[str]:
    notes = []
    if figures.crossed:
        notes.append(f"{figures.crossed:,} users who were seen in more than one arm are left out")
    for count, what in ((figures.without_user, "user"), (figures.without_arm, "arm")):
        if count:
            notes.append(f"{count:,} rows without {'a' if what == 'user' else 'an'} {what} are left out")
    for name, count in figures.missing.items():
        if count:
            notes.append(f"{name} is null in {count:,} rows, which count as 0")
    for name, count in figures.negative.items():
        if count:
            notes.append(f"{name} is below 0 for {count:,} users, and is taken as it is")
    if min(figures.arms.values()) < _FEW:
        notes.append(f"an arm has fewer than {_FEW} users: the intervals are rough")
    if figures.first_event is not None and figures.last_event is not None:
        days = (figures.last_event - figures.first_event).total_seconds() / 86_400
        if days < 7:
            notes.append(f"the log covers {days:.1f} days: weekdays and weekends may differ, so let it run full weeks")
    return notes


def _about(metric: str, arm: str, control: str, found: Effect) -> list[str]:
    if math.isnan(found.value) or math.isnan(found.control):
        return [f"{metric} is divided by 0 in {arm} or {control}: nothing is said of it"]
    if math.isnan(found.p_value):
        return [f"{metric} does not vary in {arm} and {control}: there is no p-value and no interval"]
    if math.isnan(found.relative_low):
        return [f"{metric} in {control} cannot be told from 0: the relative lift has no interval"]
    return []


def sentence(row: Mapping[str, Any]) -> str:
    """Return one row in words."""
    if row["value"] is None or row["control_value"] is None:
        return f"{row['metric']}, {row['arm']} against {row['control']}: not known."
    text = f"{row['metric']}, {row['arm']} against {row['control']}: {row['value']:.4g} and {row['control_value']:.4g}"
    if row["p_value"] is None:
        return f"{text}, no interval."
    level = f"{100 * (1 - row['alpha']):g}%"
    text += f", a lift of {row['lift']:+.4g} ({level} interval {row['low']:+.4g} to {row['high']:+.4g})"
    if row["relative_low"] is not None:
        text += f", relatively {row['relative_lift']:+.1%} ({row['relative_low']:+.1%} to {row['relative_high']:+.1%})"
    verdict = "no difference seen"
    if row["significant"]:
        verdict = "higher" if row["lift"] > 0 else "lower"
    named = "p" if row["correction"] == "none" else "corrected p"
    return f"{text}; {named} = {row['corrected_p']:.2g}: {verdict}."


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
