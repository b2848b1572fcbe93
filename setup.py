"""Builds posefield, for pip and for colcon (ament_python).

The metadata is here and not in pyproject.toml because the setuptools of ROS 2 Humble's Ubuntu
does not read it there.
"""

from glob import glob
from pathlib import Path
import re

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
NAME = 'posefield'


def read_version() -> str:
    """The version that the package itself states."""
    text = (ROOT / 'posefield' / '__init__.py').read_text()
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE).group(1)


def shared(folder: str, *patterns: str) -> tuple[str, list[str]]:
    """Files of one folder that go to share/posefield/<folder>."""
    files = [name for pattern in patterns for name in glob(f'{folder}/{pattern}')]
    return f'share/{NAME}/{folder}', sorted(files)


PEERS = ['evo', 'pycolmap']
SIM = ['pybullet']

setup(
    name=NAME,
    version=read_version(),
    description='Relocalization of cameras in learned maps, and joints of things from video',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    maintainer='posefield maintainers',
    maintainer_email='posefield@users.noreply.github.com',
    python_requires='>=3.10',
    packages=[*find_packages(include=[NAME, f'{NAME}.*']), f'{NAME}.nodes'],
    package_dir={NAME: NAME, f'{NAME}.nodes': 'nodes'},
    package_data={f'{NAME}.nodes': ['fastdds.xml']},
    zip_safe=False,
    install_requires=[
        'fast-simplification',
        'matplotlib',
        'numpy',
        'opencv-python>=4.8,<5',
        'pillow',
        'pyyaml',
        'rich',
        'roma',
        'rosbags>=0.11',
        'safetensors',
        'scikit-image>=0.19',
        'scipy',
        'torch>=2.4',
        'transforms3d',
        'trimesh>=4.5',
        'typer',
    ],
    extras_require={
        'backbones': ['torchvision'],
        'bench': PEERS,
        'sim': SIM,
        'test': ['hypothesis', 'pytest', 'ruff', 'yourdfpy', *PEERS, *SIM],
        'view': ['rerun-sdk'],
    },
    entry_points={
        'console_scripts': [
            'posefield = posefield.cli.app:main',
            'articulation_node = posefield.nodes.articulation:main',
            'bag_player_node = posefield.nodes.bag_player:main',
            'capture_node = posefield.nodes.capture:main',
            'relocalizer_node = posefield.nodes.relocalizer:main',
            'rig_frames_node = posefield.nodes.rig_frames:main',
            'simulated_rig_node = posefield.nodes.simulated_rig:main',
            'video_rig_node = posefield.nodes.video_rig:main',
        ],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        shared('launch', '*.launch.xml', '*.launch.py'),
        shared('config', '*.yaml', '*.rviz', '*.json'),
        # Beside the nodes, which read it; here for users, who start camera drivers with it.
        (f'share/{NAME}/config', ['nodes/fastdds.xml']),
    ],
)
