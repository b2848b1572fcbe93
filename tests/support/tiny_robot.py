"""A small robot as a URDF: two turning joints, a sliding one and a fixed one; and a film of it.

Its links have centres of mass away from their frames and visuals turned in them, so that a mix-up
of frames is seen.
"""

from pathlib import Path

from posefield.data.multiview import Multiview
from posefield.data.simulate_articulation import simulate_articulation

TINY_LINKS = ('base', 'upper', 'lower', 'slider', 'tip')
# The joints that can move, and the index of the link that each holds.
TINY_JOINTS = {'shoulder': 1, 'elbow': 2, 'rail': 3}

TINY_URDF = """<?xml version="1.0"?>
<robot name="tiny">
  <link name="base">
    <inertial>
      <origin xyz="0.1 0.05 0.2" rpy="0.3 0 0.4"/><mass value="2"/>
      <inertia ixx="0.1" ixy="0" ixz="0" iyy="0.1" iyz="0" izz="0.1"/>
    </inertial>
    <visual>
      <origin xyz="0 0 0.1"/><geometry><box size="0.4 0.3 0.2"/></geometry>
      <material name="grey"><color rgba="0.4 0.4 0.4 1"/></material>
    </visual>
  </link>
  <link name="upper">
    <inertial>
      <origin xyz="0 0.1 0.2" rpy="0 0.5 0"/><mass value="1"/>
      <inertia ixx="0.1" ixy="0" ixz="0" iyy="0.1" iyz="0" izz="0.1"/>
    </inertial>
    <visual>
      <origin xyz="0 0 0.25"/><geometry><cylinder radius="0.08" length="0.5"/></geometry>
      <material name="red"><color rgba="0.9 0.2 0.1 1"/></material>
    </visual>
    <visual>
      <origin xyz="0.12 0 0.1"/><geometry><box size="0.16 0.06 0.06"/></geometry>
      <material name="red"/>
    </visual>
  </link>
  <link name="lower">
    <inertial>
      <origin xyz="0.2 0 0" rpy="0 0 0.7"/><mass value="1"/>
      <inertia ixx="0.1" ixy="0" ixz="0" iyy="0.1" iyz="0" izz="0.1"/>
    </inertial>
    <visual>
      <origin xyz="0.2 0 0" rpy="0.2 1.5707963 0"/>
      <geometry><box size="0.1 0.14 0.4"/></geometry>
      <material name="green"><color rgba="0.1 0.7 0.2 1"/></material>
    </visual>
  </link>
  <link name="slider">
    <inertial>
      <origin xyz="0 0 0.05"/><mass value="0.5"/>
      <inertia ixx="0.1" ixy="0" ixz="0" iyy="0.1" iyz="0" izz="0.1"/>
    </inertial>
    <visual>
      <origin xyz="0.05 0 0"/><geometry><box size="0.2 0.22 0.06"/></geometry>
      <material name="blue"><color rgba="0.1 0.3 0.9 1"/></material>
    </visual>
  </link>
  <link name="tip">
    <visual>
      <geometry><sphere radius="0.07"/></geometry>
      <material name="yellow"><color rgba="0.9 0.8 0.1 1"/></material>
    </visual>
  </link>
  <joint name="shoulder" type="continuous">
    <parent link="base"/><child link="upper"/>
    <origin xyz="0.05 0 0.2" rpy="0.1 0 0.3"/><axis xyz="0 0 1"/>
  </joint>
  <joint name="elbow" type="revolute">
    <parent link="upper"/><child link="lower"/>
    <origin xyz="0 0 0.5" rpy="0 0.2 0"/><axis xyz="0 1 0"/>
    <limit lower="-1.5" upper="1.0" effort="10" velocity="3"/>
  </joint>
  <joint name="rail" type="prismatic">
    <parent link="lower"/><child link="slider"/>
    <origin xyz="0.2 0 0.1" rpy="0 0 0.1"/><axis xyz="1 0 0"/>
    <limit lower="-0.15" upper="0.2" effort="10" velocity="1"/>
  </joint>
  <joint name="end" type="fixed">
    <parent link="slider"/><child link="tip"/>
    <origin xyz="0.2 0 0" rpy="0 0 0.5"/>
  </joint>
</robot>
"""


def write_tiny_urdf(folder: Path) -> Path:
    """Write the URDF and return its file."""
    path = folder / 'tiny.urdf'
    path.write_text(TINY_URDF)
    return path


def film_tiny_robot(out: Path, **options) -> Multiview:
    """Return a film of the robot in a new folder: by default 3 + 1 views, 10 frames, 32 px.

    Its truth is in `truth.json`, its links in `segmentation/`.  The URDF lies beside it.
    """
    options = {
        'views': 3,
        'held_out_views': 1,
        'frames': 10,
        'size': 32,
        'processes': 1,
        'rate_hz': 3.0,
        **options,
    }
    return simulate_articulation(write_tiny_urdf(out.parent), out, **options)
