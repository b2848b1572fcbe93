"""Which frames are held out."""

import json

from hypothesis import given
from hypothesis import strategies as st
import pytest

from posefield.data.splits import hold_out, hold_out_validation, match_names, read_split_file
from posefield.errors import DataError

NAMES = [f'seq-01/frame-{index:06d}.color.png' for index in range(4)]


@given(st.sets(st.text(min_size=1), min_size=1), st.integers(2, 10))
def test_every_nth_name_in_order_is_held_out(names, every):
    splits = hold_out(names, every)
    assert splits['test'] == tuple(sorted(names)[::every])
    assert sorted(splits['train'] + splits['test']) == sorted(names)
    assert list(splits['train']) == sorted(splits['train'])


def test_nothing_is_held_out_on_request():
    assert hold_out(['b', 'a'], 0) == {'train': ('a', 'b')}


@pytest.mark.parametrize('every', [1, -1])
def test_holding_out_all_or_a_negative_number_is_refused(every):
    with pytest.raises(DataError, match=f'got {every}'):
        hold_out(['a', 'b'], every)


def test_every_nth_training_image_validates_and_no_test_image_does():
    splits = {'train': tuple('edbca'), 'test': ('x', 'y')}
    assert hold_out_validation(splits, 2) == {
        'train': ('b', 'd'), 'val': ('a', 'c', 'e'), 'test': ('x', 'y'),
    }  # fmt: skip


def test_validation_needs_a_number_and_no_split_of_its_own():
    with pytest.raises(DataError, match='N of at least 2, got 1'):
        hold_out_validation({'train': ('a', 'b')}, 1)
    with pytest.raises(DataError, match='val split of its own .1 images.; leave out --validation'):
        hold_out_validation({'train': ('a', 'b'), 'val': ('c',)}, 2)


def test_listed_names_match_with_any_suffix_and_the_rest_is_missing():
    listed = {'train': [NAMES[2], 'seq-01/frame-000000.color'], 'test': ['x.png', NAMES[3]]}
    names = [name.replace('.png', '.jpg') for name in NAMES]
    splits, missing = match_names(listed, names, 'the list')
    assert splits == {'train': (names[2], names[0]), 'test': (names[3],)}
    assert missing == ('x.png',)


def test_a_name_listed_twice_is_taken_once():
    splits, _ = match_names({'train': [NAMES[0], NAMES[0]]}, NAMES, 'the list')
    assert splits == {'train': (NAMES[0],)}


def test_a_list_that_matches_nothing_is_refused():
    with pytest.raises(DataError, match='None of the 2 images that the list lists for test'):
        match_names({'train': NAMES, 'test': ['x', 'y']}, NAMES, 'the list')


def test_split_files_with_and_without_names(tmp_path):
    lists = {'train': ['a'], 'test': ['b']}
    (tmp_path / 'plain.json').write_text(json.dumps(lists))
    (tmp_path / 'named.json').write_text(json.dumps({'blocks': lists}))
    assert read_split_file(tmp_path / 'plain.json', None) == lists
    assert read_split_file(tmp_path / 'named.json', 'blocks') == lists


@pytest.mark.parametrize(
    ('text', 'name', 'message'),
    [
        (None, None, 'splits.json cannot be read'),
        ('{"train": ', None, 'splits.json cannot be read'),
        ('[1, 2]', None, 'must hold an object'),
        ('{"blocks": {"train": []}}', 'halves', 'no split halves .* found blocks'),
        ('{"blocks": {"train": []}}', None, r'no split \(unnamed\) .* found blocks'),
        ('{"blocks": {"test": []}}', 'blocks', 'with a train list'),
        ('{}', 'blocks', 'found nothing'),
    ],
)
def test_a_split_file_that_cannot_be_used_is_named(tmp_path, text, name, message):
    path = tmp_path / 'splits.json'
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_split_file(path, name)
