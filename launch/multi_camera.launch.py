"""Starts the cameras of a rig file, tells TF where they stand, and captures or follows with them.

A Python file, because XML has no loop over cameras; what it starts is decided in
posefield.nodes.rig_launch.
"""

from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from posefield.data.rig_file import read_rig_file
from posefield.nodes.rig_launch import rig_nodes

USERS = ('capture', 'articulation')


def generate_launch_description():
    """Return the arguments, and what starts the nodes when these are known."""
    config = [FindPackageShare('posefield'), '/config/']
    arguments = [
        DeclareLaunchArgument(
            'rig',
            default_value=[*config, 'rig_example.yaml'],
            description='Rig file: cameras, topics, frames, extrinsics, drivers.',
        ),
        DeclareLaunchArgument(
            'capture', default_value='true', description='Whether to start the capture node.'
        ),
        DeclareLaunchArgument(
            'articulation',
            default_value='false',
            description='Whether to start the articulation node.',
        ),
        DeclareLaunchArgument(
            'capture_params_file',
            default_value=[*config, 'capture.yaml'],
            description='YAML file with the other parameters of capture.',
        ),
        DeclareLaunchArgument(
            'articulation_params_file',
            default_value=[*config, 'articulation.yaml'],
            description='YAML file with the other parameters of articulation.',
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of all nodes.'
        ),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', description='Take the time from /clock.'
        ),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])


def _start(context):
    """Return the actions that start the nodes of the rig file."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    path = value('rig')
    users = {
        user: value(f'{user}_params_file')
        for user in USERS
        if value(user).lower() in ('true', '1')
    }
    use_sim_time = value('use_sim_time').lower() in ('true', '1')
    nodes = rig_nodes(path, read_rig_file(path), users, {'use_sim_time': use_sim_time})
    actions = [
        Node(
            package=node.package,
            executable=node.executable,
            name=node.name,
            namespace=node.namespace,
            parameters=[*node.parameter_files, dict(node.parameters)],
            remappings=list(node.remaps),
            output='screen',
        )
        for node in nodes
    ]
    return [GroupAction([PushRosNamespace(value('namespace')), *actions])]
