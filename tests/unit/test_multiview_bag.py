"""Bags with several cameras become recordings."""

from dataclasses import replace

import numpy as np
import pytest

from posefield.data.multiview_bag import BagImport, import_multiview_bag
from posefield.data.recording import Selection
from posefield.errors import DataError
from support.image_bags import START_NS, Messages, write_bag
from support.multiviews import ball_centres, draw_ball, ring_of_cameras

SIZE = 32
FRAMES = 4
STEP_NS = 50_000_000
WHOLE = Selection(held_out_frames=0.25, size=SIZE)


def messages(make: Messages, masks: bool = True, late_ns: int = 0, missing: int | None = None):
    """Three cameras; the second one is late and may miss an image."""
    for view, rig in enumerate(ring_of_cameras(3, size=SIZE)):
        frame = f'{rig.name}_optical'
        transform = make.transform(START_NS, 'world', frame, rig.T_world_cam)
        yield START_NS, '/tf_static', make.tf(transform)
        for index, centre in enumerate(ball_centres(FRAMES, (0.0, 0.0, 0.0))):
            stamp_ns = START_NS + index * STEP_NS + (late_ns if view == 1 else 0)
            if view == 1 and index == missing:
                continue
            image, mask = draw_ball(rig, centre)
            info = make.camera_info(stamp_ns, rig.camera, frame)
            yield stamp_ns, f'/rig/{rig.name}/camera_info', info
            yield stamp_ns, f'/rig/{rig.name}/image_raw', stamped(make, image, stamp_ns, frame)
            if masks:
                grey = np.repeat(255 * mask[..., None], 3, axis=2)
                yield stamp_ns, f'/rig/{rig.name}/mask', stamped(make, grey, stamp_ns, frame)


def stamped(make: Messages, image: np.ndarray, stamp_ns: int, frame: str):
    message = make.image(stamp_ns, image)
    return replace(message, header=make.header(stamp_ns, frame))


@pytest.mark.parametrize('storage', ['mcap', 'ros1'])
def test_images_masks_and_poses(tmp_path, storage):
    make = Messages(ros1=storage == 'ros1')
    bag = write_bag(tmp_path / 'bag', storage, messages(make, late_ns=2_000_000))
    multiview = import_multiview_bag(bag, tmp_path / 'out', WHOLE)
    assert [rig.name for rig in multiview.cameras] == ['rig_cam0', 'rig_cam1', 'rig_cam2']
    assert (multiview.num_frames, multiview.held_out_frames) == (FRAMES, {3})
    np.testing.assert_allclose(np.diff(multiview.stamps_s), 0.05, atol=1e-6)
    centres = ball_centres(FRAMES, (0.0, 0.0, 0.0))
    for view, rig in enumerate(ring_of_cameras(3, size=SIZE)):
        np.testing.assert_allclose(multiview.cameras[view].T_world_cam, rig.T_world_cam, atol=1e-6)
        for frame, centre in enumerate(centres):
            image, mask = draw_ball(rig, centre)
            np.testing.assert_array_equal(multiview.read_mask(view, frame), mask)
            read = multiview.read_image(view, frame)
            np.testing.assert_allclose(read, image / 255.0, atol=1e-6)


def test_moments_that_a_camera_missed(tmp_path):
    bag = write_bag(tmp_path / 'bag', 'mcap', messages(Messages(), missing=1))
    multiview = import_multiview_bag(bag, tmp_path / 'out', replace(WHOLE, held_out_frames=0.0))
    assert multiview.num_frames == FRAMES - 1
    assert multiview.provenance['dropped'] == 1
    _, mask = draw_ball(ring_of_cameras(3, size=SIZE)[2], ball_centres(FRAMES, (0, 0, 0))[2])
    np.testing.assert_array_equal(multiview.read_mask(2, 1), mask)


def test_cameras_that_are_not_synchronised(tmp_path):
    bag = write_bag(tmp_path / 'bag', 'mcap', messages(Messages(), late_ns=20_000_000))
    with pytest.raises(DataError, match='not synchronised: 0 moments .* rig_cam1 4'):
        import_multiview_bag(bag, tmp_path / 'out', WHOLE)
    multiview = import_multiview_bag(bag, tmp_path / 'out', WHOLE, BagImport(max_skew_s=0.022))
    assert multiview.num_frames == FRAMES


def test_world_frame_that_is_not_there(tmp_path):
    bag = write_bag(tmp_path / 'bag', 'mcap', messages(Messages()))
    with pytest.raises(DataError, match='never has hall -> cam0_optical'):
        import_multiview_bag(bag, tmp_path / 'out', WHOLE, BagImport(world_frame='hall'))


def test_camera_that_moves(tmp_path):
    make = Messages()
    rig = ring_of_cameras(3, size=SIZE)[0]
    moved = rig.T_world_cam.copy()
    moved[0, 3] += 0.2
    kept = [
        item
        for item in messages(make)
        if item[1] != '/tf_static' or 'cam0' not in item[2].transforms[0].child_frame_id
    ]
    for index in range(FRAMES):
        stamp_ns = START_NS + index * STEP_NS
        pose = moved if index == FRAMES - 1 else rig.T_world_cam
        step = make.transform(stamp_ns, 'world', 'cam0_optical', pose)
        kept.append((stamp_ns, '/tf', make.tf(step)))
    bag = write_bag(tmp_path / 'bag', 'mcap', kept)
    with pytest.raises(DataError, match='camera rig_cam0 of .* moves'):
        import_multiview_bag(bag, tmp_path / 'out', WHOLE)


def test_unknown_camera_and_bag_without_images(tmp_path):
    bag = write_bag(tmp_path / 'bag', 'mcap', messages(Messages()))
    with pytest.raises(DataError, match="no camera 'left', found rig_cam0, rig_cam1, rig_cam2"):
        import_multiview_bag(bag, tmp_path / 'out', replace(WHOLE, cameras=('left',)))
    only_tf = [item for item in messages(Messages()) if item[1] == '/tf_static']
    empty = write_bag(tmp_path / 'empty', 'mcap', only_tf)
    with pytest.raises(DataError, match='has no image topic'):
        import_multiview_bag(empty, tmp_path / 'out', WHOLE)
