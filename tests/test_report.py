"""The report: what it draws, what it says, and what a hostile or broken run can do to it."""

import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import matplotlib.image
import numpy as np
import pytest
import report_sample as sample

from pullback.errors import CheckpointError, ConfigError, OutputError
from pullback.report import figures, write_report
from pullback.report.figures import Absent, Figure
from pullback.report.figures.curves import _envelope
from pullback.report.figures.network import _lanes
from pullback.report.history import History
from pullback.report.verdict import cards, notices, verdict

DRAWS = [
    figures.network,
    figures.augmented,
    figures.loss_curves,
    figures.metric_curves,
    figures.step_loss,
    figures.output_loss,
    figures.output_steps,
    figures.confusion,
    figures.boundary,
    figures.most_wrong,
    figures.delta_flow,
    figures.update_ratio,
    figures.weight_ridges,
    figures.check_scatter,
    figures.check_blocks,
]
LEARNED = {"network", "loss", "metric", "step-loss", "delta-flow", "update-ratio", "weights"}
CHECKED = {"check-scatter", "check-blocks"}
DRAWN = {
    "images": LEARNED
    | CHECKED
    | {"output-loss", "output-steps", "confusion", "wrong", "augmented"},
    "plane": LEARNED | CHECKED | {"confusion", "wrong", "boundary"},
    "rings": LEARNED | CHECKED | {"output-loss", "output-steps", "confusion", "wrong", "boundary"},
    "regression": LEARNED | {"output-loss", "output-steps"},
    "unfinished": LEARNED | {"output-loss", "output-steps"},
    "diverged": LEARNED | {"output-loss", "output-steps"},
    "empty": set(),
}
# A study shows it, the page of a run does not.
ON_PAGE = {name: found - {"output-steps"} for name, found in DRAWN.items()}
PAGES = ["images", "plane", "regression", "empty"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("runs")
    found = {"rings": sample.plane(base / "rings", classes=4)}
    alone = [name for name in DRAWN if name != "rings"]
    return found | {name: getattr(sample, name)(base / name) for name in alone}


@pytest.fixture(scope="module")
def histories(folders) -> dict[str, History]:
    return {name: History.read(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def pages(folders) -> dict[str, str]:
    return {
        name: write_report([folders[name]], folders[name] / "report.html").read_text("utf-8")
        for name in PAGES
    }


@pytest.fixture(scope="module")
def drawings(histories) -> dict[str, dict[str, Figure | Absent]]:
    return {
        name: {figure.id: figure for figure in (draw(history) for draw in DRAWS)}
        for name, history in histories.items()
    }


@pytest.fixture(scope="module")
def comparison(folders, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("comparison") / "page.html"
    runs = [folders[name] for name in ("images", "unfinished", "diverged", "empty")]
    return write_report(runs, out).read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Collects the tags of a page with their attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def drawn(figure: Figure | Absent) -> Figure:
    assert isinstance(figure, Figure), figure
    return figure


def texts(figure: Figure | Absent) -> list[str]:
    root = ElementTree.fromstring(drawn(figure).image)
    return [
        "".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")
    ]


# What is drawn


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_with_data_is_drawn_and_every_other_gives_its_reason(name, drawings):
    found = list(drawings[name].values())
    assert len(found) == len(DRAWS)
    assert {figure.id for figure in found if isinstance(figure, Figure)} == DRAWN[name]
    for figure in found:
        if isinstance(figure, Absent):
            assert len(figure.reason) > 10
        else:
            assert len(figure.alt) > 20
            assert len(figure.caption) > 20
            assert figure.table.rows
            assert len(figure.table.rows) <= 200
            assert all(len(row) == len(figure.table.header) for row in figure.table.rows)


def test_every_public_figure_of_one_run_is_on_the_page():
    of_several = {"training_loss", "held_out_loss", "held_out_metric"}
    public = {name for name in vars(figures) if not name.startswith("_")}
    functions = {name for name in public if type(vars(figures)[name]).__name__ == "function"}
    assert functions - of_several == {draw.__name__ for draw in DRAWS}


@pytest.mark.parametrize("name", PAGES)
def test_the_figures_lie_as_files_in_the_folder_of_the_run(name, folders, pages):
    files = {path.stem: path for path in (folders[name] / "figures").iterdir()}
    assert set(files) == ON_PAGE[name]
    for path in files.values():
        data = path.read_bytes()
        if path.suffix == ".svg":
            ElementTree.fromstring(data)
        else:
            assert data.startswith(b"\x89PNG")


def test_the_same_run_gives_the_same_bytes(folders, pages, tmp_path):
    again = write_report([folders["plane"]], tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == pages["plane"]


def test_the_page_of_a_default_run_is_below_one_megabyte(pages, histories):
    assert len(histories["images"].evaluations) == 201
    assert len(pages["images"].encode()) < 1_000_000
    assert max(len(page.encode()) for page in pages.values()) < 1_000_000


def test_the_best_epoch_is_that_of_the_lowest_validation_loss(histories, drawings):
    history = histories["images"]
    losses = [row["validation"]["loss"] for row in history.evaluations]
    assert history.best is history.evaluations[losses.index(min(losses))]
    assert f"best epoch: {history.best['epoch']}" in texts(drawings["images"]["loss"])


def test_evaluations_inside_epochs_are_drawn_by_step_with_epochs_above(drawings):
    figure = drawn(drawings["plane"]["loss"])
    assert figure.title == "Loss by step"
    assert {"step", "epoch"} <= set(texts(figure))
    assert drawn(drawings["images"]["loss"]).title == "Loss by epoch"


@pytest.mark.parametrize("n", [1, 7, 2000, 2001, 10_000])
def test_an_envelope_keeps_extremes_means_and_order(n):
    rng = np.random.default_rng(n)
    step, loss = np.arange(1.0, n + 1), rng.exponential(size=n)
    at, low, mean, high = _envelope(step, loss)
    assert len(at) == n if n <= 2000 else 3 * len(at) <= 2000
    assert (low.min(), high.max()) == (loss.min(), loss.max())
    assert np.all(low <= mean)
    assert np.all(mean <= high)
    assert np.all(np.diff(at) > 0)
    sizes = np.diff(np.append(np.linspace(0, n, len(at), endpoint=False).astype(int), n))
    assert mean @ sizes == pytest.approx(loss.sum())


def test_many_steps_are_thinned_and_the_caption_says_so(drawings):
    figure = drawn(drawings["images"]["step-loss"])
    assert "drawn in 600 bins" in figure.caption
    assert figure.table.stride == 4
    assert figure.table.total == 600


def test_the_first_loss_that_is_not_finite_is_marked(drawings):
    figure = drawn(drawings["diverged"]["step-loss"])
    assert "From step 103 on the loss is not finite." in figure.caption
    assert "not finite" in texts(figure)


def test_the_sheet_holds_every_picture_pixel_by_pixel(histories, drawings):
    history = histories["images"]
    figure = drawn(drawings["images"]["wrong"])
    assert figure.sheet is not None
    sheet = matplotlib.image.imread(io.BytesIO(figure.image)) * 255
    examples = history.all("wrong")[-1]["examples"]
    assert sheet.shape == (3 * 8, 10 * 8)
    for n, (example, tile) in enumerate(zip(examples, figure.sheet.tiles, strict=True)):
        i, j = 8 * (n // 10), 8 * (n % 10)
        pixels = np.reshape(example["pixels"], (8, 8))
        np.testing.assert_allclose(sheet[i : i + 8, j : j + 8], pixels, atol=0.01)
        assert tile.caption == f"{example['true']} → {example['predicted']}"
    last = figure.sheet.tiles[-1]
    assert (last.x, last.y) == (100, 100)


def test_examples_that_are_no_pictures_are_told_with_their_features(drawings):
    figure = drawn(drawings["plane"]["wrong"])
    assert figure.sheet is None
    assert figure.table.header[-2:] == ("x1", "x2")


def test_a_confusion_matrix_tells_counts_and_shares_of_the_row(histories, drawings):
    history = histories["images"]
    counts = np.array(history.all("confusion")[-1]["counts"])
    figure = drawn(drawings["images"]["confusion"])
    share = 100 * counts[3, 3] / counts[3].sum()
    assert figure.table.rows[3][4].split()[0] == str(counts[3, 3])
    assert f"({share:.1f}" in figure.table.rows[3][4]
    assert f"{share:.0f} %" in texts(figure)


def test_the_mistakes_of_a_hundred_classes_are_listed_instead_of_the_matrix(tmp_path):
    run = sample.images(tmp_path / "many", epochs=2, classes=[f"class {n}" for n in range(100)])
    figure = drawn(figures.confusion(History.read(run)))
    assert figure.table.header[:3] == ("true", "predicted", "count")
    assert len(figure.table.rows) <= 200
    assert all(true != predicted for true, predicted, *_ in figure.table.rows)
    assert "20 with the greatest loss" in drawn(figures.output_loss(History.read(run))).caption


def test_a_failed_check_is_drawn_as_failed(drawings):
    blocks = drawn(drawings["plane"]["check-blocks"])
    assert blocks.table.rows[0] == ("affine3/bias", "0.3", "1e-07", "wrong")
    assert {row[-1] for row in blocks.table.rows[1:]} == {"right"}
    scatter = drawn(drawings["plane"]["check-scatter"])
    assert "in a failed block" in texts(scatter)
    assert scatter.table.rows[0][0] == "affine3/bias"
    assert "in a failed block" not in texts(drawings["images"]["check-scatter"])


def test_a_check_that_found_nan_is_drawn_at_the_end_of_the_scale(tmp_path):
    run = sample.Sample(tmp_path / "nan", data="digits", epochs=1)
    entries = [{"index": [0], "analytic": float("nan"), "numeric": 0.5}]
    entries += [{"index": [1], "analytic": 0.25, "numeric": 0.25}]
    error = {"error": float("nan"), "along_error": 1e-9, "ok": False}
    block = {"name": "affine1/weight", "entries": entries, **error}
    about = {"ok": False, "threshold": 1e-7, "worst": float("nan"), "examples": 4}
    run.metrics.add("check", **about, blocks=[block], directions=[])
    history = History.read(run.end(status=None))
    assert drawn(figures.check_blocks(history)).table.rows[0][1] == "nan"
    assert drawn(figures.check_scatter(history)).table.rows[0][2] == "nan"
    assert "the worst by nan" in notices(history)[-1].text


# The network


def test_every_wire_of_towers_and_skips_is_an_edge(histories, drawings):
    root = ElementTree.fromstring(drawn(drawings["plane"]["network"]).image)
    edges = [e for e in root.iter("{http://www.w3.org/2000/svg}path") if e.get("marker-end")]
    layers = histories["plane"].all("network")[0]["layers"]
    assert len(edges) == sum(len(layer["reads"]) for layer in layers) + 1  # the loss reads one
    turns = [re.findall(r" H (\S+)", e.attrib["d"]) for e in edges]
    first, second, third = (turn[0] for turn in turns if turn)
    assert first != second  # two that run side by side
    assert first == third  # and one that begins where the first has ended


@pytest.mark.parametrize("depth", [1, 20, 40])
def test_boxes_of_a_deep_network_lie_apart_and_inside_the_drawing(depth, tmp_path):
    run = sample.Sample(tmp_path / "deep", data="digits", epochs=1)
    run.chain([784, *[500] * (depth // 2), 10])
    run.end(status=None)
    figure = drawn(figures.network(History.read(tmp_path / "deep")))
    root = ElementTree.fromstring(figure.image)
    rects = [dict(e.attrib) for e in root.iter("{http://www.w3.org/2000/svg}rect")]
    ground, boxes = rects[0], rects[1:]
    assert len(boxes) == len(figure.table.rows) + 2  # the input and the loss
    for above, below in pairwise(boxes):
        assert float(above["y"]) + float(above["height"]) < float(below["y"])
    assert float(boxes[-1]["y"]) + float(boxes[-1]["height"]) < float(ground["height"])
    widths = [float(box["width"]) for box in boxes]
    assert widths[0] == max(widths)


def test_arcs_that_run_side_by_side_never_share_a_lane():
    arcs = [(0, 5), (1, 3), (2, 6), (4, 8), (0, 8), (6, 8)]
    lanes = _lanes(arcs)
    for a, one in enumerate(arcs):
        for b, other in enumerate(arcs[:a]):
            if one[0] < other[1] and other[0] < one[1]:
                assert lanes[a] != lanes[b]


# What is said


def test_the_verdict_of_a_good_run(histories):
    said = " ".join(verdict(histories["images"])).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert said.startswith(
        "A network of 5 layers and 6 310 parameters was trained on digits (1 077 examples, "
        "10 classes) for 200 epochs with SGD(learning_rate=0.1) on SoftmaxCrossEntropy() and the "
        "penalty L2(0.001). On the 360 examples of the test part it reaches an accuracy of"
    )
    assert said.endswith(
        "Every derivative that was checked is right: in 6 blocks of parameters they agree with "
        "central differences to 1×10⁻¹⁰ (relative; threshold 1×10⁻⁷)."
    )
    assert notices(histories["images"]) == []


@pytest.mark.parametrize(
    ("name", "titles", "tones"),
    [
        ("images", [], {"Gradient check": "good", "Status": "good"}),
        ("plane", ["Gradient check failed"], {"Gradient check": "bad", "Status": "good"}),
        ("regression", [], {"Gradient check": "unsure", "Status": "good"}),
        ("unfinished", ["Unfinished"], {"Gradient check": "unsure", "Status": "unsure"}),
        ("diverged", ["Diverged"], {"Gradient check": "unsure", "Status": "bad"}),
        ("empty", ["Unfinished"], {"Gradient check": "unsure", "Status": "unsure"}),
    ],
)
def test_what_went_wrong_is_told_and_never_green(name, titles, tones, histories):
    assert [notice.title for notice in notices(histories[name])] == titles
    told = {card.label: card.tone for card in cards(histories[name])}
    assert {label: told[label] for label in tones} == tones


def test_what_went_wrong_stands_above_all_else(pages):
    for name, title in (("plane", "Gradient check failed"), ("empty", "Unfinished")):
        assert pages[name].index(f"<strong>{title}.") < pages[name].index('class="verdict"')


def test_a_run_without_a_check_is_not_called_right(histories):
    assert "Its derivatives were not checked." in verdict(histories["regression"])
    assert "is right" not in " ".join(verdict(histories["plane"]))


def test_a_run_that_diverged_tells_of_its_last_evaluation(histories):
    said = " ".join(verdict(histories["diverged"]))
    assert "it reached, at its last evaluation after epoch 3, an accuracy of" in said
    assert "Loss became nan at epoch 4, step 103" in notices(histories["diverged"])[0].text


def test_a_regression_is_told_by_r_squared(histories, pages):
    assert "R² = " in " ".join(verdict(histories["regression"]))
    assert "a regression has no classes" in pages["regression"]
    assert not re.search("accuracy", pages["regression"], re.IGNORECASE)


def test_a_run_without_held_out_data_says_so(tmp_path):
    run = sample.Sample(tmp_path / "all", data="digits", epochs=1)
    run.chain([64, 10])
    run.data("digits")
    score = {"loss": 0.5, "accuracy": 0.9, "outputs": [0.5]}
    run.metrics.add("evaluation", epoch=1, step=9, penalty=0.0, train=score)
    said = " ".join(verdict(History.read(run.end(status=None))))
    assert "No part was held out: of new data this says nothing." in said


# The page


@pytest.mark.parametrize("name", [*PAGES, "comparison"])
def test_the_page_is_whole_safe_and_needs_nothing_else(name, pages, comparison):
    page = comparison if name == "comparison" else pages[name]
    outline = Outline(page)
    policy = outline.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in policy["content"]
    assert outline.all("html") == [{"lang": "en"}]
    assert not {"script", "iframe", "object", "base", "form"} & {tag for tag, _ in outline.tags}
    assert "http://" not in page
    assert "https://" not in page
    for tag, attributes in outline.tags:
        assert not any(key.startswith("on") for key in attributes), (tag, attributes)
        assert attributes.get("href", "#").startswith(("#", "data:"))
        assert attributes.get("src", "data:").startswith("data:")
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in outline.all("a"):
        assert link["href"].removeprefix("#") in ids
    assert all(len(image["alt"]) > 20 for image in outline.all("img"))
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_has_alt_text_a_caption_and_a_table(name, pages):
    bodies = re.findall(r"<figure.*?</figure>", pages[name], re.DOTALL)
    assert len(bodies) == len(ON_PAGE[name])
    for body in bodies:
        outline = Outline(body)
        assert outline.all("figcaption")
        assert outline.all("details")
        assert outline.all("table")
        assert outline.all("img") or any(tag.get("role") == "img" for tag in outline.all("div"))


HOSTILE = [
    sample.HOSTILE,
    '"><img src=x onerror=alert(1)>',
    "$\\frac{1}{0}$",
    "_hidden",
    "{{ 7 * 7 }}",
    "a\x00b\x1b",
    "line\nbreak",
    'transform="rotate(-0 ',
    "数字",
    "x" * 300,
]


def test_names_of_the_user_are_never_markup(tmp_path):
    run = sample.images(tmp_path / "<b>run", epochs=2, classes=HOSTILE)
    page = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<b>run" not in page
    assert "&lt;script&gt;alert" in page
    assert "{{ 7 * 7 }}" in page
    for path in (run / "figures").glob("*.svg"):
        root = ElementTree.fromstring(path.read_bytes())
        assert not [e for e in root.iter() if e.tag.endswith(("script", "foreignObject"))]
    shown = texts(figures.confusion(History.read(run)))
    assert "<script>alert…" in shown
    assert "_hidden" in shown
    assert "$\\frac{1}{0}$" in shown


def test_names_of_layers_features_and_parts_of_the_plane_are_never_markup(tmp_path):
    run = sample.Sample(tmp_path / "hostile", data="toml", epochs=2)
    layers = [(sample.HOSTILE, sample.HOSTILE, ["x"], [2], 6, sample.HOSTILE)]
    run.network(layers, [2], sample.HOSTILE, penalty=sample.HOSTILE)
    run.data(sample.HOSTILE, classes=[sample.HOSTILE, "b"], features=[sample.HOSTILE, "y"])
    run.check()
    run.train(2)
    run.confusion(2)
    run.wrong(2, n=3, features=2)
    run.boundary(2, labels=(sample.HOSTILE, "y"))
    run.end("diverged", sample.HOSTILE)
    runs = [run.folder, sample.images(tmp_path / "other", epochs=2)]
    for n in (1, 2):
        page = write_report(runs[:n], tmp_path / "page.html").read_text(encoding="utf-8")
        assert "<script" not in page
        assert "&lt;script&gt;" in page


# Several runs


def test_a_comparison_tells_results_and_what_differs(comparison):
    assert re.search(
        r"<th scope=\"row\">train.learning_rate<td>0.1<td>0.1<td>50.0<td>0.1", comparison
    )
    assert "data.batch_size" not in comparison.split("Settings that differ")[1].split("</table>")[0]
    for status in ("done", "unfinished", "diverged"):
        assert f"<td>{status}<td>" in comparison


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [sample.images(tmp_path / parent / "digits", epochs=2) for parent in ("a", "b")]
    page = write_report(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "a/digits" in page
    assert "b/digits" in page


def test_classification_and_regression_share_no_axis(histories):
    both = [histories["images"], histories["regression"]]
    assert isinstance(figures.held_out_metric(both), Absent)
    assert isinstance(figures.held_out_loss(both), Figure)


def test_a_comparison_leaves_the_folders_of_the_runs_alone(tmp_path):
    runs = [sample.images(tmp_path / name, epochs=2) for name in ("a", "b")]
    before = sorted(tmp_path.rglob("*"))
    write_report(runs, tmp_path / "page.html")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "page.html"])


# What is broken


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least one run"):
        write_report([], tmp_path / "page.html")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no run"):
        write_report([tmp_path], tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["metrics.jsonl", "timing.jsonl", "meta.json", "result.json"])
def test_a_broken_file_is_named(file, tmp_path):
    run = sample.images(tmp_path / "run", epochs=2)
    text = (run / file).read_text()
    (run / file).write_text(text.replace('"', "", 1))
    with pytest.raises(CheckpointError, match=re.escape(file)):
        write_report([run], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_an_output_error(tmp_path):
    run = sample.empty(tmp_path / "run")
    with pytest.raises(OutputError, match="cannot write"):
        write_report([run], run / "config.toml" / "page.html")
    (run / "figures").rmdir()
    (run / "figures").write_text("in the way")
    with pytest.raises(OutputError, match="figures"):
        write_report([run], tmp_path / "page.html")


# What it costs others


def test_drawing_leaves_matplotlib_as_it_was(histories):
    before = dict(matplotlib.rcParams)
    figures.loss_curves(histories["plane"])
    assert dict(matplotlib.rcParams) == before


def test_the_report_is_light_to_import_and_never_loads_pyplot_or_jax(folders, tmp_path):
    script = f"""
import sys
from pathlib import Path
from pullback.report import write_report
heavy = {{"matplotlib", "jinja2", "jax", "sklearn", "pyarrow"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
write_report([Path({str(folders["plane"])!r})], Path({str(tmp_path / "page.html")!r}))
assert not {{"matplotlib.pyplot", "jax", "sklearn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
