"""The package as pip, colcon and ROS 2 see it."""

import ast
from collections.abc import Iterator
from importlib.metadata import packages_distributions
import json
from pathlib import Path
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

import posefield

REPOSITORY = Path(__file__).resolve().parents[2]
# Imported from ROS 2 packages of another name.
ROS_PACKAGES = {'ament_index_python', 'launch', 'launch_ros', 'rclpy', 'tf2_ros', 'cv_bridge'}


READ_SETUP = """
import json, setuptools, distutils.core
d = distutils.core.run_setup('setup.py', stop_after='init')
keys = ('packages', 'data_files', 'entry_points', 'install_requires', 'extras_require')
print(json.dumps({key: getattr(d, key) for key in keys}))
"""


@pytest.fixture(scope='module')
def setup_arguments() -> dict:
    """What setup.py tells setuptools."""
    command = [sys.executable, '-c', READ_SETUP]
    answer = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def manifest(folder: str) -> ElementTree.Element:
    """The root of a package.xml."""
    return ElementTree.parse(REPOSITORY / folder / 'package.xml').getroot()


def runtime_dependencies() -> set[str]:
    """Names that package.xml depends on at run time."""
    return {tag.text for tag in manifest('.').iterfind('exec_depend')}


def imports_below(folder: str) -> Iterator[tuple[str, Path]]:
    """Top-level names of all modules imported below a folder, wherever in the code."""
    for path in (REPOSITORY / folder).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                yield name.split('.')[0], path


def is_ros(name: str) -> bool:
    """Whether a module comes from a ROS 2 package."""
    return name in ROS_PACKAGES or name.endswith(('_msgs', '_srvs', '_interfaces', '_msgs_py'))


def normalised(requirement: str) -> str:
    """The name in a requirement, as indices compare it."""
    return re.match(r'[\w.-]+', requirement).group().lower().replace('_', '-')


@pytest.mark.parametrize('folder', ['.', 'msg'])
def test_manifest_states_the_version_of_the_code(folder):
    assert manifest(folder).findtext('version') == posefield.__version__


@pytest.mark.parametrize('folder', ['.', 'msg'])
def test_manifest_is_complete(folder):
    root = manifest(folder)
    assert root.get('format') == '3'
    assert root.findtext('license') == 'Apache-2.0'
    assert root.find('maintainer').get('email')
    assert root.findtext('description').endswith('.')


def test_changelog_has_the_version():
    text = (REPOSITORY / 'CHANGELOG.rst').read_text()
    assert text.startswith('^' * len('Changelog for package posefield'))
    assert re.search(rf'^(Forthcoming|{re.escape(posefield.__version__)} \(.+\))$', text, re.M)


def test_library_and_nodes_are_packages(setup_arguments):
    folders = {
        '.'.join(['posefield', *path.parent.relative_to(REPOSITORY / 'posefield').parts])
        for path in (REPOSITORY / 'posefield').rglob('*.py')
    }
    assert set(setup_arguments['packages']) == folders | {'posefield.nodes'}


def test_built_package_has_every_module(tmp_path):
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'egg_info', '-e', str(tmp_path)]
        + ['build', '-b', str(tmp_path), 'build_py', '--build-lib', str(tmp_path / 'lib')],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    for folder, installed in (('posefield', 'posefield'), ('nodes', 'posefield/nodes')):
        for path in (REPOSITORY / folder).rglob('*.py'):
            assert (tmp_path / 'lib' / installed / path.relative_to(REPOSITORY / folder)).is_file()


def test_launch_and_config_files_are_installed(setup_arguments):
    installed = {name for _, files in setup_arguments['data_files'] for name in files}
    for folder in ('launch', 'config'):
        for path in (REPOSITORY / folder).rglob('*.*'):
            if '__pycache__' not in path.parts:
                assert path.relative_to(REPOSITORY).as_posix() in installed


def test_package_is_registered_with_ament(setup_arguments):
    files = dict(setup_arguments['data_files'])
    assert files['share/ament_index/resource_index/packages'] == ['resource/posefield']
    assert files['share/posefield'] == ['package.xml']


def test_console_scripts_exist(setup_arguments):
    for script in setup_arguments['entry_points']['console_scripts']:
        module, function = script.split('=')[1].strip().split(':')
        below = module.removeprefix('posefield.').replace('.', '/') + '.py'
        folder = '.' if module.startswith('posefield.nodes.') else 'posefield'
        tree = ast.parse((REPOSITORY / folder / below).read_text())
        assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, script


def test_ros_imports_are_declared():
    declared = runtime_dependencies()
    assert 'tf2_ros_py' in declared
    imported = {name for name, _ in imports_below('nodes') if is_ros(name)}
    assert 'rclpy' in imported
    assert imported <= declared | {'tf2_ros'}


def test_library_never_imports_ros():
    assert [f'{path}: {name}' for name, path in imports_below('posefield') if is_ros(name)] == []


def test_python_imports_are_declared(setup_arguments):
    extras = [r for group in setup_arguments['extras_require'].values() for r in group]
    declared = {normalised(r) for r in [*setup_arguments['install_requires'], *extras]}
    providers = packages_distributions()
    for folder in ('posefield', 'nodes', 'tests', 'benchmarks'):
        for name, path in imports_below(folder):
            if is_ros(name) or name in sys.stdlib_module_names or name not in providers:
                continue
            names = {normalised(provider) for provider in providers[name]}
            own = {'posefield', 'setuptools'}
            assert names & (declared | own), f'{path} imports {name}, which setup.py lacks'


def test_workspace_links_to_both_packages():
    source = REPOSITORY / 'ros2_ws' / 'src'
    assert (source / 'posefield').resolve() == REPOSITORY
    assert (source / 'posefield_msgs').resolve() == REPOSITORY / 'msg'


def test_every_interface_is_built_and_used():
    built = (REPOSITORY / 'msg' / 'CMakeLists.txt').read_text()
    interfaces = [*(REPOSITORY / 'msg').glob('*/*.msg'), *(REPOSITORY / 'msg').glob('*/*.srv')]
    assert interfaces
    nodes = ' '.join(path.read_text() for path in (REPOSITORY / 'nodes').rglob('*.py'))
    for path in interfaces:
        assert path.relative_to(REPOSITORY / 'msg').as_posix() in built
        assert re.search(rf'\b{path.stem}\b', nodes), f'no node uses {path.name}'


@pytest.mark.parametrize('page', ['README.md', 'CONTRIBUTING.md'])
def test_links_lead_somewhere(page):
    links = re.findall(r'\]\((?!https?:)([^)#]+)', (REPOSITORY / page).read_text())
    assert links
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
