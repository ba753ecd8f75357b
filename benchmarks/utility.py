"""Does synthetic text help a classifier, and does weighting it? A table like the paper's, on real data.

For each pair of real and LLM-written text and each seed: 300 labelled real records, 5,000 synthetic ones, others for
each seed. Strength and share are chosen by cross-validation on the 300 (`synalign.numerics.evaluation.mixtures`); a
logistic regression is trained on each mixture and judged on the real test set. Intervals are 95% t intervals over the
seeds; differences are paired. The rules were developed on seeds 0 to 4 of the same pairs; the seeds here are others.

`clinc150` has no synthetic text: what builtin/ngram writes from 1,500 real requests stands in for it. That generator
recombines the words of its demonstrations, and is not for training data; its rows show what bad text does.

`--write FILE` puts the tables of this run, and those of runs that `--json` kept (`--with FILE`), into a Markdown file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from strength import DATA, DIMENSIONS, FEATURES, PAIRS, Vectors, interval, labelled, read

import synalign as sa
from synalign.models.logistic import Logistic
from synalign.models.protocol import Examples, Inputs
from synalign.numerics.alignment.strength import STRENGTHS, candidates
from synalign.numerics.core.features import RandomFeatures, RandomProjections
from synalign.numerics.core.lsa import fit_lsa
from synalign.numerics.evaluation.mixtures import METHODS, REFERENCE, Data, Kernels, mixtures
from synalign.numerics.evaluation.prediction import scores
from synalign.numerics.evaluation.reweighting import Corpus, hashed_ngrams
from synalign.numerics.selection.kernels import median_distance

REAL, SYNTHETIC = 300, 5_000
FIGURES = ("accuracy", "macro_f1", "log_loss", "calibration_error")
LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")

#: Texts, vectors and labels of real, synthetic and test records.
Drawn = tuple[list[list[str]], list[np.ndarray], list[np.ndarray]]

#: Real requests of clinc150 in a draw, the same number of each of its 150 intents, and what is written from them.
CLINC, CLINC_REAL, CLINC_SYNTHETIC = "clinc150/builtin-ngram", 10, 4_500


def judged(
    texts: list[list[str]], vectors: list[np.ndarray], labels: list[np.ndarray], seed: int
) -> tuple[dict[str, dict[str, Any]], float]:
    """Return the figures of each method for one draw, and the seconds that choosing took.

    Lists are of real, synthetic and test records.
    """
    real, synthetic = labelled(vectors[0], labels[0]), labelled(vectors[1], labels[1])
    classes = int(max(codes.max() for codes in labels)) + 1
    data = Data(Corpus(real, hashed_ngrams(texts[0])), Corpus(synthetic, hashed_ngrams(texts[1])), classes)
    start = time.perf_counter()
    size = vectors[0].shape[1]
    features = RandomFeatures.draw(size, FEATURES, median_distance(vectors[0], seed), seed)
    kernels = Kernels(features, RandomProjections.draw(size, FEATURES, seed))
    made = mixtures(kernels, data, METHODS, candidates(True, ["kept", "real"], STRENGTHS), seed)
    chosen = time.perf_counter() - start
    inputs = Inputs(np.concatenate(vectors[:2]), [*texts[0], *texts[1]])
    codes = np.concatenate(labels[:2])
    found = {}
    for mixed in made:
        examples = Examples(inputs, codes, np.concatenate([mixed.real, mixed.synthetic]))
        fitted = Logistic().fit(examples, classes, seed)
        result = scores(fitted.predict_proba(Inputs(vectors[2], texts[2])), labels[2])
        found[mixed.method] = {
            **{name: getattr(result, name) for name in FIGURES},
            "share": mixed.share,
            "effective_size": mixed.effective_size,
            "strength": None if mixed.candidate is None or np.isinf(mixed.candidate.eps) else mixed.candidate.eps,
            "quality": None if mixed.candidate is None else mixed.candidate.quality,
        }
    return found, chosen


def pair_draw(
    embedder: Vectors, folder: Path, name: str, seed: int, size: int
) -> tuple[list[Any], list[Any], list[Any]]:
    """Return texts, vectors and labels of real, synthetic and test records of one draw."""
    random = np.random.default_rng(seed)
    paths = [folder / f"{part}.jsonl" for part in ("real_train", name, "real_test")]
    files = [read(path) for path in paths]
    rows = [np.sort(random.permutation(len(files[0][1]))[:REAL]), np.sort(random.permutation(len(files[1][1]))[:size])]
    texts = [[file[0][row] for row in part] for file, part in zip(files, rows, strict=False)] + [files[2][0]]
    labels = [file[1][part] for file, part in zip(files, rows, strict=False)] + [files[2][1]]
    return texts, embedder.of(dict(zip(paths, [*rows, None], strict=True))), labels


def clinc_draw(embedder: Vectors, folder: Path, seed: int, size: int) -> Drawn:
    """Return the same of clinc150, with what builtin/ngram wrote from the drawn requests."""
    random = np.random.default_rng(seed)
    files = {part: read(folder / f"{part}.jsonl") for part in ("real_train", "real_test")}
    all_texts, all_labels = files["real_train"]
    rows = []
    for label in np.unique(all_labels):
        rows += random.permutation(np.flatnonzero(all_labels == label))[:CLINC_REAL].tolist()
    drawn = np.sort(rows)
    real = [all_texts[row] for row in drawn]
    with tempfile.TemporaryDirectory() as place:
        import polars as pl

        workspace = sa.open(Path(place) / "clinc")
        workspace.configure(sa.Config.model_validate({"seed": seed}))
        frame = pl.DataFrame({"text": real, "label": [str(label) for label in all_labels[drawn]]})
        workspace.ingest(frame, label="label")
        workspace.cluster(k=150, by_label=True)
        workspace.select(budget=150)
        workspace.reason()
        workspace.generate(per_selection=size // 150)
        written = workspace.sql("select text, label from synthetic order by id").pl()
    written_labels = written["label"].cast(pl.Int64).to_numpy()
    texts = [real, written["text"].to_list(), files["real_test"][0]]
    if embedder.encodes:
        vectors = [embedder.encode(part) for part in texts]
    else:
        lsa = fit_lsa([*texts[0], *texts[1]], DIMENSIONS, 0, np.ones(len(texts[0]) + len(texts[1])))
        vectors = [lsa.transform(part) for part in texts]
    return texts, vectors, [all_labels[drawn], written_labels, files["real_test"][1]]


def summed(
    case: str, encoder: str, draws: list[dict[str, dict[str, Any]]], seconds: list[float]
) -> list[dict[str, Any]]:
    """Return a row for each method: means over the draws with intervals, and paired differences."""
    rows = []
    for method in METHODS:
        own = [draw[method.name] for draw in draws]
        row: dict[str, Any] = {"case": case, "encoder": encoder, "method": method.name, "draws": len(draws)}
        row |= {"seconds": float(np.median(seconds)), "peak_mb": None}
        for figure in FIGURES:
            values = np.array([item[figure] for item in own])
            row[figure], row[f"{figure}_half"] = interval(values)
            for name, other in (("over_real", "real"), ("gain", REFERENCE)):
                theirs = np.array([draw[other][figure] for draw in draws])
                row[f"{figure}_{name}"], row[f"{figure}_{name}_half"] = interval(values - theirs)
        row["worst_over_real"] = float(min(d[method.name]["accuracy"] - d["real"]["accuracy"] for d in draws))
        row["share"] = float(np.mean([item["share"] for item in own]))
        row["effective_size"] = float(np.mean([item["effective_size"] for item in own]))
        row["unweighted_draws"] = sum(item["quality"] is False for item in own)
        rows.append(row)
    return rows


def points(row: dict[str, Any], name: str) -> str:
    """Return a difference of accuracy in points with the half width of its interval."""
    return f"{100 * row[f'accuracy_{name}']:+.1f} ± {100 * row[f'accuracy_{name}_half']:.1f}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the Markdown table of one case."""
    lines = [
        "| trained on | accuracy % | over real alone | over the plain mix | macro F1 % | log loss | calibration % "
        "| share | effective |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        best = row["accuracy"] == max(item["accuracy"] for item in rows)
        accuracy = f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_half']:.1f}"
        cells = [
            row["method"],
            f"**{accuracy}**" if best else accuracy,
            "" if row["method"] == "real" else points(row, "over_real"),
            "" if row["method"] == REFERENCE else points(row, "gain"),
            f"{100 * row['macro_f1']:.1f} ± {100 * row['macro_f1_half']:.1f}",
            f"{row['log_loss']:.3f} ± {row['log_loss_half']:.3f}",
            f"{100 * row['calibration_error']:.1f} ± {100 * row['calibration_error_half']:.1f}",
            f"{row['share']:.2f}",
            f"{row['effective_size']:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def results(rows: list[dict[str, Any]], seeds: list[int]) -> str:
    """Return the whole Markdown file."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    doc = [part.replace("\n", " ") for part in (__doc__ or "").strip().split("\n\n")[1:3]]
    lines = ["# Results", "", f"Written by `python benchmarks/utility.py`, seeds {seeds[0]} to {seeds[-1]}.", ""]
    lines += [*doc, ""]
    lines += [f"SynAlign {sa.__version__}; {versions}; Python {platform.python_version()}; {machine()}.", ""]
    chosen = [row for row in rows if row["method"] == "real+weighted"]
    lines += ["## Real + weighted against real alone", ""]
    lines += ["| data | embedder | real alone % | real + weighted % | difference | worst draw | draws | better |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in chosen:
        alone = row["accuracy"] - row["accuracy_over_real"]
        low = row["accuracy_over_real"] - row["accuracy_over_real_half"]
        high = row["accuracy_over_real"] + row["accuracy_over_real_half"]
        better = "yes" if low > 0 else "no, worse" if high < 0 else "not shown"
        cells = [row["case"], row["encoder"], f"{100 * alone:.1f}", f"{100 * row['accuracy']:.1f}"]
        cells += [points(row, "over_real"), f"{100 * row['worst_over_real']:+.1f}", str(row["draws"]), better]
        lines.append(f"| {' | '.join(cells)} |")
    for case, encoder in dict.fromkeys((row["case"], row["encoder"]) for row in rows):
        own = [row for row in rows if (row["case"], row["encoder"]) == (case, encoder)]
        plain = next(row["unweighted_draws"] for row in own if row["method"] == "real+weighted")
        lines += ["", f"## {case}, {encoder}, {own[0]['draws']} draws", "", *table(own), ""]
        lines += [f"In {plain} of {own[0]['draws']} draws `real+weighted` took no weighting."]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Return the machine in words."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--encoder", help="folder of a sentence-transformers model; default: the default embedder")
    parser.add_argument("--name", help="what the encoder is called in the tables")
    parser.add_argument("--cache", type=Path, help="folder to keep the encoder's vectors in")
    parser.add_argument("--case", action="append", help="a part of a case's name; can be repeated")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="two seeds, 1,000 synthetic records, without clinc150")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--with", type=Path, action="append", default=[], dest="others", help="rows of another run")
    parser.add_argument("--write", type=Path, help="write all tables to this Markdown file")
    arguments = parser.parse_args()
    count, size = (2, 1_000) if arguments.quick else (arguments.seeds, SYNTHETIC)
    seeds = list(range(arguments.first_seed, arguments.first_seed + count))
    name = arguments.name or ("sentence encoder" if arguments.encoder else "builtin/lsa")
    embedder = Vectors(arguments.encoder, arguments.cache)
    cases = [f"{folder}/{part}" for folder, part in PAIRS] + ([] if arguments.quick else [CLINC])
    wanted = [case for case in cases if not arguments.case or any(part in case for part in arguments.case)]
    rows: list[dict[str, Any]] = []
    for case in wanted:
        draws, seconds = [], []
        folder, part = case.split("/")
        for seed in seeds:
            if case == CLINC:
                drawn = clinc_draw(embedder, arguments.data / folder, seed, CLINC_SYNTHETIC)
            else:
                drawn = pair_draw(embedder, arguments.data / folder, part, seed, size)
            found, took = judged(*drawn, seed)
            draws.append(found)
            seconds.append(took)
        rows += summed(case, name, draws, seconds)
        print(f"\n{case}, {name}, {count} seeds; choosing took {np.median(seconds):.1f} s a draw (median)")
        print("\n".join(table([row for row in rows if row["case"] == case])), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    for other in arguments.others:
        rows += json.loads(other.read_text())
    if arguments.write:
        arguments.write.write_text(results(rows, seeds))


if __name__ == "__main__":
    main()
