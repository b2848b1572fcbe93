"""Images of several cameras become sets: complete where they can be, bounded where not."""

import numpy as np
import pytest

from posefield.data.camera_synchroniser import CameraSynchroniser, SynchronisedSet
from posefield.errors import DataError

MS = 1_000_000
PERIOD_MS = 66
NAMES = ('left', 'right', 'top')


def make(names=NAMES, **options) -> CameraSynchroniser:
    return CameraSynchroniser(names, **{'tolerance_s': 0.01, **options})


def feed(synchroniser, images) -> list[SynchronisedSet]:
    """Add (camera, stamp in ms) that arrive when they were taken; the item is the stamp."""
    sets = []
    for name, stamp_ms in images:
        sets += synchroniser.add(name, stamp_ms * MS, stamp_ms, stamp_ms / 1000)
    return sets


def frames(synchroniser, moments_ms, names=NAMES) -> list[SynchronisedSet]:
    return feed(synchroniser, [(name, at) for at in moments_ms for name in names])


def test_a_set_is_given_with_its_last_image():
    synchroniser = make()
    assert feed(synchroniser, [('left', 100), ('right', 103)]) == []
    (found,) = feed(synchroniser, [('top', 98)])
    assert dict(found.items) == {'left': 100, 'right': 103, 'top': 98}
    assert dict(found.stamps_ns) == {'left': 100 * MS, 'right': 103 * MS, 'top': 98 * MS}
    assert found.stamp_ns == 100 * MS
    assert found.skew_s == pytest.approx(0.005)
    assert synchroniser.complete_sets == 1


@pytest.mark.parametrize('apart_ms, sets', [(10, 1), (11, 0)])
def test_the_tolerance_is_the_whole_spread(apart_ms, sets):
    assert len(feed(make(NAMES[:2]), [('left', 100), ('right', 100 + apart_ms)])) == sets


def test_jitter_mixes_no_moments_whatever_order_images_come_in():
    rng = np.random.default_rng(1)
    images = [
        (name, round(1000 + moment * PERIOD_MS + rng.uniform(-4, 4)), moment)
        for moment in range(200)
        for name in NAMES
    ]
    arrivals_s = [stamp / 1000 + 0.1 + rng.uniform(0, 0.15) for _, stamp, _ in images]
    for name in NAMES:
        own = [i for i, image in enumerate(images) if image[0] == name]
        for i, arrival in zip(own, sorted(arrivals_s[i] for i in own), strict=True):
            arrivals_s[i] = arrival
    synchroniser, sets = make(), []
    for i in np.argsort(arrivals_s, kind='stable'):
        name, stamp_ms, moment = images[i]
        sets += synchroniser.add(name, stamp_ms * MS, moment, arrivals_s[i])
    assert [set(found.items.values()) for found in sets] == [{m} for m in range(200)]
    assert all(found.skew_s <= 0.01 for found in sets)
    assert all(c.dropped == 0 for c in synchroniser.counters(20.0).values())


def test_every_image_is_in_one_set_or_counted_as_dropped():
    rng = np.random.default_rng(2)
    kept = [
        (name, 1000 + moment * PERIOD_MS + int(rng.integers(-4, 5)))
        for moment in range(300)
        for name in NAMES
        if rng.random() > 0.2
    ]
    kept.sort(key=lambda image: image[1])
    synchroniser = make(min_cameras=2)
    sets = feed(synchroniser, kept) + synchroniser.flush(100.0)
    stamps = [found.stamp_ns for found in sets]
    assert stamps == sorted(set(stamps))
    for name in NAMES:
        counters = synchroniser.counters(100.0)[name]
        given = [found.items[name] for found in sets if name in found.items]
        assert len(given) == len(set(given))
        assert counters.received == sum(image[0] == name for image in kept)
        assert counters.received == len(given) + counters.dropped
    moments = [(stamp - 1000 + PERIOD_MS // 2) // PERIOD_MS for _, stamp in kept]
    counts = np.bincount(moments, minlength=300)
    assert synchroniser.complete_sets == (counts == 3).sum()
    assert synchroniser.partial_sets == (counts == 2).sum()


def test_the_nearest_image_is_taken_where_several_fit():
    synchroniser = make(NAMES[:2], tolerance_s=0.02)
    (found,) = feed(synchroniser, [('left', 100), ('left', 112), ('right', 115)])
    assert dict(found.items) == {'left': 112, 'right': 115}
    assert synchroniser.counters(1.0)['left'].dropped == 1


def test_the_larger_set_wins_over_the_earlier():
    synchroniser = make('abcd', min_cameras=2)
    sets = feed(synchroniser, [('a', 100), ('b', 109), ('c', 112), ('d', 112), ('a', 166)])
    assert [dict(found.items) for found in sets] == [{'b': 109, 'c': 112, 'd': 112}]


def test_the_others_go_on_when_a_camera_stops_and_it_comes_back():
    synchroniser = make(min_cameras=2)
    moments = [1000 + i * PERIOD_MS for i in range(60)]
    sets = frames(synchroniser, moments[:20])
    sets += frames(synchroniser, moments[20:40], NAMES[:2])
    assert synchroniser.lost(moments[39] / 1000, 1.0) == ('top',)
    # Once waited for in vain it is not waited for any more.
    assert sets[-1].stamp_ns == moments[39] * MS
    sets += frames(synchroniser, moments[40:])
    assert synchroniser.lost(moments[59] / 1000, 1.0) == ()
    # Nobody expected the first image of its return.
    assert [len(found.items) for found in sets] == [3] * 20 + [2] * 21 + [3] * 19


def test_a_moment_that_a_camera_missed_is_decided_by_its_next_image():
    synchroniser = make(min_cameras=2)
    feed(synchroniser, [('left', 100), ('right', 100)])
    first, second = frames(synchroniser, [166], ('top', 'left', 'right'))
    assert (set(first.items), set(second.items)) == ({'left', 'right'}, set(NAMES))
    assert (synchroniser.partial_sets, synchroniser.complete_sets) == (1, 1)


def test_a_set_waits_for_a_missing_camera_no_longer_than_the_timeout():
    synchroniser = make(min_cameras=2, timeout_s=0.3)
    frames(synchroniser, [100])
    feed(synchroniser, [('left', 200), ('right', 200)])
    assert synchroniser.flush(0.39) == []
    (found,) = synchroniser.flush(0.51)
    assert set(found.items) == {'left', 'right'}


def test_sets_of_too_few_cameras_are_dropped():
    synchroniser = make(min_cameras=3)
    assert frames(synchroniser, range(100, 3000, PERIOD_MS), NAMES[:2]) == []
    assert synchroniser.flush(10.0) == []
    counters = synchroniser.counters(10.0)
    assert counters['left'].dropped == counters['left'].received == 44
    assert counters['left'].since_set == 44
    assert counters['top'].received == 0
    assert counters['top'].age_s is None


def test_an_image_that_comes_after_its_moment_was_given_up_is_late():
    synchroniser = make(min_cameras=2, timeout_s=0.1)
    frames(synchroniser, [100])
    feed(synchroniser, [('left', 166), ('right', 166)])
    assert len(synchroniser.flush(0.5)) == 1
    assert synchroniser.add('top', 166 * MS, None, 0.51) == []
    assert synchroniser.counters(0.6)['top'].late == 1
    assert synchroniser.counters(0.6)['top'].dropped == 1


def test_duplicates_and_images_out_of_order_are_dropped():
    synchroniser = make(NAMES[:2])
    feed(synchroniser, [('left', 100), ('left', 100), ('left', 90)])
    (found,) = feed(synchroniser, [('right', 99)])
    assert found.items['left'] == 100
    counters = synchroniser.counters(0.2)['left']
    assert (counters.duplicates, counters.out_of_order, counters.dropped) == (1, 1, 2)
    assert counters.jumps == 0


def test_a_jump_back_of_all_cameras_loses_no_moment_after_it():
    synchroniser = make()
    moments = list(range(60_000, 62_000, PERIOD_MS))
    sets = frames(synchroniser, moments)
    now_s = 62.0
    for moment in moments:
        for name in NAMES:
            sets += synchroniser.add(name, moment * MS, moment, now_s)
        now_s += PERIOD_MS / 1000
    assert [found.stamp_ns // MS for found in sets] == 2 * moments
    for counters in synchroniser.counters(now_s).values():
        assert counters.jumps == 1
        expected_s = (moments[0] - moments[-1]) / 1000
        assert counters.last_jump_s == pytest.approx(expected_s, abs=0.1)


def test_waiting_images_of_before_a_jump_back_are_let_go():
    synchroniser = make(NAMES[:2])
    feed(synchroniser, [('left', 60_000)])
    assert synchroniser.add('left', 10_000 * MS, None, 60.1) == []
    assert synchroniser.counters(60.1)['left'].dropped == 1
    (found,) = synchroniser.add('right', 10_000 * MS, None, 60.2)
    assert set(found.items) == {'left', 'right'}


@pytest.mark.parametrize('jump_s', [30.0, -30.0])
def test_a_camera_that_jumps_alone_is_left_out_and_named_by_its_counters(jump_s):
    synchroniser = make(min_cameras=2)
    moments = [100_000 + i * PERIOD_MS for i in range(100)]
    sets = frames(synchroniser, moments[:20])
    for moment in moments[20:]:
        for name in NAMES:
            stamp = moment * MS + (round(jump_s * 1e9) if name == 'top' else 0)
            sets += synchroniser.add(name, stamp, None, moment / 1000)
    sets += synchroniser.flush(200.0)
    assert [found.stamp_ns // MS for found in sets if 'left' in found.items] == moments
    assert all('top' not in found.items for found in sets[20:])
    top = synchroniser.counters(200.0)['top']
    assert (top.jumps, top.last_jump_s) == (1, pytest.approx(jump_s))
    assert top.offset_s == pytest.approx(jump_s, abs=0.1)
    assert top.since_set == 80
    assert synchroniser.counters(200.0)['left'].dropped == 0


def test_a_pause_is_no_jump():
    synchroniser = make(NAMES[:2])
    sets = frames(synchroniser, [100, 9_000], NAMES[:2])
    assert len(sets) == 2
    assert synchroniser.counters(9.0)['left'].jumps == 0


def test_memory_is_bounded_without_losing_what_can_be_a_set():
    synchroniser = make(min_cameras=1, buffer=5, timeout_s=1000.0)
    sets = frames(synchroniser, range(1000, 1000 + 20 * PERIOD_MS, PERIOD_MS), NAMES[:2])
    assert [set(found.items) for found in sets] == 15 * [{'left', 'right'}]
    strict = make(buffer=5, timeout_s=1000.0)
    assert frames(strict, range(1000, 1000 + 20 * PERIOD_MS, PERIOD_MS), NAMES[:1]) == []
    assert strict.counters(3.0)['left'].dropped == 15


def test_rates_ages_and_skews():
    synchroniser = make(NAMES[:2])
    for moment in range(1000, 2000, 50):
        feed(synchroniser, [('left', moment), ('right', moment + 4)])
    counters = synchroniser.counters(2.954)['right']
    assert counters.rate_hz == pytest.approx(20.0)
    assert counters.age_s == pytest.approx(1.0)
    assert counters.skew_s == pytest.approx(0.004)
    assert synchroniser.counters(2.0)['left'].skew_s == 0.0


def test_after_clearing_older_images_are_welcome():
    synchroniser = make(NAMES[:2])
    frames(synchroniser, [1000], NAMES[:2])
    feed(synchroniser, [('left', 1066)])
    synchroniser.clear()
    assert len(frames(synchroniser, [900], NAMES[:2])) == 1
    assert synchroniser.counters(2.0)['left'].dropped == 0


@pytest.mark.parametrize(
    'names, options, words',
    [
        ((), {}, 'used once'),
        (('a', 'a'), {}, 'used once'),
        (('a', 'b'), {'min_cameras': 3}, '1 to 2, found 3'),
        (('a', 'b'), {'min_cameras': 0}, '1 to 2, found 0'),
        (('a', 'b'), {'tolerance_s': 0.0}, 'tolerance'),
        (('a', 'b'), {'timeout_s': float('nan')}, 'timeout'),
        (('a', 'b'), {'jump_s': -1.0}, 'jump'),
        (('a', 'b'), {'buffer': 1}, 'At least 2'),
    ],
)
def test_numbers_out_of_range_are_refused(names, options, words):
    with pytest.raises(DataError, match=words):
        make(names, **options)


def test_an_unknown_camera_is_refused():
    with pytest.raises(DataError, match="no camera 'back'.*left, right, top"):
        make().add('back', 1, None, 0.0)
