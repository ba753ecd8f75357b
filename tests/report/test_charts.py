from __future__ import annotations

import importlib.util
import io
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synalign.errors import StoreError, UsageError
from synalign.report import charts
from synalign.report.chart_rows import MOST_METHODS

HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None
drawn = pytest.mark.skipif(not HAS_MATPLOTLIB, reason="needs matplotlib: pip install 'synalign[charts]'")

CURVES = [
    {"method": method, "real_records": size, "mean": mean + step, "low": mean + step - 0.01, "high": mean + step + 0.02}
    for method, mean in (("real alone", 0.5), ("real + <synthetic>, aligned & weighted", 0.52), ("$x$ costs 5 $", 0.5))
    for size, step in ((100, 0.0), (300, 0.04), (1000, 0.1))
]
LINES: list[dict[str, Any]] = [
    {"group": group, "method": method, "mean": 0.6, "low": 0.58, "high": 0.63, "difference": difference,
     "difference_low": None if difference is None else difference - 0.01,
     "difference_high": None if difference is None else difference + 0.01}
    for group in ("logistic", "network")
    for method, difference in (("real alone", None), ("aligned", 0.02), ("unweighted", -0.002), ("odd one", -0.05))
]  # fmt: skip
BOTH = pytest.mark.parametrize(("draw", "rows"), [(charts.learning_curve, CURVES), (charts.ablation, LINES)])


def _pixels(content: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _texts(content: bytes) -> list[str]:
    tree = ElementTree.fromstring(content)
    return ["".join(node.itertext()) for node in tree.iter("{http://www.w3.org/2000/svg}text")]


@drawn
@BOTH
def test_both_files_are_written_and_the_same_each_time(draw: Any, rows: Any, tmp_path: Path) -> None:
    paths = draw(rows, tmp_path / "chart", title="A title", note="A note")
    assert paths == [tmp_path / "chart.png", tmp_path / "chart.svg"]
    again = draw(rows, str(tmp_path / "again"), title="A title", note="A note")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]
    png, svg = (path.read_bytes() for path in paths)
    pixels = _pixels(png)
    assert pixels.shape == (800, 1200, 3)
    # Nothing is cut off: a rim of two pixels is blank.
    assert (
        np.concatenate([pixels[:2].ravel(), pixels[-2:].ravel(), pixels[:, :2].ravel(), pixels[:, -2:].ravel()]) == 255
    ).all()
    assert {"A title", "A note", "Test accuracy"} <= set(_texts(svg))
    assert b"<dc:date>" not in svg
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.png", "again.svg", "chart.png", "chart.svg"]


@drawn
def test_every_method_is_named_in_text(tmp_path: Path) -> None:
    (path,) = charts.learning_curve(CURVES, tmp_path / "c.svg", score="Macro F1")
    found = " ".join(_texts(path.read_bytes()))
    assert "real alone" in found
    assert "<synthetic>," in found
    assert "$x$ costs 5 $" in found
    assert {"100", "300", "1,000", "Macro F1"} <= set(_texts(path.read_bytes()))
    (path,) = charts.ablation(LINES, tmp_path / "a.svg", difference="Gain")
    texts = _texts(path.read_bytes())
    assert {"logistic", "network", "odd one", "Gain", "reference"} <= set(texts)
    assert texts.count("+0.020  [+0.010, +0.030]") == 2
    assert texts.count("−0.050  [−0.060, −0.040]") == 2


@drawn
def test_the_picture_shows_the_numbers(tmp_path: Path) -> None:
    """Each method has its colour, and a higher score stands higher up."""
    (path,) = charts.learning_curve(CURVES[:6], tmp_path / "c.png")
    pixels = _pixels(path.read_bytes())[110:650, 120:800].astype(int)
    heights = []
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=2) < 30)
        assert len(rows) > 500
        assert rows[columns < columns.min() + 20].mean() > rows[columns > columns.max() - 20].mean() + 100
        heights.append(rows.mean())
    assert heights[1] < heights[0] - 20


@drawn
def test_names_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fourteen methods of nearly one score, with long names: their boxes are apart and inside the picture."""
    rows = [
        {**CURVES[0], "method": f"A method whose name is long, number {k}", "real_records": n, "mean": 0.5 + k / 1e4}
        for k in range(MOST_METHODS) for n in (50, 60)
    ]  # fmt: skip
    kept = []
    label = charts._label_ends

    def look(figure: Any, *given: Any) -> None:
        before = set(figure.texts)
        label(figure, *given)
        kept.extend(text.get_window_extent() for text in figure.texts if text not in before)

    monkeypatch.setattr(charts, "_label_ends", look)
    charts.learning_curve(rows, tmp_path / "c.png")
    assert len(kept) == MOST_METHODS
    kept.sort(key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in pairwise(kept))
    assert kept[0].y0 > 0
    assert max(box.x1 for box in kept) < 1200
    assert kept[-1].y1 < 800


def test_labels_are_put_apart_near_where_they_are_wanted() -> None:
    assert charts._spread([10.0, 50.0], [8.0, 8.0], 0, 100) == [10.0, 50.0]
    assert charts._spread([50.0, 50.0, 50.0], [10.0] * 3, 0, 100) == [40.0, 50.0, 60.0]
    assert charts._spread([99.0, 98.0], [10.0] * 2, 0, 100) == [95.0, 85.0]
    random = np.random.default_rng(0)
    for _ in range(200):
        count = int(random.integers(1, 9))
        wanted, heights = random.uniform(-10, 110, count), random.uniform(1, 11, count)
        centres = np.array(charts._spread(wanted.tolist(), heights.tolist(), 0, 100))
        order = np.argsort(centres)
        edges = np.stack([centres - heights / 2, centres + heights / 2], axis=1)[order]
        assert edges[0, 0] > -1e-9
        assert edges[-1, 1] < 100 + 1e-9
        assert (edges[1:, 0] > edges[:-1, 1] - 1e-9).all()
        assert (np.diff(wanted[order]) >= 0).all()


@drawn
def test_one_point_and_no_interval_are_drawn(tmp_path: Path) -> None:
    row = {"method": "one", "real_records": 300, "mean": 0.6, "low": None, "high": None, "extra": object()}
    assert len(charts.learning_curve([row], tmp_path / "c")) == 2
    line = {**row, "difference": None, "difference_low": None, "difference_high": None}
    assert len(charts.ablation([line], tmp_path / "a")) == 2


@drawn
def test_long_numbers_beside_the_axis_cut_nothing_off(tmp_path: Path) -> None:
    rows = [{**row, "mean": row["mean"] * 1e6, "low": None, "high": None} for row in CURVES]
    (path,) = charts.learning_curve(rows, tmp_path / "c.png")
    assert (_pixels(path.read_bytes())[:, :8] == 255).all()


@drawn
def test_many_rows_make_a_taller_picture(tmp_path: Path) -> None:
    rows = [{**LINES[1], "method": f"method {number}"} for number in range(15)]
    (path,) = charts.ablation(rows, tmp_path / "a.png")
    (longer,) = charts.ablation([{**row, "method": row["method"] + " of five" * 8} for row in rows], tmp_path / "b.png")
    assert _pixels(longer.read_bytes()).shape[0] > _pixels(path.read_bytes()).shape[0] + 15 * 22
    height, width, _ = _pixels(path.read_bytes()).shape
    assert (width, height) == (1200, 230 + 46 * 16)


@drawn
@BOTH
def test_an_existing_file_outlives_a_failure(
    draw: Any, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.png").write_bytes(b"kept")
    (tmp_path / "c.svg").mkdir()
    with pytest.raises(UsageError):
        draw([{**rows[0], "mean": "high"}], tmp_path / "c.png")
    with pytest.raises(StoreError, match=r"c\.svg cannot be written: .* What was there is unchanged"):
        draw(rows, tmp_path / "c.svg")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", _refuse)
        with pytest.raises(StoreError, match="no more room"):
            draw(rows, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "c.svg"]


def _refuse(*_: object) -> None:
    raise OSError("no more room")


@drawn
def test_the_settings_of_matplotlib_are_left_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    charts.learning_curve(CURVES, tmp_path / "c.png")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 30, "savefig.dpi": 20, "axes.facecolor": "red"}):
        charts.learning_curve(CURVES, tmp_path / "d.png")
    assert (tmp_path / "d.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'synalign\[charts\]'"):
        charts.learning_curve(CURVES, tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": ""}, "Row 1: method is a text"),
        ({"method": "a\x00b"}, "Row 1: method is a text"),
        ({"mean": None}, "Row 1: mean is a finite number; given: None"),
        ({"mean": "0.5"}, "Row 1: mean is a finite number; given: '0.5'"),
        ({"low": float("nan")}, "Row 1: low is a finite number; given: nan"),
        ({"high": None}, "Row 1: high is a finite number; given: None"),
        ({"low": 0.9}, "Row 1: mean lies from low to high; given: "),
    ],
)
@BOTH
def test_bad_rows_are_refused(draw: Any, rows: Any, change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        draw([rows[0], {**rows[1], **change}], tmp_path / "c")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("draw", "rows", "message"),
    [
        (charts.learning_curve, [{**CURVES[0], "real_records": 0}], "whole number of at least 1; given: 0"),
        (charts.learning_curve, [{**CURVES[0], "real_records": 2.5}], "given: 2.5"),
        (charts.learning_curve, [CURVES[0], CURVES[0]], "second row of 100 real records"),
        (charts.learning_curve, [], "given: 0"),
        (charts.learning_curve, [{**CURVES[0], "method": str(k)} for k in range(15)], "at most 14 methods"),
        (charts.ablation, [LINES[0], LINES[0]], "'real alone' has a second row"),
        (charts.ablation, [{**LINES[1], "difference_low": None}], "difference_low is a finite number; given: None"),
        (charts.ablation, [{**LINES[1], "difference_low": None, "difference_high": None}], "has an interval"),
        (charts.ablation, [{**LINES[1], "difference": 0.5}], "difference lies from"),
        (charts.ablation, [LINES[0]] * 61, "1 to 60 rows; given: 61"),
    ],
)
def test_rows_that_cannot_be_drawn(draw: Any, rows: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        draw(rows, tmp_path / "c.png")


def test_other_endings_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"end in \.png or \.svg, or have no ending.*given: '\.pdf'"):
        charts.learning_curve(CURVES, tmp_path / "c.pdf")
    with pytest.raises(UsageError, match="There is no folder"):
        charts.ablation(LINES, tmp_path / "none" / "c.png")
