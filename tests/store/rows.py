"""A small workspace whose every table is filled by hand, so that tests know each row and no step has to run.

Three weight sets stand side by side. The current one is neither the last to finish nor the only one of its name, and
some runs never finished: what they wrote must not be seen.
"""

from __future__ import annotations

import json
import math
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import synalign as sa
from synalign.store.lake.lake import Lake
from synalign.store.lake.schemas import TABLES

#: The run or activation of sequence n was n minutes later.
BEGUN = datetime(2026, 1, 2, 3, 4, 5)
_random = random.Random(11)

#: In the order in which they finished; the rest of each name is the step.
RUNS = [
    "ingest", "ingest_2", "embed", "cluster", "select", "reason", "generate", "exclude", "align_old", "align_new",
    "align_other_1", "align_other_2", "align_strong", "measure_1", "measure_2", "measure_strong", "round_1",
    "round_again", "select_other", "select_2", "annotate_1", "annotate_2",
    "evaluate", "learning_curve", "text_quality_1", "text_quality_2",
    "documents", "retriever", "rank",
]  # fmt: skip
#: The selections that led to others; the current one is that of the second round.
INPUTS = {
    "select": ["cluster"], "select_other": ["cluster"], "select_2": ["cluster", "generate", "select"],
    "generate": ["select", "reason"], "rank": ["retriever"],
}  # fmt: skip
ROUND_OF = {"select": 1, "select_other": 1, "select_2": 2, "round_1": 1, "round_again": 1}
#: Runs gone back to, in that order, after all had finished.
ACTIVATIONS = ["align_other_1", "align_new", "measure_1"]
#: Runs that were killed: rows of theirs are there, their row in `runs` is not.
UNFINISHED = ["align_killed", "measure_killed", "select_killed", "round_killed", "generate_killed", "annotate_killed"]

#: Which run each name stands for, with the sequence at which that came about. `main` is the current one.
SETS = {
    "main": ("align_new", len(RUNS) + 2), "another": ("align_other_1", len(RUNS) + 1), "strong": ("align_strong", 13),
}  # fmt: skip
CURRENT = "align_new"
#: The measurement that counts, of each align run that has one.
MEASURED_BY = {"align_new": "measure_1", "align_strong": "measure_strong"}

STRATA = ["*", "(none)", "bad", "good"]
_LABELS = ["good", "bad", "good", None]

REAL = [
    {
        "id": f"r{number:02d}",
        "text": f"real {number}",
        "label": _LABELS[number % 4],
        "split": "test" if number >= 24 else "train",
        "multiplicity": 1 + (number % 5 == 0) + (number % 7 == 0),
        # The last ones came after the clustering.
        "cluster_id": (number // 2) % 4 if number < 20 else None,
    }
    for number in range(28)
]
TRAIN = [row for row in REAL if row["split"] == "train"]
SYNTHETIC = [
    {
        "id": f"s{number:02d}",
        "text": f"synthetic {number}",
        "label": "unknown" if number == 26 else _LABELS[(number * 3) % 4],
        "multiplicity": 3 if number == 4 else 1,
        "cluster_id": number % 5 if number < 25 else None,
        "channel": "mail" if number % 2 else "chat",
    }
    for number in range(30)
]
EXCLUDED = "s27"

#: Where a record that was generated here came from.
WRITTEN = [
    {"call_id": "call", "selection_id": "pick", "attributes_id": "said", "written_from": "attributes"},
    {"call_id": "call", "selection_id": "pick", "attributes_id": "mixed", "written_from": "recombined"},
    {"call_id": "repair", "selection_id": "pick", "written_from": "demonstrations"},
]

#: Records as they came, by the generate run: whether each passes each of two rules. The last run was killed.
CHECKED = {
    ("generate", "call", 0): {"label": True, "copied": True},
    ("generate", "call", 1): {"label": False, "copied": True},
    ("generate", "call", 2): {"label": False, "copied": False},
    ("generate", "repair", 0): {"label": None, "copied": False},
    ("generate_killed", "call", 0): {"label": False, "copied": False},
}
#: call -> the run that asked, days after the begin, prompt and completion tokens, cost
CALLS = {
    "stated": ("reason", 0, 100, 40, 0.25),
    "call": ("generate", 0, 200, 60, 0.5),
    "repair": ("generate", 1, 50, 20, 0.125),
    "annotated": ("annotate_1", 1, 7, 3, 0.0625),
}
#: What was refused: a record, and replies or parts of them that could not be read.
REJECTED = [
    ("call", 1, "label"), ("call", -2, "broken_item"), ("call", -3, "broken_item"), ("repair", -1, "truncated"),
    ("repair", -2, "broken_item"),
]  # fmt: skip
#: origin, id -> the tone that each annotate run states; the later counts.
TONES = {
    ("annotate_1", "real", "r00"): "warm",
    ("annotate_2", "real", "r00"): "calm",
    ("annotate_2", "real", "r02"): "warm",
    ("annotate_2", "synthetic", "s01"): "warm",
    ("annotate_killed", "real", "r00"): "cold",
}

#: name, sequence, note, whether it was taken away: of a name the last counts.
TAGS = [("v1", 9, "first", False), ("old", 4, None, False), ("v1", 13, "moved", False), ("old", 4, None, True)]

_LABEL_OF = {row["id"]: row["label"] for row in SYNTHETIC}


def _weights(ids: list[str]) -> dict[str, float]:
    amounts = {name: _random.random() ** 3 + 1e-3 for name in ids}
    total = sum(amounts.values())
    return {name: amount / total for name, amount in amounts.items()}


_IDS = [row["id"] for row in SYNTHETIC if row["label"] != "unknown"]
#: align run -> id -> weight
WEIGHTS = {
    "align_old": _weights(_IDS),
    "align_new": _weights([*_IDS[:-4], EXCLUDED]),
    "align_other_1": _weights(_IDS),
    "align_other_2": _weights(_IDS),
    "align_strong": _weights(_IDS[6:]) | {"s08": 0.0, "s09": 5e-324},
    "align_killed": _weights(_IDS),
}
SET_OF = {
    "align_old": "main", "align_new": "main", "align_other_1": "another", "align_other_2": "another",
    "align_strong": "strong", "align_killed": "killed",
}  # fmt: skip

#: align run -> id -> (quality, predicted, its probability); records that came after the fit have none.
QUALITY = {
    run: {
        row["id"]: (_random.random(), _random.choice(["good", "bad"]), _random.uniform(0.5, 1))
        for row in SYNTHETIC
        if row["label"] is not None and row["id"] not in ("s24", "s25")
    }
    for run in ("align_new", "align_strong", "align_killed")
}

METRICS = [
    "mmd2_unbiased", "mmd2_permutation", "auc_raw", "auc_weighted", "precision", "precision_raw", "recall",
    "recall_raw", "density", "density_raw", "coverage", "coverage_raw", "label_distance", "label_distance_raw",
    "cluster_distance", "cluster_distance_raw",
]  # fmt: skip
MEASURES = {
    "measure_1": "align_new",
    "measure_2": "align_new",
    "measure_strong": "align_strong",
    "measure_killed": "align_new",
}
#: measure run, metric, scope -> (value, low, high, p_value); some scopes were too small to be measured.
FIGURES = {
    (run, metric, scope): (
        _random.random(),
        _random.random(),
        _random.random(),
        _random.random() if metric == "mmd2_permutation" else None,
    )
    for run in MEASURES
    for metric in METRICS
    for scope in STRATA
    if scope != "(none)" and not (scope == "bad" and metric.startswith(("recall", "auc")))
}
#: text_quality run of the current weights -> metric, scope -> (value, low, high), the run that counts last: raw nearer,
#: and clearly; weighted nearer; as near; repeating less than real text; without real text; without weights.
TEXT_FIGURES = {
    "text_quality_1": {("self_bleu", scope): (0.5, 0.5, 0.5) for scope in ("real", "raw", "weighted")},
    "text_quality_2": {
        ("distinct_1", "real"): (0.5, 0.4, 0.6), ("distinct_1", "raw"): (0.4, 0.3, 0.5),
        ("distinct_1", "weighted"): (0.25, 0.2, 0.28),
        ("mauve", "real"): (0.9, 0.8, 1.0), ("mauve", "raw"): (0.5, 0.4, 0.6), ("mauve", "weighted"): (0.55, 0.5, 0.7),
        ("words_median", "real"): (9.0, 8.0, 9.0), ("words_median", "raw"): (10.0, 9.0, 11.0),
        ("words_median", "weighted"): (8.0, 8.0, 9.0),
        ("copied", "real"): (0.25, 0.2, 0.3), ("copied", "raw"): (0.125, 0.0, 0.2),
        ("copied", "weighted"): (0.0, 0.0, 0.1),
        ("personal", "raw"): (0.125, 0.0, 0.2), ("personal", "weighted"): (0.25, 0.0, 0.3),
        ("self_bleu", "raw"): (0.125, 0.0, 0.2),
    },
}  # fmt: skip
#: measure run -> id -> (real_mean, synthetic_mean); a subsample, in which one label of one cluster is not.
WITNESS = {
    run: {
        row["id"]: (_random.uniform(0.2, 1), _random.uniform(0, 0.8))
        for row in TRAIN
        if (row["cluster_id"], row["label"]) != (2, "bad")
    }
    for run in MEASURES
}


def _nearest(own: str) -> tuple[str, float]:
    """A real training record, not the one of that id, and a similarity."""
    return _random.choice([row["id"] for row in TRAIN if row["id"] != own]), _random.random()


#: measure run -> origin, id -> (nearest real training record, similarity); one of them was excluded since.
NEAREST = {
    run: {
        (origin, row["id"]): _nearest(row["id"])
        for origin, records in (("real", TRAIN[:20]), ("synthetic", SYNTHETIC))
        for row in records
        if origin == "real" or row["id"] in WEIGHTS[align]
    }
    for run, align in MEASURES.items()
}
#: run, step, selection, cluster, whether it is the run's last
PICKS = [
    ("select", 0, "pick", 1, True),
    ("select_other", 0, "elsewhere", 3, True),
    ("select_2", 0, "second", 0, False),
    ("select_2", 1, "third", 1, True),
    ("select_killed", 0, "killed", 2, True),
]
#: select run -> variance before, and after, of cluster 0
UNCERTAIN = {
    "select": (1.0, 0.75), "select_other": (1.0, 0.875), "select_2": (0.75, 0.5), "select_killed": (0.5, 0.4375)
}  # fmt: skip
#: The judgements of the first round, and what each said that it improved; the newest finished one counts.
JUDGED = {"round_1": 0.5, "round_again": 0.0625, "round_killed": 0.25}


def build(path: Path) -> sa.Workspace:
    """Make the workspace and publish its catalog."""
    workspace = sa.open(path)
    task = {"description": "a message", "labels": {"good": "is pleased", "bad": "is not"}}
    workspace.configure(sa.Config.model_validate({"task": task}))
    lake = Lake(path / "lance")
    lake.add_columns("synthetic", [pa.field("channel", pa.string())])
    for name, rows in _tables().items():
        put(lake, name, rows)
    workspace.publish()
    return workspace


def put(lake: Lake, name: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows; columns that are not given are null."""
    schema = lake.schema(name)
    blank = dict.fromkeys(schema.names)
    assert all(row.keys() <= blank.keys() for row in rows), name
    assert lake.insert(name, pa.Table.from_pylist([blank | row for row in rows], schema=schema)) == len(rows)


def minute(sequence: int) -> datetime:
    """Return when the run or activation of that number was."""
    return BEGUN + timedelta(minutes=sequence)


def step_of(run: str) -> str:
    """Return the step of a run by its name here."""
    whole = next((step for step in ("learning_curve", "text_quality") if run.startswith(step)), None)
    return whole or run.partition("_")[0]


def _tables() -> dict[str, list[dict[str, Any]]]:
    assert set(TABLES) - {"forgotten", "recordings"} == set(_own() | _learned() | _measured())
    return _own() | _learned() | _measured()


def _own() -> dict[str, list[dict[str, Any]]]:
    """The rows of records and of runs."""
    record = {"id", "text", "label"}
    real = [{key: row[key] for key in record | {"split"}} | {"run_id": "ingest"} for row in REAL]
    synthetic = [
        {key: row[key] for key in record | {"channel"}}
        | {"run_id": "ingest_2", "split": "train"}
        # Half of them were generated here.
        | (WRITTEN[number % 3] if number % 2 else {})
        for number, row in enumerate(SYNTHETIC)
    ]
    tags = [
        {
            "number": number, "name": name, "sequence": sequence, "state_at": minute(sequence), "note": note,
            "tagged_at": minute(30), "dropped": dropped,
        }
        for number, (name, sequence, note, dropped) in enumerate(TAGS, start=1)
    ]  # fmt: skip
    multiplicities = [
        {"run_id": run, "origin": origin, "id": row["id"], "multiplicity": row["multiplicity"]}
        for run, origin, rows in (("ingest", "real", REAL), ("ingest_2", "synthetic", SYNTHETIC))
        for row in rows
        if row["multiplicity"] > 1
    ]
    runs = [
        {
            "run_id": run, "sequence": number, "step": step_of(run), "parameters": "{}", "seed": 0,
            "round": ROUND_OF.get(run, 0), "inputs": INPUTS.get(run, []), "table_versions": "{}",
            "counts": json.dumps({"records": 1}), "notes": [], "seconds": 0.5,
            "started_at": BEGUN, "finished_at": minute(number), "package_version": "0",
        }
        for number, run in enumerate(RUNS, start=1)
    ]  # fmt: skip
    activations = [
        {"sequence": number, "step": step_of(run), "run_id": run, "at": minute(number)}
        for number, run in enumerate(ACTIVATIONS, start=len(RUNS) + 1)
    ]
    return {
        "real": real,
        "synthetic": synthetic,
        "multiplicities": multiplicities,
        "exclusions": [
            {"run_id": "exclude", "id": name, "excluded": excluded, "reason": "a test"}
            for name, excluded in ((EXCLUDED, True), ("s05", False))
        ],
        "runs": runs,
        "activations": activations,
        "tags": tags,
    }


def _learned() -> dict[str, list[dict[str, Any]]]:
    """The rows of the steps up to the language model."""
    members = [
        {
            "run_id": "cluster", "origin": origin, "id": row["id"], "cluster_run_id": "cluster",
            "cluster_id": row["cluster_id"], "distance": 0.5,
        }
        for origin, rows in (("real", TRAIN), ("synthetic", SYNTHETIC))
        for row in rows
        if row["cluster_id"] is not None
    ]  # fmt: skip
    clusters = [
        {
            "run_id": "cluster", "cluster_id": number, "size": 5.0, "radius": 1.0, "centroid": [0.0, 1.0],
            "label_mix": [{"label": "good", "share": 1.0}],
        }
        for number in range(4)
    ]  # fmt: skip
    return {
        "embedders": [{"run_id": "embed", "name": "lsa", "model": "lsa", "fitted_on": ["real"], "texts": 24}],
        "clusters": clusters,
        "cluster_members": members,
        "selections": [
            {
                "run_id": run, "step": step, "selection_id": name, "round": ROUND_OF.get(run, 1), "unit": "cluster",
                "cluster_run_id": "cluster", "cluster_id": cluster, "label": "good", "demonstrations": ["r02", "r00"],
                "variance_before": 0.75 - step / 4, "stop_reason": "budget" if last else None,
            }
            for run, step, name, cluster, last in PICKS
        ],
        "uncertainty": [
            {"run_id": run, "cluster_id": number, "variance_before": before, "variance_after": after - number / 8}
            for run, (before, after) in UNCERTAIN.items()
            for number in range(4)
        ],
        "rounds": [
            {
                "run_id": run, "round": 1, "select_run_id": "select", "generate_run_id": "generate",
                "align_run_id": "align_old", "records": 15, "improvement": value, "improvement_error": 0.125,
                "decision": "continue" if value > 0.125 else "stop", "reason": "a test",
            }
            for run, value in JUDGED.items()
        ],
        "attributes": [
            {
                "run_id": run, "id": name, "selection_id": "pick", "call_id": call,
                "attributes": [{"name": "tone", "value": "Calm"}],
            }
            for run, name, call in (("reason", "said", "stated"), ("generate", "mixed", None))
        ],
        "attribute_values": [
            {
                "run_id": run, "attributes_id": name, "name": "tone", "kind": "category", "value": value,
                "stated": "Calm", "added": False,
            }
            for run, name, value in (
                ("reason", "said", "calm"), ("generate", "mixed", "cool"), ("generate_killed", "killed", "cold")
            )
        ],
        "annotations": [
            {
                "run_id": run, "origin": origin, "id": name, "call_id": "annotated", "name": "tone",
                "kind": "category", "value": value, "stated": value.upper(),
            }
            for (run, origin, name), value in TONES.items()
        ],
        "redactions": [{"placeholder": "[EMAIL_1]", "original": "kim@example.org"}],
        "calls": [
            {
                "call_id": name, "run_id": step, "step": step, "status": "complete", "attempts": 1, "model": "m1",
                "subject": "s", "seed": 1, "repairs": "call" if name == "repair" else None,
                "batch_id": "b1" if name == "call" else None, "finished_at": BEGUN + timedelta(days=day),
                "prompt_tokens": prompt, "completion_tokens": completion, "cost_usd": cost,
            }
            for name, (step, day, prompt, completion, cost) in CALLS.items()
        ],
        "rejections": [
            {"run_id": "generate", "call_id": call, "index": index, "reason": reason}
            for call, index, reason in REJECTED
        ],
        "checks": [
            {
                "run_id": run, "call_id": call, "index": index, "accepted": False not in passed.values(),
                "id": "s01" if False not in passed.values() else None,
                "reason": next((rule for rule, good in passed.items() if good is False), None), **passed,
            }
            for (run, call, index), passed in CHECKED.items()
        ],
    }  # fmt: skip


def _measured() -> dict[str, list[dict[str, Any]]]:
    """The rows of align and of the measurements."""
    weights = [
        {"run_id": run, "id": name, "weight_set": SET_OF[run], "label": _LABEL_OF[name], "weight": weight}
        for run, found in WEIGHTS.items()
        for name, weight in found.items()
    ]
    quality = [
        {
            "run_id": run, "id": name, "label": _LABEL_OF[name], "quality": value, "predicted": predicted,
            "predicted_probability": probability,
        }
        for run, found in QUALITY.items()
        for name, (value, predicted, probability) in found.items()
    ]  # fmt: skip
    alignments = [
        {
            "run_id": run, "stratum": stratum, "weight_set": SET_OF[run], "embedder": "lsa", "kernel": "rbf",
            "bandwidths": [0.5, 1.0], "features": 64, "seed": 3, "quality": run in QUALITY, "label_shares": "kept",
            "strength": math.inf if stratum == "bad" else 0.01, "real_records": 8, "synthetic_records": 10,
            "share": 1.0 if stratum == "*" else 0.25 * place, "mmd2_heldout_after": 0.25 * (place + 1),
            "mmd2_floor": 0.0 if stratum == "good" else 0.5, "log_normaliser": 1.5, "converged": True,
            "scored_from": "align_old" if run == "align_other_1" else None,
            "drift": 0.125 if run == "align_other_1" else None, "dual": None if stratum == "*" else [0.5, -1.0],
        }
        for run in WEIGHTS
        for place, stratum in enumerate(STRATA)
    ]  # fmt: skip
    curve = [
        {
            "run_id": run, "candidate": number, "strength": math.inf if not number else 0.1**number, "quality": False,
            "label_shares": "real", "accuracy": 0.8, "chosen": number == 2, "unweighted": not number, "folds": 5,
        }
        for run in ("align_new", "align_killed")
        for number in range(3)
    ]  # fmt: skip
    metrics = [
        {
            "run_id": run, "metric": metric, "scope": scope, "weights_run_id": MEASURES[run],
            "weight_set": SET_OF[MEASURES[run]], "split": "test", "value": value, "low": low,
            "high": high, "p_value": p_value,
        }
        for (run, metric, scope), (value, low, high, p_value) in FIGURES.items()
    ]  # fmt: skip
    metrics += [
        {"run_id": run, "metric": "accuracy", "scope": scope, "split": "test", "value": 0.5, "low": 0.25, "high": 0.75}
        for run, scope in (("evaluate", "real"), ("learning_curve", "real@8"))
    ]
    evaluations = [
        {
            "run_id": run, "method": "real", "real_records": 8, "seed": seed, "test_records": 4, "model": "logistic",
            "share": 0.0, "accuracy": 0.25 + 0.5 * seed,
        }
        for run in ("evaluate", "learning_curve")
        for seed in range(2)
    ]  # fmt: skip
    metrics += [
        {
            "run_id": run, "metric": metric, "scope": scope, "weights_run_id": CURRENT, "weight_set": SET_OF[CURRENT],
            "split": "test", "value": value, "low": low, "high": high,
        }
        for run, found in TEXT_FIGURES.items()
        for (metric, scope), (value, low, high) in found.items()
    ]  # fmt: skip
    metrics.append({"run_id": "rank", "metric": "mrr_at_10", "scope": "near", "split": "test", "value": 0.5})
    label_of = {row["id"]: row["label"] for row in TRAIN}
    witness = [
        {
            "run_id": run, "weights_run_id": MEASURES[run], "id": name, "stratum": label_of[name] or "(none)",
            "witness": here - there, "real_mean": here, "synthetic_mean": there,
        }
        for run, found in WITNESS.items()
        for name, (here, there) in found.items()
    ]  # fmt: skip
    neighbours = [
        {
            "run_id": run, "weights_run_id": MEASURES[run], "origin": origin, "id": name, "neighbour_id": near,
            "label": (label_of if origin == "real" else _LABEL_OF)[name], "neighbour_label": label_of[near],
            "similarity": similarity,
        }
        for run, found in NEAREST.items()
        for (origin, name), (near, similarity) in found.items()
    ]  # fmt: skip
    return {
        "weights": weights,
        "label_quality": quality,
        "alignments": alignments,
        "strength_curve": curve,
        "metrics": metrics,
        "evaluations": evaluations,
        "witness": witness,
        "neighbours": neighbours,
        **_retrieved(),
        **_compared(),
    }


def _retrieved() -> dict[str, list[dict[str, Any]]]:
    """The rows of retrieval; what its relations show is tested with the steps."""
    return {
        "documents": [{"id": "d1", "text": "document 1", "run_id": "documents"}],
        "retrievers": [
            {"run_id": "retriever", "name": "near", "trained_on": "real", "embedder": "lsa", "dimensions": 2}
        ],
    }


def _compared() -> dict[str, list[dict[str, Any]]]:
    """The rows of comparisons with users, simulated and real."""
    rankings = [
        {"run_id": run, "retriever": name, "query_id": query, "rank": rank, "document_id": document, "score": 1 / rank}
        for run in ("measure_1", "measure_killed")
        for name in ("near", "far")
        for query in ("r01", "r02")
        for rank, document in enumerate(("good", "bad"), start=1)
    ]
    comparisons = [
        {
            "run_id": run, "a": "near", "b": "far", "rankings_run_id": "measure_1", "rankings_run_id_b": "measure_1",
            "split": "test", "impressions": 2, "wins_a": 1, "wins_b": 0, "ties": 1, "win_rate": 1.0,
            "decision": "A is better",
        }
        for run in ("measure_1", "measure_killed")
    ]  # fmt: skip
    experiments = [
        {"run_id": run, "metric": metric, "arm": "B", "control": "A", "users": 9, "lift": 0.25, "significant": True}
        for run in ("measure_1", "measure_killed")
        for metric in ("ctr", "orders")
    ]
    return {"rankings": rankings, "comparisons": comparisons, "experiments": experiments}
