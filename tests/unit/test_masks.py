"""Masks of static pixels: found by importers, kept in scenes, refused when useless."""

from dataclasses import replace
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from posefield.data.colmap import read_colmap
from posefield.data.masks import find_masks, read_mask
from posefield.data.nerf import read_nerf
from posefield.data.scene import Frame, Scene
from posefield.data.seven_scenes import read_seven_scenes
from posefield.errors import DataError
from support.scenes import SIZE, make_scene, nerf_content, pose, write_nerf, write_picture

STATIC = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0]) % 5 > 0


def write_mask(path: Path, static: np.ndarray = STATIC) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.where(static, 128, 127).astype(np.uint8))
    return path


def masked_scene(folder: Path) -> Scene:
    """The second frame has a mask."""
    scene = make_scene(folder)
    first, second, *others = scene.frames
    second = replace(second, mask_path=write_mask(folder / 'm.png'))
    return replace(scene, frames=(first, second, *others))


def test_pixels_brighter_than_127_are_static(tmp_path):
    static = read_mask(write_mask(tmp_path / 'm.png'), SIZE)
    assert static.dtype == bool
    np.testing.assert_array_equal(static, STATIC)


def test_a_mask_may_have_colours(tmp_path):
    cv2.imwrite(str(tmp_path / 'm.png'), np.repeat(255 * STATIC[..., None], 3, axis=2))
    np.testing.assert_array_equal(read_mask(tmp_path / 'm.png', SIZE), STATIC)


def test_a_frame_without_a_mask_is_static_everywhere(tmp_path):
    first, second = masked_scene(tmp_path).frames[:2]
    assert first.read_mask().shape == (SIZE[1], SIZE[0]) and first.read_mask().all()
    np.testing.assert_array_equal(second.read_mask(), STATIC)


@pytest.mark.parametrize('copy_images', [True, False])
def test_masks_are_kept_in_scene_folders(tmp_path, copy_images):
    saved = masked_scene(tmp_path / 'source').save(tmp_path / 'scene', copy_images=copy_images)
    loaded = Scene.load(tmp_path / 'scene')
    for scene in (saved, loaded):
        masked = [frame.mask_path is not None for frame in scene.frames]
        assert masked == [False, True, False, False]
        np.testing.assert_array_equal(scene.frames[1].read_mask(), STATIC)
    assert (tmp_path / 'scene' / 'masks' / '001.png.png').is_file() == copy_images
    loaded.save(tmp_path / 'scene')
    np.testing.assert_array_equal(Scene.load(tmp_path / 'scene').frames[1].read_mask(), STATIC)


def test_masks_lie_in_scene_folders_as_nerfstudio_has_them(tmp_path):
    masked_scene(tmp_path / 'source').save(tmp_path / 'scene')
    entries = json.loads((tmp_path / 'scene' / 'transforms.json').read_text())['frames']
    assert entries[1]['mask_path'] == 'masks/001.png.png'
    assert 'mask_path' not in entries[0]


def write_useless(path: Path, kind: str) -> None:
    if kind == 'empty file':
        path.write_bytes(b'')
    elif kind == 'other size':
        write_picture(path, 25, size=(8, 6))
    elif kind == 'other height':
        write_picture(path, 25, size=(SIZE[0], 6))
    elif kind == 'nothing static':
        write_picture(path, 12)
    elif kind == 'labels':
        cv2.imwrite(str(path), STATIC.astype(np.uint8))
    elif kind == 'cut short':
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.unlink()


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('missing', r'mask .*m.png does not open: it is missing'),
        ('empty file', r'mask .*m.png does not open'),
        ('cut short', r'mask .*m.png does not open'),
        ('other size', r'mask .*m.png is 8x6 but its image is 16x12'),
        ('other height', r'mask .*m.png is 16x6 but its image is 16x12'),
        ('nothing static', r'm.png has no static pixel: none is brighter than 127.* is 120'),
        ('labels', r'm.png has no static pixel.*the brightest is 1\.'),
    ],
)
def test_a_useless_mask_is_named(tmp_path, kind, message):
    frame = masked_scene(tmp_path).frames[1]
    write_useless(frame.mask_path, kind)
    with pytest.raises(DataError, match=message):
        frame.read_mask()


@pytest.mark.parametrize('kind', ['missing', 'empty file', 'other size'])
def test_a_scene_with_a_useless_mask_does_not_load(tmp_path, kind):
    masked_scene(tmp_path / 'source').save(tmp_path / 'scene')
    write_useless(tmp_path / 'scene' / 'masks' / '001.png.png', kind)
    with pytest.raises(DataError, match=r'The mask .*masks/001.png.png'):
        Scene.load(tmp_path / 'scene')


def test_a_mask_path_that_is_no_path_is_refused(tmp_path):
    content = nerf_content()
    content['frames'][2]['mask_path'] = True
    write_nerf(tmp_path, content)
    with pytest.raises(DataError, match='mask_path of images/002.png must be a path, found True'):
        read_nerf(tmp_path)


def test_masks_have_the_names_of_their_images(tmp_path):
    names = ['a/1.jpg', 'a/1.png', 'b.jpg', 'c.jpg']
    with_suffix = write_mask(tmp_path / 'masks' / 'a' / '1.jpg.png')
    without = write_mask(tmp_path / 'masks' / 'a' / '1.png')
    other = write_mask(tmp_path / 'masks' / 'b.png')
    assert find_masks(tmp_path, names) == {
        'a/1.jpg': with_suffix, 'a/1.png': without, 'b.jpg': other,
    }  # fmt: skip


def test_a_folder_of_masks_of_other_images_is_refused(tmp_path):
    assert find_masks(tmp_path, ['a.jpg']) == {}
    write_mask(tmp_path / 'masks' / 'z.png')
    with pytest.raises(DataError, match=r'masks has no mask of any of the 2 .* a.jpg.png for the'):
        find_masks(tmp_path, ['a.jpg', 'b.jpg'])


def masked(frames: tuple[Frame, ...]) -> list[str]:
    for frame in frames:
        if frame.mask_path is not None:
            np.testing.assert_array_equal(frame.read_mask(), STATIC)
    return [frame.name for frame in frames if frame.mask_path is not None]


def test_transforms_say_where_masks_are(tmp_path):
    content = nerf_content()
    content['frames'][2]['mask_path'] = './static/two.png'
    write_nerf(tmp_path, content)
    write_mask(tmp_path / 'static' / 'two.png')
    write_mask(tmp_path / 'masks' / '001.png')
    assert masked(read_nerf(tmp_path).frames) == ['002.png']


def test_a_folder_of_masks_beside_transforms_is_taken(tmp_path):
    write_nerf(tmp_path, nerf_content())
    write_mask(tmp_path / 'masks' / '001.png')
    assert masked(read_nerf(tmp_path).frames) == ['001.png']


def test_a_folder_of_masks_in_a_7_scenes_folder_is_taken(tmp_path):
    for index in range(3):
        stem = tmp_path / 'seq-01' / f'frame-{index:06d}'
        write_picture(stem.with_suffix('.color.png'), index)
        np.savetxt(stem.with_suffix('.pose.txt'), pose(index))
    write_mask(tmp_path / 'masks' / 'seq-01' / 'frame-000001.color.png')
    assert masked(read_seven_scenes(tmp_path).frames) == ['seq-01/frame-000001.color.png']


@pytest.mark.parametrize('beside', ['model', 'photos'])
def test_a_folder_of_masks_of_a_colmap_project_is_taken(tmp_path, beside):
    model = tmp_path / 'model'
    model.mkdir()
    (model / 'cameras.txt').write_text(f'1 PINHOLE {SIZE[0]} {SIZE[1]} 20 21 8 6\n')
    lines = [f'{i} 1 0 0 0 {i} 0 0 1 {i}.jpg\n\n' for i in range(3)]
    (model / 'images.txt').write_text(''.join(lines))
    for index in range(3):
        write_picture(tmp_path / 'photos' / 'images' / f'{index}.jpg', index)
    write_mask(tmp_path / beside / 'masks' / '1.jpg.png')
    scene = read_colmap(model, images=tmp_path / 'photos' / 'images')
    assert masked(scene.frames) == ['1.jpg']


def test_a_found_mask_of_another_size_stops_the_import(tmp_path):
    write_nerf(tmp_path, nerf_content())
    write_picture(tmp_path / 'masks' / '001.png', 25, size=(8, 6))
    with pytest.raises(DataError, match='masks/001.png is 8x6 but its image is 16x12'):
        read_nerf(tmp_path)
