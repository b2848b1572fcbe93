"""A map on disk: the same after loading, whole after every crash, refused when it is damaged."""

from dataclasses import replace
import errno
import json
from pathlib import Path
import pickle
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest
import torch

from posefield.errors import BundleError
from posefield.relocalization import map_bundle
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.map_bundle import (
    MapBundle,
    quantised_descriptors,
    restored_descriptors,
)
from posefield.storage import load_tensors, save_tensors

TENSOR_FILES = ('features', 'field', 'references', 'regressor')


@pytest.fixture
def copied(tiny_map, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_map, tmp_path / 'map'))


def refused(folder: Path) -> str:
    """Load a map that must be refused, and return the sentence that says why."""
    with pytest.raises(BundleError) as caught:
        Localizer.load(folder, device='cpu')
    sentence = str(caught.value)
    assert str(folder) in sentence
    assert '\n' not in sentence.strip().splitlines()[0]
    return sentence


def poses_of(localizer: Localizer, scene) -> list[np.ndarray]:
    return [localizer.localize(f.read_image(), f.camera).T_map_cam for f in scene.split('test')]


def test_a_saved_map_gives_the_same_poses_every_time(tiny_map, tiny_scene, copied):
    bundle = MapBundle.load(copied)
    shutil.rmtree(copied)
    bundle.save(copied)
    first, second = (
        poses_of(Localizer.load(folder, device='cpu'), tiny_scene) for folder in (tiny_map, copied)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_everything_in_a_map_survives_the_disk(tiny_map, copied):
    MapBundle.load(copied).save(copied)
    before, after = MapBundle.load(tiny_map), MapBundle.load(copied)
    assert after.info == before.info
    assert after.sizes == before.sizes
    assert after.transform == before.transform
    assert after.calibration == before.calibration
    assert after.reference_camera == before.reference_camera
    assert after.regressor_camera == before.regressor_camera
    assert torch.equal(after.histogram_10, before.histogram_10)
    for name in ('synthesizer', 'regressor'):
        a, b = (getattr(bundle, name).state_dict() for bundle in (before, after))
        assert all(torch.equal(a[key], b[key]) for key in a | b)
    np.testing.assert_array_equal(after.sparse.points_N3, before.sparse.points_N3)
    np.testing.assert_array_equal(after.T_field_reference_N44, before.T_field_reference_N44)
    assert len(after.keyframes) == len(before.keyframes) == 12
    for a, b in zip(before.keyframes, after.keyframes, strict=True):
        np.testing.assert_array_equal(a.T_field_cam, b.T_field_cam)
        np.testing.assert_array_equal(a.image().image_HW3, b.image().image_HW3)
        np.testing.assert_array_equal(a.depths_hw, b.depths_hw)


def test_a_map_says_what_it_is(tiny_map):
    index = json.loads((tiny_map / 'map.json').read_text())
    assert index['schema'] == 2
    assert index['kind'] == 'map'
    assert index['units'] == 'metres'
    assert index['photos'] == index['keyframes'] == 12
    assert index['camera']['fx'] == 80.0


def test_descriptors_lose_little_on_disk():
    descriptors = torch.rand(50, 128, generator=torch.Generator().manual_seed(0)) ** 4
    descriptors = torch.nn.functional.normalize(descriptors, dim=1)
    restored = restored_descriptors(quantised_descriptors(descriptors))
    assert (restored - descriptors).norm(dim=1).max() < 0.02


def test_a_newer_schema_is_refused(copied):
    index = json.loads((copied / 'map.json').read_text())
    (copied / 'map.json').write_text(json.dumps({**index, 'schema': 99}))
    assert re.search('schema 99.*up to 2', refused(copied))


def test_a_map_of_the_first_schema_still_loads(tiny_map, copied):
    index = json.loads((copied / 'map.json').read_text())
    about = index.pop('regressor')
    field = index.pop('synthesizer')['field']
    del index['exposure_histogram'], index['localizer']
    old = {**index, 'schema': 1, 'field': field, 'regressor': about['config']}
    (copied / 'map.json').write_text(json.dumps(old))
    tensors = load_tensors(copied / 'field.safetensors')
    save_tensors(
        copied / 'field.safetensors',
        {name.removeprefix('field.'): tensor for name, tensor in tensors.items()},
    )
    before, after = MapBundle.load(tiny_map), MapBundle.load(copied)
    assert after.regressor.kind == 'compact'
    assert after.regressor_camera == after.reference_camera == before.regressor_camera
    a, b = (bundle.synthesizer.state_dict() for bundle in (before, after))
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize('kind', ['posenet', 'dfnet', 'ms-transformer', 'oracle'])
def test_a_regressor_of_another_kind_than_the_map_says_is_refused(copied, kind):
    index = json.loads((copied / 'map.json').read_text())
    index['regressor']['kind'] = kind
    (copied / 'map.json').write_text(json.dumps(index))
    assert kind in refused(copied)


def test_another_kind_is_refused(copied):
    index = json.loads((copied / 'map.json').read_text())
    (copied / 'map.json').write_text(json.dumps({**index, 'kind': 'scene'}))
    assert "'scene'" in refused(copied)


@pytest.mark.parametrize(
    'key',
    [
        'sizes', 'transform', 'scene_scale', 'synthesizer', 'exposure_histogram', 'features',
        'regressor', 'reference_camera', 'keyframe_cameras', 'calibration',
    ],
)  # fmt: skip
@pytest.mark.parametrize('value', ['missing', None, [], {'a': 1}, 'nonsense'])
def test_an_index_with_a_damaged_entry_is_refused(copied, key, value):
    index = json.loads((copied / 'map.json').read_text())
    if value == 'missing':
        del index[key]
    else:
        index[key] = value
    (copied / 'map.json').write_text(json.dumps(index))
    refused(copied)


@pytest.mark.parametrize('file', ['map.json', *(f'{name}.safetensors' for name in TENSOR_FILES)])
def test_a_half_written_map_is_refused(copied, file):
    (copied / file).unlink()
    assert file in refused(copied)


@pytest.mark.parametrize('file', ['map.json', *(f'{name}.safetensors' for name in TENSOR_FILES)])
@pytest.mark.parametrize('share', [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(copied, file, share):
    path = copied / file
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert file in refused(copied)


class _CreatesFile:
    """A pickle of this makes a file as soon as it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize('name', TENSOR_FILES)
@pytest.mark.parametrize('writer', ['pickle', 'torch'])
def test_a_pickle_in_place_of_safetensors_is_refused_unopened(copied, tmp_path, name, writer):
    trace = tmp_path / 'opened'
    path = copied / f'{name}.safetensors'
    if writer == 'pickle':
        path.write_bytes(pickle.dumps(_CreatesFile(trace)))
    else:
        torch.save({'weights': _CreatesFile(trace)}, path)
    assert 'pickle' in refused(copied)
    assert not trace.exists()


def changed(folder: Path, file: str, name: str, change) -> None:
    tensors = load_tensors(folder / f'{file}.safetensors')
    tensors[name] = change(tensors[name]).contiguous()
    save_tensors(folder / f'{file}.safetensors', tensors)


@pytest.mark.parametrize(
    ('file', 'name', 'change'),
    [
        ('field', 'field.grids.0.planes', lambda t: t[:, :, 1:]),
        ('field', 'field.trunk.0.weight', lambda t: t.T),
        ('regressor', 'head.0.weight', lambda t: t[1:]),
        ('references', 'sparse.points', lambda t: t[:, :2]),
        ('references', 'sparse.points', lambda t: t[1:]),
        ('references', 'sparse.sigmas', lambda t: t[None]),
        ('references', 'sparse.descriptors', lambda t: t[:, :64]),
        ('references', 'retrieval.poses', lambda t: t[:, :3]),
        ('references', 'retrieval.poses', lambda t: t[1:]),
        ('references', 'retrieval.descriptors', lambda t: t[:, 1:]),
        ('references', 'keyframes.poses', lambda t: t[1:]),
        ('references', 'keyframes.poses', lambda t: t[:, 0]),
        ('references', 'keyframe.3.depths', lambda t: t[0]),
        ('references', 'keyframe.3.trust', lambda t: t[1:]),
        ('references', 'keyframe.3.trust', lambda t: t.float()),
        ('references', 'keyframe.3.jpeg', lambda t: t.float()),
    ],
)
def test_wrong_shapes_and_types_are_refused(copied, file, name, change):
    changed(copied, file, name, change)
    refused(copied)


def test_fewer_keyframes_than_announced_are_refused(copied):
    tensors = load_tensors(copied / 'references.safetensors')
    del tensors['keyframe.11.jpeg']
    save_tensors(copied / 'references.safetensors', tensors)
    assert 'keyframe.11.jpeg' in refused(copied)


def test_a_keyframe_that_is_no_picture_is_named_damage(tiny_map):
    keyframe = MapBundle.load(tiny_map).keyframes[0]
    noise = replace(keyframe, jpeg=np.arange(100, dtype=np.uint8))
    with pytest.raises(BundleError, match='damaged'):
        noise.image()
    _, small = cv2.imencode('.jpg', np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(BundleError, match='96x72'):
        replace(keyframe, jpeg=small.reshape(-1)).image()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert 'does not exist' in refused(tmp_path / 'nowhere')


def test_a_full_disk_keeps_the_old_map(copied, tiny_scene, monkeypatch):
    before = poses_of(Localizer.load(copied, device='cpu'), tiny_scene)
    bundle = MapBundle.load(copied)
    spoiled = replace(bundle, T_field_reference_N44=bundle.T_field_reference_N44[:0])

    def full(path: Path, tensors: dict) -> None:
        if path.name == 'references.safetensors':
            raise OSError(errno.ENOSPC, 'No space left on device', str(path))
        save_tensors(path, tensors)

    monkeypatch.setattr(map_bundle, 'save_tensors', full)
    with pytest.raises(BundleError, match='No space left'):
        spoiled.save(copied)
    after = poses_of(Localizer.load(copied, device='cpu'), tiny_scene)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [path.name for path in copied.parent.iterdir()] == ['map']


def test_a_kill_while_saving_keeps_the_old_map(copied):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    program = f"""
        import os, signal
        from pathlib import Path
        from posefield.relocalization import map_bundle

        write = map_bundle.save_tensors

        def killed(path, tensors):
            if path.name == 'references.safetensors':
                os.kill(os.getpid(), signal.SIGKILL)
            write(path, tensors)

        bundle = map_bundle.MapBundle.load(Path({str(copied)!r}))
        map_bundle.save_tensors = killed
        bundle.save(Path({str(copied)!r}))
    """
    ended = subprocess.run([sys.executable, '-c', textwrap.dedent(program)], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    MapBundle.load(copied).save(copied)
    assert [path.name for path in copied.parent.iterdir()] == ['map']
