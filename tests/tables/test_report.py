"""The report: what it says is right, what it quotes is harmless, and it stays small."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html as markup
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from tests.tables.made_runs import HOSTILE, failed_row, made_row, made_run
from trojai_seam.tables.comparison import compare
from trojai_seam.tables.curves import band, mean_curve
from trojai_seam.tables.frames import with_expected
from trojai_seam.tables.report import render_page
from trojai_seam.tables.report.charts import (
    accuracy_against_attack,
    by_column,
    fidelity_distribution,
    figures,
    phase_curves,
    time_split,
)
from trojai_seam.tables.report.content import MOST_LISTED, Run, doubtful, failures, group_tables, headline
from trojai_seam.tables.report.drawing import inline_svg, new_figure, save
from trojai_seam.tables.report.model_curves import MOST_POINTS, CurveSheet
from trojai_seam.tables.report.page import unbroken_options
from trojai_seam.tables.report.payload import payload
from trojai_seam.tables.report.study import Study, render_study
from trojai_seam.tables.report.study import figures as study_figures
from trojai_seam.tables.side_by_side import line_texts
from trojai_seam.tables.summary import NOT_SAID


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


def unpacked(packed: str) -> dict:
    """The data of a page, as its script reads them."""
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def values(data: dict, name: str) -> list:
    column = data["columns"][name]
    return [column["same"]] * data["rows"] if "same" in column else column["values"]


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
        assert target is None or target[1:] in page.ids or re.fullmatch(r"#m\d+", target), target  # rows: by the script
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
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert kinds == ["application/octet-stream", None]  # data, which no browser runs, and the script


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


def test_the_data_of_a_page_are_the_results():
    run = made_run(MIXED)
    data = unpacked(payload(run, CurveSheet(run)))
    assert data["rows"] == len(MIXED)
    assert values(data, "model_id") == [row["model_id"] for row in MIXED]
    assert values(data, "kind") == ["poisoned" if row["poisoned"] else "clean" for row in MIXED]
    for name in run.results.columns[run.results.notna().any()]:
        for told, known in zip(values(data, name), run.results[name], strict=True):
            assert (told is None) == (known is run.results[name].dtype.na_value), name
            assert told is None or (told == known if isinstance(told, str) else told == pytest.approx(known, abs=1e-6))
    assert data["columns"]["round"] == {"kind": "text", "same": "image-classification-feb2021"}
    assert "units_acc_after" not in data["columns"]  # nobody has one
    assert {name for name, _, _ in data["table"]} <= set(data["columns"])
    assert "model_sha256" in data["facts"]
    assert "acc_before_low" not in data["facts"]  # part of a measure
    assert dict(data["measures"])["asr_after"] == "ASR after"


def test_failures_and_doubts_are_listed_by_kind():
    results = made_run([*MIXED, made_row(20, doubts="odd")]).results
    groups = failures(results)
    assert [(group.kind, group.count, group.listed[0].name) for group in groups] == [
        ("refused-file", 1, "id-00000012"), ("timeout", 1, "id-00000013"),
    ]  # fmt: skip
    assert groups[0].listed[0].anchor == "m13"  # the thirteenth row
    assert doubtful(results).listed[0].text == "odd"
    (many,) = failures(made_run([failed_row(n) for n in range(MOST_LISTED + 7)]).results)
    assert (many.count, len(many.listed)) == (MOST_LISTED + 7, MOST_LISTED)
    assert "… and 7 more" in render_page(made_run([failed_row(n) for n in range(MOST_LISTED + 7)]))


def test_in_sample_figures_are_marked():
    row = made_row(1, measured_on="in-sample", acc_after=None, fidelity=None, fit_acc_after=0.5, fit_fidelity=0.25)
    data = unpacked(payload(made_run([row]), None))
    assert data["fallback"]["fidelity"] == "fit_fidelity"
    assert values(data, "fit_fidelity") == [0.25]
    assert "in-sample" in render_page(made_run([row]))


def test_the_head_says_what_the_run_was():
    facts = {"evaluated": "2026-11-30 04:00 UTC", "dataset": "/data/<r4>", "seed": "7", "empty": ""}
    page = Page(render_page(made_run(MIXED, facts=facts)))
    text = "".join(page.text)
    head = text[: text.index("Headline")]
    assert "2026-11-30 04:00 UTC" in head
    assert "/data/<r4>" in head
    assert "empty" not in head


NUMBERS = re.compile(r"[-\N{MINUS SIGN}]?[\d.]+")


def svg_texts(svg: str) -> list[str]:
    return [markup.unescape(text) for text in re.findall(r"<text [^<>]*>([^<]*)</text>", svg)]


def awkward() -> list[dict]:
    """Groups whose names look like coordinates, and rates in a narrow range."""
    names = ("v2.50", "net-0.125", "a very long name of a network that goes on", "d=1.23456 <x> & y")
    rows = [made_row(n, architecture=names[n // 2 % 4], trigger_type=f"t{n // 2 % 2}.750") for n in range(40)]
    return [{**row, **({"fidelity": 0.9 + row["fidelity"] / 1000} if row["poisoned"] else {})} for row in rows]


@pytest.fixture(scope="module")
def labelled() -> tuple[Run, str]:
    run = made_run(awkward())
    return run, render_page(run)


@pytest.mark.parametrize(
    "name", ["fidelity-distribution", "accuracy-against-attack", "by-model-architecture", "by-trigger-type",
             "phase-curves", "time-split"]
)  # fmt: skip
def test_every_label_of_every_figure_is_in_the_page_and_true(name, labelled):
    run, page = labelled
    figure = figures(run)[name]()
    assert page.count('role="img" aria-labelledby=') == len(figures(run)) == 6  # all of them are here
    svg = re.search(rf'aria-labelledby="{name}-title".*?</svg>', page, re.S)
    assert svg is not None
    told = svg_texts(svg[0])
    figure.draw_without_rendering()
    wanted = []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                label = tick.label1.get_text()
                if not (low <= tick.get_loc() <= high) or not label:
                    continue
                wanted.append(label)
                if NUMBERS.fullmatch(label):  # the label of a number is that number
                    assert float(label.replace("\N{MINUS SIGN}", "-")) == pytest.approx(tick.get_loc(), abs=1e-9)
        wanted += [text.get_text() for text in (axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title)]
        wanted += [text.get_text() for text in (axes.get_legend().get_texts() if axes.get_legend() else [])]
    assert sorted(told) == sorted(filter(None, wanted))
    if name.startswith("by-"):
        column = name.removeprefix("by-").replace("-", "_")
        groups = {text if len(text) <= 30 else text[:29] for text in run.results[column].dropna().unique()}
        assert all(any(label.startswith(group) for label in told) for group in groups)


def test_coordinates_are_short_and_texts_are_not():
    figure, (axes,) = new_figure()
    axes.plot([0.9012345, 0.912345], [0.1, 0.2], label='x="1.23456"')
    axes.set_title("group v2.50 <y=1.2345>")
    axes.legend()
    svg = inline_svg(figure, "x")
    assert {"group v2.50 <y=1.2345>", 'x="1.23456"'} <= set(svg_texts(svg))
    for tag in re.findall(r"<[^<>]+>", svg):
        for value in re.findall(r' (?:d|x|y|transform|viewBox)="([^"]*)"', tag):
            assert not re.search(r"\d\.\d\d", value), tag


def test_texts_carry_the_width_that_they_were_laid_out_with():
    figure, (axes,) = new_figure()
    axes.set_title("iiii")
    axes.set_xlabel("WWWW")
    svg = inline_svg(figure, "x")
    widths = {t: float(w) for w, t in re.findall(r'textLength="([\d.]+)"[^<>]*>([^<]*)<', svg)}
    assert set(widths) == set(svg_texts(svg))
    assert 2 * widths["iiii"] < widths["WWWW"]


def test_many_models_stay_a_small_figure():
    run = made_run(made_row(n) for n in range(3000))
    for draw in (fidelity_distribution, accuracy_against_attack):
        assert len(inline_svg(draw(run), "x")) < 120_000
    few = made_run(made_row(n) for n in range(40))
    (axes,) = accuracy_against_attack(few).axes
    bars = [collection for collection in axes.collections if len(collection.get_segments()) == 20]
    assert len(bars) == 3  # the ways, and the intervals of ASR and ACC
    horizontal = [segment for segment in bars[1].get_segments() if len(segment)]
    told = few.results.dropna(subset=["asr_after"])[["asr_after_low", "asr_after_high"]].to_numpy(dtype=float)
    np.testing.assert_allclose([[s[0, 0], s[1, 0]] for s in horizontal], told)


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
    assert sum(tag == "script" for tag, _ in page.tags) == 2
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
    tables = {groups.column: groups for groups in group_tables(run)}
    assert list(tables) == ["", "model_architecture", "trigger_type"]
    assert set(tables["trigger_type"].table["group"]) == {"poisoned"}  # clean models have no trigger to be grouped by
    assert set(tables["trigger_type"].single["trigger_type"]) == {NOT_SAID}  # the one that failed before it was known
    assert tables["model_architecture"].single.empty
    assert made_run(MIXED, by=["poisoned"]).grouped_by == ("poisoned",)


def test_groups_of_one_model_are_folded_away():
    rows = [*(made_row(n, architecture=f"lone{n}") for n in (1, 2)), *(made_row(n) for n in range(10, 22))]
    run = made_run(rows)
    groups = next(groups for groups in group_tables(run) if groups.column == "model_architecture")
    assert set(groups.single["model_architecture"]) == {"lone1", "lone2"}
    assert set(groups.table["model_architecture"]) == {"resnet18", "vgg11bn", "densenet121"}
    assert "2 groups of one model" in render_page(run)
    (axes,) = by_column(run, "model_architecture").axes
    assert {label.get_text() for label in axes.get_yticklabels()} == set(groups.table["model_architecture"])


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
    data = unpacked(payload(run, CurveSheet(run)))
    assert list(data["phases"]) == ["shift", "recover", "forget"]
    assert [len(points) > 0 for points in data["curves"][0]] == [True, True, False]


def test_curves_of_models_lie_within_their_box():
    long = {"recover": np.linspace(0, 1, 5000)}
    run = Run("x", made_run([made_row(1)]).results, {"id-00000001": long})
    sheet = CurveSheet(run)
    (((last, *points),),) = unpacked(payload(run, sheet))["curves"]
    assert (last, len(points), points[0], points[-1]) == (4999, MOST_POINTS, 0, 1000)
    x0, dx, y0, dy = sheet.places["recover"]
    _, _, width, height = map(float, sheet.box.split())
    assert 0 < x0 < x0 + last * dx < width
    assert 0 < y0 + dy < y0 < height  # SVG counts downwards, accuracy rises


def test_the_same_run_gives_the_same_bytes():
    assert render_page(made_run(MIXED)) == render_page(made_run(MIXED[::-1]))


def study_of(*shifts: float) -> Study:
    names = ("finetune", "<b>authors</b>", "v2.50", "d")
    results = {}
    for name, shift in zip(names, shifts, strict=False):
        rows = [made_row(n) for n in range(24)]
        for n, row in enumerate(rows):
            row.update({"fidelity": row["fidelity"] + shift * n} if row["poisoned"] else {})
        results[name] = made_run([*rows, failed_row(25)]).results
    return Study(results, compare(results), {name: {"dataset": "/data/x", "preset": name} for name in results})


def test_several_runs_are_one_page_without_a_script():
    study = study_of(0.0, 0.01, -0.01)
    page = Page(render_study(study))
    text = " ".join("".join(page.text).split())
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe", "b")]
    assert len(page.ids) == len(set(page.ids))
    for cell in line_texts(study.comparison.lines).to_numpy().ravel():
        assert str(cell) in text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.count("/data/x") == 1  # what all runs have in common is said once
    assert "settings that differ" not in text
    figures = study_figures(study)
    assert list(figures) == ["study-distribution", "study-means", "study-differences"]
    for name, draw in figures.items():
        told = svg_texts(inline_svg(draw(), name))
        assert {"v2.50", "<b>authors</b>"} <= set(told)


@pytest.mark.slow
def test_ten_thousand_models_stay_below_six_megabytes():
    rng = np.random.default_rng(0)
    rows = [made_row(n, model_sha256=rng.bytes(32).hex()) for n in range(10_000)]
    curves = {f"id-{n:08}": {"forget": rng.uniform(size=30), "recover": rng.uniform(size=60)} for n in range(10_000)}
    page = render_page(Run("large", made_run(rows).results, curves))
    assert len(page.encode()) < 6e6


def test_a_command_does_not_break_within_an_option():
    told = unbroken_options("trojai-seam evaluate a&b --out r --time-limit 5")
    assert told == "trojai-seam evaluate a&amp;b <span>--out</span> r <span>--time-limit</span> 5"
    assert unbroken_options("cyber-pdf-dec2022") == "cyber-pdf-dec2022"
