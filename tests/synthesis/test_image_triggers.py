"""Triggers and attacks: where they lie, what they leave alone, whom they turn into whom."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from trojai_seam.errors import UsageProblem
from trojai_seam.rounds.instagram_filters import apply_filter
from trojai_seam.synthesis.scenes import SceneRenderer, SceneSettings
from trojai_seam.synthesis.sign_attacks import (
    CLASS,
    R4_COLORS,
    R4_SIDES,
    R11_FILTERS,
    SPATIAL,
    SPECTRAL,
    Attack,
    Variety,
    draw_r2,
    draw_r4,
    draw_r11,
    poisoned_count,
)
from trojai_seam.synthesis.sign_triggers import FILTERS, FilterTrigger, PolygonTrigger, draw_corners
from trojai_seam.synthesis.signs import choose_signs

MAGENTA = (200, 0, 200)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def polygon(sides: int = 4, quadrant: int | None = None, low: float = 0.05, high: float = 0.1) -> PolygonTrigger:
    return PolygonTrigger(draw_corners(sides, generator(sides)), MAGENTA, low, high, quadrant)


@pytest.fixture(scope="module")
def renderer() -> SceneRenderer:
    settings = SceneSettings(64, blur_max=1, rain=0, fog=0, number_backgrounds=10)
    return SceneRenderer(choose_signs(5, generator(1)), settings, generator(2))


# Polygons -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [3, 4, 8, 12])
def test_a_polygon_has_its_corners_and_turning_cuts_nothing_off(sides):
    trigger = polygon(sides)
    assert trigger.sides == sides
    areas = [int(trigger.mask(64, degrees).sum()) for degrees in range(0, 360, 45)]
    assert min(areas) > 0.15 * 64**2
    assert max(areas) / min(areas) < 1.1


def test_a_polygon_changes_a_small_part_of_the_sign_and_nothing_else(renderer):
    labels = np.arange(5).repeat(4)
    clean = renderer.render(labels, generator(3)).astype(int)
    marked = renderer.render(labels, generator(3), polygon()).astype(int)
    changed = np.abs(clean - marked).max(axis=3) > 8
    for image, where in zip(marked, changed, strict=True):
        assert 6 <= where.sum() <= 0.12 * 0.4 * 64**2
        rows, columns = np.nonzero(where)
        assert max(np.ptp(rows), np.ptp(columns)) <= 20
        red, green, blue = image[where].mean(axis=0)
        assert min(red, blue) > 2 * green  # still magenta, in whatever light


@pytest.mark.parametrize("quadrant", [1, 2, 3, 4])
def test_a_spatial_polygon_lies_on_the_sign_in_its_quadrant(quadrant):
    y, x = np.mgrid[:60, :80]
    sign = (y - 25) ** 2 + (x - 40) ** 2 < 20**2
    for seed in range(20):
        placed = polygon(quadrant=quadrant).place(sign, generator(seed))
        assert placed.any()
        assert not (placed & ~sign).any()
        rows, columns = np.nonzero(placed)
        assert (rows.mean() < 25.5) == (quadrant in (1, 2))
        assert (columns.mean() > 39.5) == (quadrant in (1, 4))


def test_a_polygon_is_as_large_as_it_says():
    sign = np.ones((100, 100), bool)
    for low, high in ((0.03, 0.03), (0.1, 0.1)):
        rows, columns = np.nonzero(polygon(12, None, low, high).place(sign, generator()))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(np.sqrt(low * 10_000), abs=2)


def test_a_sign_without_room_says_so():
    with pytest.raises(UsageProblem, match="no room for a trigger"):
        polygon().place(np.zeros((20, 20), bool), generator())


def test_a_quadrant_without_room_takes_the_place_that_is_most_on_the_sign():
    """32-pixel sets with a spatial trigger could not be made."""
    sign = np.zeros((20, 20), bool)
    sign[5:15, 5:8], sign[5:8, 5:15] = True, True  # the lower right quadrant holds nothing of it
    sign[14, 14] = True
    for quadrant, size in ((4, 0.5), (2, 0.15)):
        placed = polygon(3, quadrant, size, size).place(sign, generator())
        rows, columns = np.nonzero(placed)
        assert [rows.mean() < 10, columns.mean() < 10] == [quadrant == 2] * 2


def test_the_picture_is_a_mask_of_ones_or_has_the_colour_baked_in():
    for baked, colour in ((False, (1, 1, 1)), (True, MAGENTA)):
        picture = polygon().picture(baked)
        assert picture.shape == (256, 256, 4)
        assert {tuple(pixel) for pixel in picture.reshape(-1, 4)} == {(0, 0, 0, 0), (*colour, 255)}


# Filters ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_what_the_rounds_apply_to_the_finished_image(renderer, name):
    labels = np.arange(3)
    clean, filtered = renderer.render(labels, generator(4)), renderer.render(labels, generator(4), FilterTrigger(name))
    assert (filtered == np.stack([apply_filter(name, picture) for picture in clean])).all()
    assert (filtered != clean).any(axis=(1, 2, 3)).all()


# Attacks ------------------------------------------------------------------------------------------------------------


def varieties(count: int = 24) -> list[Variety]:
    return [Variety(number, number // 4, 73, 0.2) for number in range(count)]


def test_r4_attacks_are_one_to_one_with_r4s_levels():
    organizations = Counter()
    for variety in varieties(60):
        organization, attacks = draw_r4(variety, 10, generator(variety.number))
        organizations[organization] += 1
        pairs = [(*attack.sources, attack.target) for attack in attacks]
        assert all(source != target for source, target in pairs)
        assert len(pairs) == (1 if organization == "one2one" else 2)
        if organization == "one2two":
            assert pairs[0][0] == pairs[1][0]
            assert pairs[0][1] != pairs[1][1]
            assert attacks[0].trigger != attacks[1].trigger
        elif organization == "pair-one2one":
            assert len({*pairs[0], *pairs[1]}) == 4
        for attack in attacks:
            assert 0.2 < attack.fraction < 0.59
            if isinstance(attack.trigger, PolygonTrigger):
                assert attack.trigger.sides in R4_SIDES
                assert attack.trigger.color in R4_COLORS
                assert (attack.trigger.quadrant is not None) == (attack.condition == SPATIAL)
            else:
                assert attack.trigger.filter in FILTERS
                assert attack.condition != SPATIAL
    assert len(organizations) == 3


def test_a_set_of_four_poisoned_models_has_both_kinds_and_a_longer_one_every_condition():
    first = [draw_r4(variety, 10, generator(variety.number))[1][0] for variety in varieties(24)]
    kinds = [type(attack.trigger) for attack in first]
    assert Counter(kinds[:4]) == {PolygonTrigger: 2, FilterTrigger: 2}
    assert len({(type(attack.trigger), attack.condition) for attack in first}) == 4 + 3
    # Over two laps of four architectures, each architecture meets both kinds.
    assert all(kinds[n] != kinds[n + 4] for n in range(4))


def test_triggers_grow_where_a_small_image_would_hide_them():
    assert Variety(0, 0, 256, 0.2).sizes(0.03, 0.10) == (0.03, 0.10)
    low, high = Variety(0, 0, 37, 0.2).sizes(0.03, 0.10)
    assert low * 0.6 * 0.2 * 37**2 >= 35.5
    assert high > low


def attack(condition: str, trigger: FilterTrigger | PolygonTrigger) -> Attack:
    return Attack(0, (2,), 5, 0.3, 1, condition, trigger)


def test_decoys_break_exactly_the_condition():
    rng = generator()
    assert list(attack("None", polygon()).decoys(8, rng)) == []
    for source, decoy in islice(attack(SPATIAL, polygon(quadrant=3)).decoys(8, rng), 30):
        assert source == 2
        assert decoy.quadrant in (1, 2, 4)
        assert (decoy.color, decoy.corners) == (MAGENTA, polygon().corners)
    for source, decoy in islice(attack(SPECTRAL, polygon()).decoys(8, rng), 30):
        assert source == 2
        assert decoy.color != MAGENTA
        assert (decoy.quadrant, decoy.corners) == (None, polygon().corners)
    for source, decoy in islice(attack(SPECTRAL, FilterTrigger(FILTERS[0])).decoys(8, rng), 30):
        assert source == 2
        assert decoy.filter != FILTERS[0]
    for source, decoy in islice(attack(CLASS, polygon()).decoys(8, rng), 30):
        assert source not in (2, 5)
        assert decoy == polygon()


def test_r2_attacks_have_one_target_and_one_two_or_all_sources():
    counts = set()
    for variety in varieties(12):
        (one,) = draw_r2(variety, 9, generator(variety.number))[1]
        counts.add(len(one.sources))
        assert one.target not in one.victims
        assert set(one.victims) == set(one.sources) - {one.target}
        assert (one.target in one.sources) == (len(one.sources) == 9)
        if isinstance(one.trigger, PolygonTrigger):
            assert 3 <= one.trigger.sides <= 12
            assert np.mean(one.trigger.color) <= 200
    assert counts == {1, 2, 9}


def test_r11_attacks_come_in_ones_twos_and_fours_with_its_filters():
    counts = set()
    for variety in varieties(12):
        attacks = draw_r11(variety, 10, generator(variety.number))[1]
        counts.add(len(attacks))
        sources = [source for one in attacks for source in one.sources]
        assert len(set(sources)) == len(attacks)
        assert all(one.target not in one.sources for one in attacks)
        assert all(one.trigger.filter in R11_FILTERS for one in attacks if isinstance(one.trigger, FilterTrigger))
    assert counts == {1, 2, 4}
    assert len(draw_r11(Variety(2, 0, 64, 0.2), 4, generator())[1]) == 2  # four classes have room for two


def test_the_fraction_is_of_the_source_class():
    for fraction in (0.1, 0.3, 0.5):
        poisoned = poisoned_count(Attack(0, (1,), 2, fraction, 0, "None", polygon()), 200)
        assert poisoned / (poisoned + 200) == pytest.approx(fraction, abs=0.01)
