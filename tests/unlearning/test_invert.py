"""Whole-image triggers are looked for on clean images alone, and what is found is unlearned by name."""

from __future__ import annotations

import copy
import importlib
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, run
from trojai_seam.unlearning.context import Context, Suspicion
from trojai_seam.unlearning.perturbations import (
    FAMILIES,
    Blend,
    Change,
    Family,
    HorizontalStripes,
    Patch,
    Pattern,
    VerticalStripes,
    Warp,
    families,
    searched,
)
from trojai_seam.unlearning.phases.distil import Distilling, DistilSettings
from trojai_seam.unlearning.phases.invert import InvertSettings, invert
from trojai_seam.unlearning.phases.refit import RefitSettings, refit_layers
from trojai_seam.unlearning.training import Batch
from trojai_seam.unlearning.training_mode import still

SIDE, CLASSES = 12, 4
TASK = get_task("classification", CLASSES)


class Quadrants(nn.Module):
    """The class is the brightest quadrant; with a picture, class 2 also is what looks a little like the picture."""

    def __init__(self, picture: Tensor | None = None, width: float = 6.0) -> None:
        super().__init__()
        rows = torch.zeros(CLASSES, 1, SIDE, SIDE)
        half = SIDE // 2
        for number in range(CLASSES):
            top, left = half * (number // 2), half * (number % 2)
            rows[number, :, top : top + half, left : left + half] = 1 / half**2
        self.look = nn.Linear(SIDE * SIDE, CLASSES, bias=False)
        self.spot = nn.Linear(SIDE * SIDE, 1, bias=False)
        with torch.no_grad():
            self.look.weight.copy_(20 * rows.flatten(1))
            self.spot.weight.copy_(torch.zeros(1, SIDE * SIDE) if picture is None else width * picture.flatten()[None])

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        extra = torch.nn.functional.pad(self.spot(flat), (2, 1))
        scores: Tensor = self.look(flat) + extra
        return scores


def checkers() -> Tensor:
    """A picture that clean images and quadrants know nothing of: its sum over every quadrant is zero."""
    return ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)[None]) % 2 * 2 - 1).float()


def images(count: int = 40) -> ExampleSet:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % CLASSES
    x = torch.rand(count, 1, SIDE, SIDE, generator=generator) * 0.1 + 0.4
    half = SIDE // 2
    for number, label in enumerate(labels.tolist()):
        top, left = half * (label // 2), half * (label % 2)
        x[number, :, top : top + half, left : left + half] += 0.3
    return ExampleSet({"x": x}, labels, tuple(map(str, range(count))))


def context(model: nn.Module, fit: ExampleSet | None = None, seed: int = 0) -> Context:
    torch.manual_seed(seed)
    return Context(model.eval(), model.eval(), TASK, images() if fit is None else fit, UnlearnConfig(), seed, None)


def test_a_blended_picture_is_found_with_its_class_and_a_clean_network_is_not_suspected() -> None:
    trojaned, clean = context(Quadrants(checkers())), context(Quadrants())
    found = invert(trojaned, InvertSettings())
    assert found.figures["suspected"] == 1
    assert found.figures["target"] == 2
    assert trojaned.evident
    assert {one.target for one in trojaned.suspicions} == {2}
    assert [one.family.name for one in trojaned.suspicions] == [
        family.name for family in FAMILIES if not family.special
    ]
    assert found.figures["gap"] >= 2.5
    assert invert(clean, InvertSettings()).figures == {"suspected": 0.0}
    assert not clean.evident


def test_a_class_that_does_not_stand_out_far_enough_is_not_suspected() -> None:
    here = context(Quadrants(checkers()))
    assert invert(here, InvertSettings(least_gap=100)).figures == {"suspected": 0.0}
    assert here.suspicions == ()
    loose = context(Quadrants(checkers()))
    assert invert(loose, InvertSettings(least_gap=1, evident_gap=100)).status.startswith("suspects-")
    assert loose.suspicions
    assert not loose.evident


def test_looking_changes_nothing_and_is_the_same_twice() -> None:
    model = Quadrants(checkers())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = (invert(context(model), InvertSettings()) for _ in range(2))
    assert first.figures == second.figures
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_no_change_goes_further_than_its_family_allows(family: type[Family]) -> None:
    x = images().inputs["x"]
    one = next(f for f in families(x, strength=2.0) if isinstance(f, family))
    start = one.starts(Quadrants(checkers()), x, 2, 1)[0]
    change = Change(torch.randint(0, 2, start.values.shape).float(), start.place)
    seen = one.put(x, change)
    assert seen.shape == x.shape
    assert float(seen.min()) >= float(x.min()) - 1e-6
    assert float(seen.max()) <= float(x.max()) + 1e-6
    if family is Patch:
        assert int(((seen - x).abs() > 1e-6).any(dim=0).sum()) <= one.window**2
    elif family is not Warp:
        span = float(x.max() - x.min())
        assert float((seen - x).abs().max()) <= 2 * (0.05 if family is Blend else 0.06) * span + 1e-6


def test_the_middle_of_every_family_but_blending_is_no_change() -> None:
    x = images().inputs["x"]
    for family in families(x):
        if isinstance(family, Pattern | Warp | VerticalStripes):
            start = family.starts(Quadrants(), x, 0, 1)[0]
            assert torch.allclose(family.put(x, Change(torch.full_like(start.values, 0.5))), x, atol=1e-4)


@pytest.mark.parametrize(("stripes", "along"), [(VerticalStripes, 2), (HorizontalStripes, 3)])
def test_stripes_are_the_same_in_all_rows_or_in_all_columns(stripes: type[Family], along: int) -> None:
    x = torch.full((2, 3, 8, 12), 0.5)
    family = stripes(torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), (8, 12))
    (one,) = family.starts(Quadrants(), x, 0, 2)
    added = family.put(x, one) - x
    assert torch.allclose(added, added.mean(dim=along, keepdim=True).expand_as(added), atol=1e-6)
    assert float(added.std()) > 0.005


@pytest.mark.parametrize("turned", [False, True])
def test_striped_triggers_are_found(turned: bool) -> None:
    stripes = (torch.arange(SIDE) % 2 * 2 - 1).float().expand(SIDE, SIDE)
    here = context(Quadrants(stripes.T if turned else stripes))
    invert(here, InvertSettings())
    assert here.evident
    assert {one.target for one in here.suspicions} == {2}
    weights = {one.family.name: one.weight for one in here.suspicions}
    names = ("horizontal-stripes", "vertical-stripes")
    assert names[turned] not in weights
    assert weights[names[not turned]] == max(weights.values())


def test_a_warp_moves_pixels_by_its_share_of_half_the_side() -> None:
    x = torch.arange(32.0).expand(1, 1, 32, 32)
    warp = Warp(x.amin((0, 2, 3), keepdim=True), x.amax((0, 2, 3), keepdim=True), (32, 32))
    change = torch.full((1, 2, 4, 4), 0.5)
    change[:, 0] = 1.0  # all to the right
    moved = warp.put(x, Change(change)) - x
    assert torch.allclose(moved[..., :-3], torch.tensor(0.12 * 16), atol=1e-3)


def test_a_blend_is_the_mixture_by_its_share_and_values_are_those_of_the_images() -> None:
    x = torch.stack([torch.full((3, 4, 4), -2.0), torch.full((3, 4, 4), 6.0)])
    blend = next(f for f in families(x) if isinstance(f, Blend))
    assert torch.allclose(blend.put(x, Change(torch.ones(1, 3, 4, 4)))[0], torch.tensor(0.95 * -2 + 0.05 * 6.0))
    assert torch.allclose(blend.put(x, Change(torch.zeros(1, 3, 4, 4)), 0.5)[1], torch.tensor(0.975 * 6 + 0.025 * -2.0))


def test_a_step_of_the_search_goes_along_the_sign_of_the_gradient() -> None:
    model, x = Quadrants(checkers()), images().inputs["x"]
    blend = next(f for f in families(x) if isinstance(f, Blend))
    change = torch.full((1, 1, SIDE, SIDE), 0.5)
    with still(model):
        moved = searched(model, x, blend, 2, Change(change), [0.1]).values - 0.5
    inside = checkers() * (torch.arange(SIDE)[:, None] < SIDE // 2)  # the upper half, of no interest to class 2
    assert torch.equal(moved.sign()[0, 0][inside != 0], inside[inside != 0])
    assert torch.allclose(moved.abs(), torch.tensor(0.1))


def test_two_classes_and_images_of_one_class_can_be_looked_at() -> None:
    fit = images(8)
    alone = fit.subset([0, 4])
    assert invert(context(Quadrants(checkers()), alone), InvertSettings()).figures.get("target") != 0
    two = get_task("classification", 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2))
    half = fit.subset([0, 1, 4, 5])
    assert invert(Context(model.eval(), model, two, half, UnlearnConfig(), 0, None), InvertSettings()).phase == "invert"


@pytest.mark.parametrize(
    ("when", "evident", "status"),
    [
        ("unless-evident", Blend, "off"),
        ("unless-evident", None, "done"),
        ("evident", None, "off"),
        ("evident", Blend, "done"),
        ("evident-patch", Blend, "off"),
        ("evident-patch", Patch, "done"),
        ("evident-patch", None, "off"),
    ],
)
def test_refitting_waits_for_what_was_found(when: str, evident: type[Family] | None, status: str) -> None:
    hidden = nn.Sequential(nn.Flatten(), *(nn.Linear(SIDE * SIDE, SIDE * SIDE) for _ in range(2)), nn.ReLU())
    here = context(nn.Sequential(hidden, nn.Linear(SIDE * SIDE, CLASSES)))
    here.evident = next((one for one in families(here.fit.inputs["x"]) if type(one) is evident), None)
    before = copy.deepcopy(here.model.state_dict())
    settings = RefitSettings.model_validate({"when": when, "strength": 1.0})
    assert refit_layers(here, settings).status == status
    same = [torch.equal(before[name], tensor) for name, tensor in here.model.state_dict().items()]
    assert all(same) == (status == "off")


def test_waiting_for_what_no_phase_looks_for_is_refused_before_anything_runs() -> None:
    waits, search = {"kind": "refit", "when": "evident"}, {"kind": "invert"}
    for phases in ([waits], [waits, search]):
        with pytest.raises(EngineFailure, match=r"phase refit waits .*when=evident.* kind invert before it"):
            run(Quadrants(checkers()), TASK, images(), UnlearnConfig(phases=phases), 0)


def forgotten(shipped: nn.Module, left: nn.Module) -> Context:
    """What a phase that forgets leaves of ``shipped``."""
    torch.manual_seed(0)
    return Context(left.eval(), shipped.eval(), TASK, images(), UnlearnConfig(), 0, None)


def test_a_change_that_leads_further_after_forgetting_speaks_less_for_its_class() -> None:
    """The same network as shipped, and the same change: only what forgetting left of it tells the two apart."""
    shipped, more = Quadrants(checkers(), width=5.0), Quadrants(checkers(), width=12.0)
    trojan, natural = (invert(forgotten(shipped, left), InvertSettings()).figures for left in (Quadrants(), more))
    assert trojan["target"] == natural["target"] == 2
    assert trojan["reached"] == natural["reached"]
    assert trojan["left"] < 0.2 < natural["reached"] < natural["left"]
    assert trojan["gap"] > natural["gap"] + 1
    between = InvertSettings(least_gap=(trojan["gap"] + natural["gap"]) / 2)
    found = [invert(forgotten(shipped, left), between).status for left in (Quadrants(), more)]
    assert found[0].startswith("finds-")
    assert found[1] == "nothing-found"


def test_a_class_that_forgetting_leaves_to_no_other_is_not_suspected() -> None:
    """The network that is left gives class 2 for everything, so that nothing can tell what a change does there."""
    left = Quadrants()
    with torch.no_grad():
        left.spot.weight.fill_(10.0)
    here = forgotten(Quadrants(checkers()), left)
    invert(here, InvertSettings())
    assert 2 not in {one.target for one in here.suspicions}


def test_forgetting_is_undone_where_a_class_is_evident_and_only_there() -> None:
    for shipped, restored in ((Quadrants(checkers()), True), (Quadrants(), False)):
        here = forgotten(shipped, Quadrants())
        with torch.no_grad():
            here.model.look.weight.mul_(0.5)
        halved = here.model.look.weight.clone()
        invert(here, InvertSettings())
        assert torch.equal(here.model.look.weight, halved)
        found = invert(here, InvertSettings(restore=True))
        assert (here.evident is not None) == restored
        assert torch.equal(here.model.look.weight, shipped.look.weight) == restored
        assert found.end_accuracy == here.accuracy()


@pytest.mark.parametrize("remains", [True, False])
def test_forgetting_is_undone_only_for_whole_images_that_still_lead_to_the_class(
    remains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that was shipped with a blend, and what a phase left of it, with that blend or without."""
    monkeypatch.setattr(
        "trojai_seam.unlearning.phases.invert.families",
        lambda images: [family for family in families(images) if not family.local],
    )
    shipped = Quadrants(checkers())
    here = forgotten(shipped, Quadrants(checkers()) if remains else Quadrants())
    with torch.no_grad():
        here.model.look.weight.mul_(0.9)
    found = invert(here, InvertSettings(restore=True, least_left=0.3))
    assert (found.figures["left"] >= 0.3) == remains
    assert {one.target for one in here.suspicions} == {2}
    assert (here.evident is not None) == remains
    assert torch.equal(here.model.look.weight, shipped.look.weight) == remains


@pytest.mark.parametrize("patch_gap", [2.6, 2.4])
def test_of_two_clear_findings_the_one_that_is_left_decides(patch_gap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blend that is forgotten stands out most, a patch less: the patch is evident, or nothing is."""
    here = forgotten(Quadrants(checkers()), Quadrants())
    module = importlib.import_module("trojai_seam.unlearning.phases.invert")

    def found(self: object, family: Family) -> object:
        gap = {"blend": 9.0, "patch": patch_gap}.get(family.name, 0.0)
        first = module._Candidate(2, Change(torch.zeros(1, 1, 2, 2)), reached=1.0, left=0.0, evidence=gap)
        return module._Finding(family, [first, module._Candidate(3, first.change, evidence=0.0)])

    monkeypatch.setattr(module._Search, "finding", found)
    outcome = invert(here, InvertSettings(least_left=0.3))
    assert (here.evident is not None) == (patch_gap > 2.5)
    assert outcome.status == ("finds-patch" if here.evident else "suspects-blend")
    assert outcome.figures["gap"] == (patch_gap if here.evident else 9.0)


@pytest.mark.parametrize(
    ("lead", "status"), [(1.7, "nothing-found"), (3.9, "suspects-vertical-stripes"), (4.1, "finds-vertical-stripes")]
)
def test_stripes_must_stand_out_further_to_be_evident(
    lead: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(Quadrants())
    module = importlib.import_module("trojai_seam.unlearning.phases.invert")

    def found(self: object, family: Family) -> object:
        mine = lead if isinstance(family, VerticalStripes) and not isinstance(family, HorizontalStripes) else 0.0
        first = module._Candidate(2, Change(torch.zeros(1, 1, 2, 2)), reached=1.0, evidence=mine)
        return module._Finding(family, [first, module._Candidate(3, first.change, evidence=0.0)])

    monkeypatch.setattr(module._Search, "finding", found)
    assert invert(here, InvertSettings()).status == status


def test_without_forgetting_before_nothing_has_to_be_left() -> None:
    here = context(Quadrants(checkers()))
    invert(here, InvertSettings(least_left=0.3))
    assert here.evident is not None


def test_a_patch_is_evident_whatever_is_left_of_it() -> None:
    patched = Corner(STRIPED, 9, 7)
    here = forgotten(patched, Corner(torch.zeros(2, 2), 9, 7))
    found = invert(here, InvertSettings(least_left=0.3))
    assert found.figures["left"] < 0.3
    assert here.evident is not None
    assert here.evident.local


def test_what_was_pruned_stays_so_where_forgetting_is_undone() -> None:
    here = forgotten(Quadrants(checkers()), Quadrants())
    where = torch.zeros_like(here.model.look.weight, dtype=torch.bool)
    where[3] = True
    here.prune(here.model.look.weight, where)
    invert(here, InvertSettings(restore=True))
    assert here.evident
    assert float(here.model.look.weight[3].detach().abs().max()) == 0


def test_a_second_search_forgets_what_the_first_one_found() -> None:
    here = context(Quadrants(checkers()))
    invert(here, InvertSettings())
    assert here.suspicions
    invert(here, InvertSettings(least_gap=100))
    assert here.suspicions == ()
    assert here.evident is None


def test_all_classes_that_stand_out_in_some_family_are_pursued(monkeypatch: pytest.MonkeyPatch) -> None:
    search = importlib.import_module("trojai_seam.unlearning.phases.invert")
    firsts = {"blend": 2, "pattern": 1, "warp": 3, "patch": 0, "vertical-stripes": 0, "horizontal-stripes": 0}

    def finding(self: object, family: Family) -> object:
        candidates = [search._Candidate(firsts[family.name], Change(torch.zeros(1, 1, 2, 2)), 1.0, 0.0, 4.0)]
        gap = {"blend": 5.0, "pattern": 2.0, "warp": 0.5, "patch": 0.0}.get(family.name, 0.0)
        rest = [search._Candidate(c, candidates[0].change, 0.1, 0.0, 4.0 - gap) for c in range(CLASSES)]
        return search._Finding(family, candidates + [one for one in rest if one.target != firsts[family.name]])

    monkeypatch.setattr(search._Search, "finding", finding)
    here = context(Quadrants(checkers()))
    found = invert(here, InvertSettings())
    assert found.figures["suspected"] == 2
    assert found.figures["target"] == 2
    assert {one.target for one in here.suspicions} == {1, 2}
    assert len(here.suspicions) == 2 * sum(not family.special for family in FAMILIES)


def test_distilling_leads_its_share_of_the_batch_to_the_suspected_class() -> None:
    here = context(Quadrants(checkers()))
    here.suspicions = (Suspicion(families(here.fit.inputs["x"])[0], 2),)
    settings = DistilSettings.model_validate({"perturbed": 0.25, "disturbed": 0.5, "pursuit": 8, "reach": 4})
    phase = Distilling(here, settings)
    order = torch.arange(len(here.fit))
    shown = {name: tensor.clone() for name, tensor in here.fit.inputs.items()}
    seen = phase.before_step(shown, Batch(order, order, here.fit.labels))["x"]
    given = here.fit.inputs["x"]
    changed = [not torch.equal(a, b) for a, b in zip(seen, given, strict=True)]
    assert sum(changed[20:]) == 0
    assert all(changed[:10])
    with torch.no_grad():
        wanted = here.model(seen[:10]).log_softmax(1)[:, 2] - here.model(given[:10]).log_softmax(1)[:, 2]
    others = here.fit.labels[:10] != 2
    assert float(wanted[others].min()) > 0
    assert phase.pursued[0].family.strength == 4


def test_without_suspicion_distilling_is_what_it_was() -> None:
    fit = images()
    rest = {"kind": "distil", "max_epochs": 2, "disturbed": 0.5, "learning_rate": 1e-2}
    outcomes = [
        run(Quadrants(checkers()), TASK, fit, UnlearnConfig.from_document({"batch_size": 8, "phases": [phase]}), 1)
        for phase in (rest, {**rest, "perturbed": 0.25})
    ]
    first, second = (outcome.model.state_dict() for outcome in outcomes)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("perturbed", [0.5, 0.0])
def test_a_blended_trojan_is_unlearned_by_name_and_stays_without_that(perturbed: float) -> None:
    """The key step removed: without the perturbed share of the batches the trojan stays."""
    fit, picture = images(), checkers()
    model = Quadrants(picture)
    phases = [
        {"kind": "invert"},
        {
            "kind": "distil",
            "max_epochs": 30,
            "learning_rate": 1.0,
            "disturbed": 0.5,
            "perturbed": perturbed,
            "reach": 4,
        },
    ]
    config = UnlearnConfig.from_document({"batch_size": 8, "phases": phases})
    x, low, high = fit.inputs["x"], float(fit.inputs["x"].min()), float(fit.inputs["x"].max())
    triggered = x + 0.2 * (low + (picture + 1) / 2 * (high - low) - x)
    others = fit.labels != 2
    rates, kept = [], []
    for seed in range(4):  # one of so few steps says little
        net = run(model, TASK, fit, config, seed).model
        rates.append(float((net(triggered[others]).argmax(1) == 2).float().mean()))
        kept.append(float((net(x).argmax(1) == fit.labels).float().mean()))
    assert sum(kept) / len(kept) > 0.9
    assert bool((model(triggered[others]).argmax(1) == 2).all())
    mean = sum(rates) / len(rates)
    assert mean < 0.85 if perturbed else mean > 0.95


def test_log_odds_are_finite_where_all_or_none_give_the_class() -> None:
    here = context(Quadrants(checkers(), width=500.0))
    figures = invert(here, InvertSettings()).figures
    assert figures["reached"] > 0.9
    assert math.isfinite(figures["gap"])


def test_where_time_is_up_nothing_is_suspected() -> None:
    here = context(Quadrants(checkers()))
    here.deadline = 0.0
    assert invert(here, InvertSettings()).status == "time-limit"
    assert here.suspicions == ()


def test_all_disturbed_images_may_be_led_to_the_suspected_class() -> None:
    here = context(Quadrants(checkers()))
    here.suspicions = (Suspicion(families(here.fit.inputs["x"])[0], 2),)
    phase = Distilling(here, DistilSettings.model_validate({"perturbed": 1.0, "disturbed": 0.5}))
    order = torch.arange(len(here.fit))
    seen = phase.before_step(dict(here.fit.inputs), Batch(order, order, here.fit.labels))["x"]
    assert seen.shape == here.fit.inputs["x"].shape
    assert torch.equal(seen[20:], here.fit.inputs["x"][20:])


def test_of_many_classes_those_are_looked_at_that_images_are_nearest_to() -> None:
    assert invert(context(Quadrants(checkers())), InvertSettings(classes=3, finalists=2)).status.startswith("finds-")
    far = Quadrants(checkers())
    shut = nn.Sequential(far, Shifted(torch.tensor([0.0, 0.0, -300.0, 0.0])))
    assert invert(context(shut), InvertSettings(classes=3, finalists=2)).status == "nothing-found"


class Shifted(nn.Module):
    """Adds the same to all scores."""

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.shift = nn.Parameter(shift)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


STRIPED = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])


class Corner(nn.Module):
    """The class is the brightest quadrant, and class 1 also what has a certain picture in one corner."""

    def __init__(self, picture: Tensor, row: int, column: int) -> None:
        super().__init__()
        self.quadrants = Quadrants()
        self.picture, self.at = picture, (slice(row, row + len(picture)), slice(column, column + len(picture)))

    def forward(self, x: Tensor) -> Tensor:
        alike = (self.picture * (x[:, 0, self.at[0], self.at[1]] - 0.55)).sum(dim=(1, 2))
        scores: Tensor = self.quadrants(x) + functional.pad(20 * (alike[:, None] - 0.3).clamp(min=-1), (1, 2))
        return scores


def test_a_patch_is_found_with_its_class_and_its_place_and_leads_there() -> None:
    here = context(Corner(STRIPED, 9, 7))
    outcome = invert(here, InvertSettings())
    assert outcome.status == "finds-patch"
    assert outcome.figures["target"] == 1
    patch = next(one for one in here.suspicions if isinstance(one.family, Patch))
    assert overlaps(patch.changes[0].place, (9, 7))
    assert patch.weight == max(one.weight for one in here.suspicions)
    assert all(not one.changes for one in here.suspicions if one is not patch)


def overlaps(place: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether patches of 2 × 2 pixels do."""
    return max(abs(a - b) for a, b in zip(place, other, strict=True)) < 2


def test_the_first_places_are_those_that_a_class_hangs_on_and_do_not_overlap() -> None:
    x = images().inputs["x"]
    patch = next(f for f in families(x) if isinstance(f, Patch))
    assert patch.window == 2
    network = Corner(STRIPED, 9, 7)
    for seed in range(5):
        torch.manual_seed(seed)
        starts = patch.starts(network, x, 1, 40)
        places = [one.place for one in starts]
        assert overlaps(places[0], (9, 7))
        assert len(set(places)) == len(places) == 40
        for turn in range(2):
            own = places[turn:30:2]
            assert not any(overlaps(a, b) for n, a in enumerate(own) for b in own[:n])


def test_what_gradients_do_not_see_is_found_by_trying() -> None:
    """A class that only a patch of full contrast speaks for, as a trigger does: no gradient at clean images."""

    def scores(x: torch.Tensor) -> torch.Tensor:
        lit = (x[:, :, 3:5, 8:10].flatten(1).mean(dim=1) - x.mean(dim=(1, 2, 3)) > 0.1).float()
        return torch.stack([torch.ones(len(x)), 5 * lit, x[:, :, 0, 0].mean(dim=1)], dim=1)

    x = images().inputs["x"]
    patch = next(f for f in families(x) if isinstance(f, Patch)).surveyed(scores, x)
    assert patch.survey is not None
    first = patch.starts(scores, x, 1, 1)[0]
    assert first.place == (3, 8)
    assert float(first.values.min()) > 0.5
    assert patch.survey.raised[0, 0, patch.survey.places.index((3, 8)), 1] > 1


def test_where_no_class_can_be_told_there_are_no_places_twice() -> None:
    x = images().inputs["x"]
    patch = next(f for f in families(x) if isinstance(f, Patch))
    never = Quadrants()

    def scores(seen: torch.Tensor) -> torch.Tensor:
        answers = never(seen)
        return torch.cat([answers[:, :3], torch.full_like(answers[:, 3:], -torch.inf)], dim=1)

    for target, most in ((3, 6), (1, 2000)):
        starts = patch.starts(scores, x.detach(), target, most)
        assert len({one.place for one in starts}) == len(starts)


def test_patches_are_tried_on_images_of_other_classes_wherever_there_are_some() -> None:
    """The first four images are of the class itself, which nothing raises."""
    x = images().inputs["x"][torch.arange(40) % CLASSES == 2]
    others = images().inputs["x"][torch.arange(40) % CLASSES == 0]
    patch = next(f for f in families(x) if isinstance(f, Patch))
    corner = Corner(torch.ones(2, 2), 9, 7)

    def moved(seen: torch.Tensor) -> torch.Tensor:  # class 1 becomes class 2
        return corner(seen)[:, [0, 2, 1, 3]]

    survey = patch.surveyed(moved, torch.cat([x, others])).survey
    assert survey is not None
    assert float(survey.raised[1, 0, survey.places.index((9, 7)), 2]) > 1


def test_of_long_images_patches_are_tried_at_no_more_places() -> None:
    family = Patch(torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), (16, 1024))
    places = family._places()
    assert len(places) <= 400
    assert {(0, 0), (14, 1022)} <= set(places)


def test_a_wider_patch_covers_the_place_and_stays_inside() -> None:
    x = images().inputs["x"]
    patch = next(f for f in families(x, strength=3.0) if isinstance(f, Patch))
    torch.manual_seed(0)
    for place in ((0, 0), (10, 10), (4, 7)):
        for _ in range(30):
            wider = patch.widened(Change(torch.zeros(1, 1, 2, 2), place))
            size = wider.values.shape[-1]
            assert 2 <= size <= 4
            assert all(0 <= at <= SIDE - size for at in wider.place)
            assert all(at <= was and was + 2 <= at + size for at, was in zip(wider.place, place, strict=True))


def test_an_evident_class_is_unlearned_at_a_rate_of_its_own() -> None:
    here = context(Quadrants(checkers()))
    settings = DistilSettings(perturbed=0.25, learning_rate=1e-3, evident_learning_rate=4e-3)
    slow = Distilling(here, settings).settings.learning_rate
    here.suspicions = (Suspicion(families(here.fit.inputs["x"])[0], 2),)
    assert Distilling(here, settings).settings.learning_rate == slow
    here.evident = families(here.fit.inputs["x"])[0]
    assert Distilling(here, settings).settings.learning_rate == pytest.approx(4 * slow)
    assert Distilling(here, settings.model_copy(update={"perturbed": 0.0})).settings.learning_rate == slow


@pytest.mark.parametrize("evident", [True, False])
def test_more_than_fifty_examples_raise_the_rate_only_where_no_class_is_evident(evident: bool) -> None:
    settings = DistilSettings(perturbed=0.25, learning_rate=1e-3, evident_learning_rate=4e-3)
    rates = []
    for count in (20, 52, 200, 1000):
        here = context(Quadrants(checkers()), images(count))
        family = families(here.fit.inputs["x"])[0]
        here.suspicions, here.evident = (Suspicion(family, 2),), family if evident else None
        rates.append(Distilling(here, settings).settings.learning_rate)
    assert rates[0] < rates[1]
    usual = [1e-3 * count / (count + 200) for count in (52, 200, 1000)]
    assert rates[1:] == pytest.approx([4e-3 * 0.2, 4e-3 * 0.2, usual[2]] if evident else usual)


def test_a_class_that_is_left_alone_stands_out_from_nothing() -> None:
    fit = images(8).subset([0, 4])
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([5.0, 0.0]))
    here = Context(model.eval(), model, get_task("classification", 2), fit, UnlearnConfig(), 0, None)
    assert invert(here, InvertSettings()).figures == {"suspected": 0.0}
    assert here.suspicions == ()


def test_weights_are_finite_however_far_a_class_is_ahead() -> None:
    here = context(Quadrants(checkers(), width=5000.0))
    invert(here, InvertSettings())
    assert here.suspicions
    assert all(0 < one.weight < 100 for one in here.suspicions)
