"""The report: what it says is right, what it quotes is harmless, and it stays small."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from tests.tables.made_runs import HOSTILE, failed_row, made_row, made_run
from trojai_seam.tables.curves import band, mean_curve
from trojai_seam.tables.frames import with_expected
from trojai_seam.tables.report import render_page
from trojai_seam.tables.report.charts import by_column, fidelity_distribution, figures, phase_curves, time_split
from trojai_seam.tables.report.content import Run, failures, group_tables, headline, models
from trojai_seam.tables.report.drawing import inline_svg, save
from trojai_seam.tables.report.model_curves import MOST_POINTS, CurveSheet


class Page(HTMLParser):
    """Tags, ids, link targets and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.ids = [value for _, attributes in self.tags for name, value in attributes.items() if name == "id"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


MIXED = [*(made_row(n) for n in range(12)), failed_row(12), failed_row(13, error_kind="timeout")]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_page(made_run(MIXED, command="trojai-seam evaluate 'a b'", settings={"method": "seam"})))


def test_the_page_is_whole_and_fetches_nothing(page):
    assert len(page.ids) == len(set(page.ids))
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not set(attributes) & {"src", "srcset", "action", "formaction", "background"}
        target = attributes.get("href")
        assert target is None or target[0] == "#", target
        assert target is None or target[1:] in page.ids, target
        assert not [name for name in attributes if name.startswith("on")]
        for reference in re.findall(r"url\(([^)]*)\)", " ".join(filter(None, attributes.values()))):
            assert reference[0] == "#"
            assert reference[1:] in page.ids
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert max(b - a for a, b in pairwise(headings)) <= 1


def test_the_policy_allows_the_page_s_own_script_and_nothing_else(page):
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    script = render_page(made_run(MIXED)).split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert sum(tag == "script" for tag, _ in page.tags) == 1


def test_the_headline_by_hand():
    rows = [
        made_row(1, fidelity=1.0, asr_after=0.0, acc_before=1.0, acc_after=1.0),
        made_row(3, fidelity=0.5, asr_after=0.4, acc_before=1.0, acc_after=0.9),
        made_row(2, kept_accuracy=0.75),
        failed_row(5),
    ]
    expected = {f"id-{n:08}": {"poisoned": n % 2 == 1} for n in range(1, 8)}
    cards = {card.label: card for card in headline(made_run(with_expected(rows, expected)))}
    assert cards["models scored"].value == "3 of 7"
    assert cards["models scored"].detail == "43 % coverage, 1 failed, 3 missing"
    assert cards["repaired"].value == "1 of 4"
    assert cards["fidelity"].value == "0.75"
    assert cards["fidelity"].detail.endswith("mean of 2 poisoned models")
    assert cards["attack success"].value == "1.00\u00a0→\u00a00.20"
    assert cards["accuracy"].value == "1.00\u00a0→\u00a00.95"
    assert cards["kept accuracy"].value == "0.75"
    assert cards["kept accuracy"].detail == "mean of 1 clean model"


def test_every_model_has_a_line_and_a_section(page):
    rows = [attributes for tag, attributes in page.tags if tag == "details" and attributes.get("class") == "model"]
    assert [row["id"] for row in rows] == [f"m{n}" for n in range(1, len(MIXED) + 1)]
    listed = models(made_run(MIXED))
    assert [model.name for model in listed] == [row["model_id"] for row in MIXED]
    second = listed[1]
    assert (second.kind, second.trigger, second.network) == ("poisoned", "polygon", "vgg11bn")
    assert ("model_sha256", f"{1:064x}") in second.facts
    measures = {measure.label: measure for measure in second.measures}
    assert (measures["ACC before"].value, measures["ACC before"].examples) == ("1.00", "6")
    assert measures["ASR before"].interval == "[0.80, 1.00]"
    groups = failures(listed, made_run(MIXED).results)
    assert [(group.kind, len(group.models)) for group in groups] == [("refused-file", 1), ("timeout", 1)]
    assert "it is broken" in "".join(page.text)


def test_in_sample_figures_are_marked():
    row = made_row(1, measured_on="in-sample", acc_after=None, fidelity=None, fit_acc_after=0.5, fit_fidelity=0.25)
    (model,) = models(made_run([row]))
    assert model.cells[1] == "0.50†"
    assert model.cells[5] == "0.25†"
    assert "in-sample" in render_page(made_run([row]))


def test_hostile_strings_are_texts_and_nothing_else():
    rows = []
    for number, text in enumerate(HOSTILE):
        harm = {"model_id": text, "architecture": text, "trigger_type": text, "notes": text, "preset": text}
        rows += [made_row(2 * number + 1, **harm), failed_row(100, **{**harm, "model_id": f"f{text}", "error": text})]
    run = made_run(rows, command=HOSTILE[0], settings={HOSTILE[0]: HOSTILE[8]}, versions={HOSTILE[8]: HOSTILE[0]})
    html = render_page(run)
    page = Page(html)
    harmless = Page(render_page(made_run([made_row(1), failed_row(2)], command="x", settings={"x": "y"})))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags} | {"defs", "clippath", "rect", "use"}
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not [a for tag, a in page.tags if tag == "img" or "onerror" in a]
    assert "<script>document.title" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "{{ 7 * 7 }}" in "".join(page.text)
    assert len(html) < 800_000
    for draw in figures(run).values():
        ET.fromstring(inline_svg(draw(), "x"))  # noqa: S314 - our own drawing
        assert save(draw(), "png")[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "rows", [[], [failed_row(0)], [made_row(0)], [made_row(1)], [{"model_id": "a", "status": "missing"}]]
)
def test_little_is_enough_for_a_page(rows):
    page = Page(render_page(made_run(rows)))
    assert len(page.ids) == len(set(page.ids))
    for draw in figures(made_run(rows)).values():
        draw()


def test_groups_are_those_that_tell_models_apart():
    run = made_run(MIXED)
    assert run.grouped_by == ("model_architecture", "trigger_type")
    assert [column for column, _ in group_tables(run)] == ["", "model_architecture", "trigger_type"]
    by_trigger = dict(group_tables(run))["trigger_type"]
    assert set(by_trigger["group"]) == {"poisoned"}  # clean models have no trigger to be grouped by
    assert made_run(MIXED, by=["poisoned"]).grouped_by == ("poisoned",)


def test_the_distribution_counts_the_lost_models():
    rows = [made_row(1, fidelity=0.9), made_row(3, fidelity=0.5), failed_row(5), failed_row(7)]
    (axes,) = fidelity_distribution(made_run(rows)).axes
    x, y = (np.asarray(values) for values in axes.lines[0].get_data())
    assert y[x <= 0.5].max() == 0.5  # two of four, not all of two
    assert y[(x > 0.5) & (x <= 0.9)].max() == 0.25
    assert y[x > 0.9].max() == 0


def test_the_best_group_stands_on_top():
    rows = [made_row(1, architecture="bad", fidelity=0.1), made_row(3, architecture="good", fidelity=0.9)]
    rows += [made_row(5, architecture="lossy", fidelity=1.0), failed_row(7, model_architecture="lossy")]
    (axes,) = by_column(made_run(rows), "model_architecture").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bad", "lossy", "good"]  # from the bottom up


def test_curves_by_hand():
    short, long = np.array([1.0, 0.5]), np.array([1.0, 0.5, 0.1])
    np.testing.assert_allclose(mean_curve([short, long]), [1.0, 0.5, 0.3])  # the short one stays at 0.5
    three = band([{"forget": short}, {"forget": long}, {"recover": short}], "forget")
    assert three is not None
    assert three.models == 2
    np.testing.assert_allclose(three.median, [1.0, 0.5, 0.3])
    assert band([{}], "forget") is None


def test_the_curves_are_those_of_the_phases_that_there_were():
    fall, rise = np.linspace(1, 0, 4), np.linspace(0, 1, 6)
    rows = [made_row(1, seconds_unlearn=2.3), made_row(3, seconds_unlearn=2.3)]
    results = made_run(rows).results
    run = Run("x", results, {"id-00000001": {"shift": fall, "recover": rise}, "id-00000003": {"forget": fall}})
    assert run.phases == ("shift", "recover", "forget")
    assert [axes.get_title(loc="left") for axes in phase_curves(run).axes] == ["shift", "Recovery", "Forgetting"]
    assert [label.get_text() for label in time_split(run).axes[0].get_legend().get_texts()] == [
        "load", "forget", "recover", "other phases", "score",
    ]  # fmt: skip
    assert [phase for phase, _ in CurveSheet(run).paths(run.curves["id-00000001"])] == ["shift", "recover"]


def test_paths_of_models_lie_within_their_box():
    long = {"recover": np.linspace(0, 1, 5000)}
    run = made_run([made_row(1)])
    sheet = CurveSheet(type(run)("x", run.results, {"id-00000001": long}))
    ((phase, path),) = sheet.paths(long)
    points = [tuple(map(float, point.split())) for point in path[1:].split("L")]
    assert phase == "recover"
    assert len(points) == MOST_POINTS
    _, _, width, height = map(float, sheet.box.split())
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert points[0][1] > points[-1][1]  # SVG counts downwards, accuracy rises
    assert points[0][0] < points[-1][0]


def test_the_same_run_gives_the_same_bytes():
    assert render_page(made_run(MIXED)) == render_page(made_run(MIXED[::-1]))


@pytest.mark.slow
def test_a_thousand_models_stay_below_ten_megabytes():
    assert len(render_page(made_run(made_row(n) for n in range(1000))).encode()) < 10e6
