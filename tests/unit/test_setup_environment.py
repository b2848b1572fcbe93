"""The set-up of the environment: what it skips, repairs, and says when something is missing."""

from pathlib import Path
import subprocess
import sys

import pytest

import setup_environment as setup
import setup_host as host

REPOSITORY = Path(__file__).resolve().parents[2]

EXPORTED = (
    'set_target_properties(a PROPERTIES INTERFACE_INCLUDE_DIRECTORIES '
    '"/opt/python/cp312-cp312/include/python3.12;'
    '/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include;/opt/other")'
)


@pytest.fixture
def project(tmp_path) -> host.Project:
    """A checkout of empty files, on a machine without ROS 2."""
    for folder in ('.venv', 'msg', 'tools'):
        (tmp_path / folder).mkdir()
    for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'msg/A.msg'):
        (tmp_path / name).touch()
    for name in ('generate_tf2_msgs.py', 'ros_wheels.txt', 'library_path.py'):
        (tmp_path / 'tools' / name).touch()
    return host.Project(tmp_path, sys.executable, None)


@pytest.fixture
def empty_path(monkeypatch, tmp_path) -> Path:
    """The only folder that commands are searched in."""
    folder = tmp_path / 'commands'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder))
    return folder


def command(folder: Path, name: str, script: str) -> None:
    """Put a shell script where commands are searched."""
    (folder / name).write_text(f'#!/bin/sh\n{script}\n')
    (folder / name).chmod(0o755)


def test_repair_names_the_headers_of_this_machine(tmp_path):
    file = tmp_path / 'share' / 'std_msgs' / 'cmake' / 'export.cmake'
    file.parent.mkdir(parents=True)
    file.write_text(EXPORTED)
    assert setup.repair_cmake_files(tmp_path, '/here/include', '/here/numpy') == 1
    assert '"/here/include;/here/numpy;/opt/other"' in file.read_text()
    assert setup.repair_cmake_files(tmp_path, '/here/include', '/here/numpy') == 0


def test_steps_run_again_only_when_their_inputs_change(project):
    stamps = project.venv / 'stamps.json'
    done = []

    def steps(second: str) -> list[setup.Step]:
        return [
            setup.Step('first', 'First', 'a', lambda _: done.append('first')),
            setup.Step('second', 'Second', second, lambda _: done.append('second')),
        ]

    setup.run_steps(project, steps('b'), stamps)
    setup.run_steps(project, steps('b'), stamps)
    assert done == ['first', 'second']
    setup.run_steps(project, steps('c'), stamps)
    assert done == ['first', 'second', 'second']


def test_failed_step_is_tried_again_but_those_before_are_not(project):
    stamps = project.venv / 'stamps.json'
    done = []

    def fail(_: host.Project) -> None:
        raise host.SetupError('no')

    first = setup.Step('first', 'First', 'a', lambda _: done.append('first'))
    with pytest.raises(host.SetupError):
        setup.run_steps(project, [first, setup.Step('second', 'Second', 'b', fail)], stamps)
    second = setup.Step('second', 'Second', 'b', lambda _: done.append('second'))
    setup.run_steps(project, [first, second], stamps)
    assert done == ['first', 'second']


@pytest.mark.parametrize('text', ['', '{"torch": ', '[1]'])
def test_damaged_stamps_count_as_none(tmp_path, text):
    (tmp_path / 'stamps.json').write_text(text)
    assert setup.read_stamps(tmp_path / 'stamps.json') == {}


def test_hash_sees_content_names_and_borders(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'one').write_text('text')
    before = setup.hash_of([tmp_path / 'a'])
    (tmp_path / 'a' / 'one').rename(tmp_path / 'a' / 'two')
    renamed = setup.hash_of([tmp_path / 'a'])
    (tmp_path / 'a' / 'two').write_text('other')
    assert len({before, renamed, setup.hash_of([tmp_path / 'a'])}) == 3
    assert setup.hash_of(['ab', 'c']) != setup.hash_of(['a', 'bc'])


def test_messages_are_built_again_when_they_change(project):
    before = {step.name: step.inputs for step in setup.plan(project)}
    (project.root / 'msg' / 'A.msg').write_text('bool found')
    after = {step.name: step.inputs for step in setup.plan(project)}
    assert {name for name in after if after[name] != before[name]} == {'messages'}


@pytest.mark.parametrize(
    ('output', 'reason'),
    [
        ("connection broken by 'NewConnectionError(", 'the package index cannot be reached'),
        ('ERROR: [Errno 28] No space left on device\n', 'the disk is full'),
        ('x\nERROR: No matching distribution found for ros-rclpy<10', 'ros-rclpy<10 for Python'),
        ('one\ntwo\n\n', 'the last line was: two'),
    ],
)
def test_failure_is_explained(output, reason):
    assert reason in host.explain(output)


def test_failing_tool_leaves_its_output_in_the_log(project):
    script = 'print("it broke"); raise SystemExit(3)'
    with pytest.raises(host.SetupError, match=r'it broke.*setup\.log'):
        host.run_tool(project, [sys.executable, '-c', script])
    assert 'it broke' in project.log.read_text()


def test_missing_compiler_is_named(empty_path):
    command(empty_path, 'gcc', 'exit 0')
    with pytest.raises(host.SetupError, match=r'the compiler g\+\+ is not there'):
        host.require_tools()


def test_missing_headers_of_python_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(host.sysconfig, 'get_path', lambda name: str(tmp_path))
    with pytest.raises(host.SetupError, match=r'Python\.h is not there'):
        host.require_tools()


def test_missing_venv_module_is_named(monkeypatch):
    monkeypatch.setattr(host.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(host.SetupError, match='install its venv module'):
        host.require_tools()


@pytest.mark.parametrize('python', ['no-such-python', 'old-python'])
def test_missing_or_old_python_is_named(tmp_path, python):
    command(tmp_path, 'old-python', 'exit 1')
    make = ['make', '-C', str(REPOSITORY), 'setup']
    python = str(tmp_path / python)
    failed = subprocess.run([*make, f'PYTHON={python}'], capture_output=True, text=True)
    assert failed.returncode != 0
    assert f'error: {python} is missing or older than 3.10' in failed.stderr


def test_sourced_ros_is_used(monkeypatch, tmp_path, empty_path):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setattr(host.sys, '_base_executable', str(empty_path / 'python'))
    command(empty_path, 'python', 'exit 0')
    assert host.find_project(tmp_path).source == 'ROS 2 jazzy'
    command(empty_path, 'python', 'echo "No module named rclpy" >&2; exit 1')
    with pytest.raises(host.SetupError, match=r'ROS 2 jazzy is sourced .*No module named rclpy'):
        host.find_project(tmp_path)


def test_wheels_are_used_where_no_ros_is_sourced(monkeypatch, tmp_path):
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    project = host.find_project(tmp_path)
    assert project.source == 'ROS 2 wheels'
    assert project.environ['AMENT_PREFIX_PATH'] == str(tmp_path / '.venv')


def test_installed_tf2_msgs_is_never_shadowed(monkeypatch, tmp_path):
    ros = tmp_path / 'ros'
    (ros / 'share' / 'tf2_msgs').mkdir(parents=True)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(ros))
    project = host.Project(tmp_path, sys.executable, 'jazzy')
    assert not setup.has_tf2_msgs(project)
    (ros / 'share' / 'tf2_msgs' / 'package.xml').write_text('<package/>')
    assert setup.has_tf2_msgs(project)
    project.tf2_msgs.mkdir(parents=True)
    assert setup.has_tf2_msgs(project)


def test_generated_tf2_msgs_does_not_count_as_installed(project):
    built = project.venv / 'share' / 'tf2_msgs' / 'package.xml'
    built.parent.mkdir(parents=True)
    built.write_text('<package/>')
    assert setup.has_tf2_msgs(project)
    project.tf2_msgs.mkdir(parents=True)
    assert not setup.has_tf2_msgs(project)


def test_generated_definitions_are_those_of_tf2_msgs(tmp_path):
    generator = str(REPOSITORY / 'tools' / 'generate_tf2_msgs.py')
    subprocess.run([sys.executable, generator, str(tmp_path)], check=True)
    message = (tmp_path / 'msg' / 'TFMessage.msg').read_text()
    assert message == 'geometry_msgs/TransformStamped[] transforms\n'
    assert 'msg/TFMessage.msg' in (tmp_path / 'CMakeLists.txt').read_text()


def test_library_path_restarts_python_once(tmp_path):
    """As in an environment over a sourced ROS 2: the linker's path comes to include its lib/."""
    script = (
        'import os, sys; sys.path.insert(0, sys.argv[1]); import library_path; '
        'print(os.environ["LD_LIBRARY_PATH"], sys.argv[2:])'
    )
    environ = {'LD_LIBRARY_PATH': '/before', '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1'}
    command = [sys.executable, '-c', script, str(REPOSITORY / 'tools'), 'argument']
    answer = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert answer.stdout == f"{sys.prefix}/lib:/before ['argument']\n"


def made_anew(monkeypatch, project: host.Project, stamps: str) -> bool:
    """Whether a set-up that finds these stamps in a working environment makes another one."""
    (project.venv / 'posefield_setup.json').write_text(stamps)
    made = []
    monkeypatch.setattr(setup, 'require_tools', lambda: None)
    monkeypatch.setattr(setup, 'has_usable_environment', lambda _: True)
    monkeypatch.setattr(setup, 'make_environment', made.append)
    monkeypatch.setattr(setup, 'run_steps', lambda *_: None)
    setup.set_up(project)
    return bool(made)


def test_environment_of_a_moved_checkout_is_made_anew(monkeypatch, project):
    assert not made_anew(monkeypatch, project, '{}')
    assert not made_anew(monkeypatch, project, f'{{"folder": "{project.root}"}}')
    assert made_anew(monkeypatch, project, '{"folder": "/elsewhere"}')


def test_environment_of_wheels_is_made_anew_over_a_sourced_ros(monkeypatch, project):
    sourced = host.Project(project.root, sys.executable, 'jazzy')
    assert made_anew(monkeypatch, sourced, '{"source": "ROS 2 wheels"}')
    assert not made_anew(monkeypatch, sourced, '{"source": "ROS 2 jazzy"}')


def test_ros_that_is_no_longer_sourced_is_an_error(project):
    (project.venv / 'posefield_setup.json').write_text('{"source": "ROS 2 jazzy"}')
    with pytest.raises(host.SetupError, match='made for ROS 2 jazzy, which is not sourced'):
        setup.set_up(project)
