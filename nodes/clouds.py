"""Coloured points as messages."""

import importlib.util

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

# As RViz and Foxglove read them: a colour is 0x00RRGGBB in the bits of a float.
FIELDS = (
    ('x', PointField.FLOAT32, '<f4'),
    ('y', PointField.FLOAT32, '<f4'),
    ('z', PointField.FLOAT32, '<f4'),
    ('rgb', PointField.FLOAT32, '<f4'),
    ('part', PointField.UINT32, '<u4'),
)
DTYPE = np.dtype([(name, kind) for name, _, kind in FIELDS])


def cloud_of_parts(
    header: Header, points_N3: np.ndarray, colours_N3: np.ndarray, parts_N: np.ndarray
) -> PointCloud2:
    """Return points with their colours and parts.

    Args:
        header: stamp, and the frame of the points.
        points_N3: metres.
        colours_N3: RGB in [0, 1].
        parts_N: index of the part of each.
    """
    records = np.zeros(len(points_N3), DTYPE)
    for axis, name in enumerate('xyz'):
        records[name] = points_N3[:, axis]
    bytes_N3 = np.rint(255.0 * np.clip(colours_N3, 0.0, 1.0)).astype(np.uint32)
    packed = bytes_N3[:, 0] << 16 | bytes_N3[:, 1] << 8 | bytes_N3[:, 2]
    records['rgb'] = packed.astype('<u4').view('<f4')
    records['part'] = parts_N
    fields = [
        PointField(name=name, offset=DTYPE.fields[name][1], datatype=datatype, count=1)
        for name, datatype, _ in FIELDS
    ]
    if has_point_cloud2():
        from sensor_msgs_py.point_cloud2 import create_cloud

        return create_cloud(header, fields, records)
    return PointCloud2(
        header=header,
        height=1,
        width=len(records),
        fields=fields,
        is_bigendian=False,
        point_step=DTYPE.itemsize,
        row_step=DTYPE.itemsize * len(records),
        data=records.tobytes(),
        is_dense=True,
    )


def points_of_cloud(cloud: PointCloud2) -> np.ndarray:
    """Return the records of a cloud that `cloud_of_parts` made."""
    return np.frombuffer(cloud.data, DTYPE)


def has_point_cloud2() -> bool:
    """Whether this machine has sensor_msgs_py."""
    return importlib.util.find_spec('sensor_msgs_py') is not None
