"""Snapshots of the capture node."""

from pathlib import Path

from posefield.data.snapshot import SnapshotView, write_snapshot
from posefield.nodes.camera_topic import InputError
from posefield.nodes.conversions import stamp_ns
from posefield.nodes.rig_input import RigInput, RigSet


def take_snapshot(rig: RigInput, rig_set: RigSet, folder: Path) -> str:
    """Write the images of a set as pictures, and return in a sentence where.

    Poses of cameras that TF does not tell are left out, which the sentence says.

    Raises:
        InputError, DataError, BundleError: when an image cannot be decoded or written.
    """
    world_frame = rig.parameters.world_frame
    note = ''
    try:
        poses = rig.extrinsics(world_frame, timeout_s=0.0)
    except InputError as error:
        poses, note = {}, f' Poses are not in it. {error}'
    views = [
        SnapshotView(
            name,
            rig.picture(name, view.message),
            view.camera,
            stamp_ns(view.message.header.stamp),
            poses.get(name),
        )
        for name, view in rig_set.views.items()
    ]
    path = write_snapshot(folder / f'snapshot_{rig_set.stamp_ns}', views, world_frame)
    return f'Wrote {len(views)} images to {path}.{note}'
