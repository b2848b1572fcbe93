"""Writes the source of tf2_msgs from the definitions in rosbags, for want of a wheel of it.

Usage: generate_tf2_msgs.py FOLDER
"""

from pathlib import Path
import sys

from rosbags.typesys import Stores, get_typestore

PACKAGE = 'tf2_msgs'
MESSAGES = ('TF2Error', 'TFMessage')

PACKAGE_XML = """\
<?xml version="1.0"?>
<package format="3">
  <name>tf2_msgs</name>
  <version>0.0.0</version>
  <description>The messages of tf2_msgs, for want of an installed package.</description>
  <maintainer email="posefield@users.noreply.github.com">posefield maintainers</maintainer>
  <license>BSD-3-Clause</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>geometry_msgs</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export>
    <build_type>ament_cmake</build_type>
  </export>
</package>
"""

CMAKE_LISTS = """\
cmake_minimum_required(VERSION 3.16)
project(tf2_msgs)
find_package(ament_cmake REQUIRED)
find_package(geometry_msgs REQUIRED)
find_package(rosidl_default_generators REQUIRED)
rosidl_generate_interfaces(${PROJECT_NAME} {files} DEPENDENCIES geometry_msgs)
ament_export_dependencies(rosidl_default_runtime)
ament_package()
"""


def definition(message: str) -> str:
    """The text of one message, without those of the messages that it contains."""
    text, _ = get_typestore(Stores.ROS2_KILTED).generate_msgdef(f'{PACKAGE}/msg/{message}')
    return text.split('=' * 80)[0]


def write_package(folder: Path) -> None:
    """Write package.xml, CMakeLists.txt and msg/ into the folder."""
    files = [f'msg/{message}.msg' for message in MESSAGES]
    (folder / 'msg').mkdir(parents=True, exist_ok=True)
    (folder / 'package.xml').write_text(PACKAGE_XML)
    (folder / 'CMakeLists.txt').write_text(CMAKE_LISTS.replace('{files}', ' '.join(files)))
    for message, file in zip(MESSAGES, files, strict=True):
        (folder / file).write_text(definition(message))


if __name__ == '__main__':
    write_package(Path(sys.argv[1]))
