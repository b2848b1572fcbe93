"""Makes the environment in `.venv` in which everything of posefield runs.

Usage: setup_environment.py, started by the Python that the environment shall be made of.

Where ROS 2 is sourced, the environment is laid over it; elsewhere ROS 2 comes as wheels from PyPI.
posefield_msgs (and tf2_msgs, where it is missing) are built into the environment itself, and
posefield is installed from the checkout, so that nothing has to be sourced afterwards. Steps whose
inputs have not changed since they last succeeded are skipped. Needs only the standard library.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import fcntl
import hashlib
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import time
from typing import IO

from setup_host import (
    Project,
    SetupError,
    find_project,
    require_tools,
    run_tool,
)

OLDEST_PYTHON = (3, 10)
TORCH = '2.13.0'
OLDEST_TORCH = (2, 4)
TORCH_CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
EXTRAS = 'sim,test'

CHECK_IMPORTS = """\
import posefield, posefield.nodes, rclpy, tf2_msgs.msg, posefield_msgs.msg
from rclpy.type_support import check_for_type_support
check_for_type_support(tf2_msgs.msg.TFMessage)
check_for_type_support(posefield_msgs.msg.LocalizationResult)
"""


@dataclass(frozen=True)
class Step:
    """A part of the set-up.

    Attributes:
        name: key of its stamp.
        title: what it does, for the user.
        inputs: hash of all that it depends on.
        run: does it.
    """

    name: str
    title: str
    inputs: str
    run: Callable[[Project], None]


def hash_of(inputs: Iterable[str | Path]) -> str:
    """Hash strings, files (name and content) and folders (all files below)."""
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, Path):
            below = sorted(path for path in item.rglob('*') if path.is_file())
            for path in below if item.is_dir() else [item]:
                digest.update(path.relative_to(item.parent).as_posix().encode() + b'\0')
                digest.update(path.read_bytes() + b'\0')
        else:
            digest.update(item.encode() + b'\0')
    return digest.hexdigest()


def has_usable_environment(project: Project) -> bool:
    """Whether .venv is there, runs, is new enough and sees a sourced ROS 2."""
    code = f'import pip, sys; print(sys.version_info >= {OLDEST_PYTHON})'
    if not Path(project.python).exists() or project.ask_python(code) != 'True':
        return False
    settings = (project.venv / 'pyvenv.cfg').read_text()
    return project.ros_distro is None or 'include-system-site-packages = true' in settings


def make_environment(project: Project) -> None:
    """Make .venv, over the system's packages where those include ROS 2 or torch."""
    shutil.rmtree(project.messages_build, ignore_errors=True)
    command = [project.base_python, '-m', 'venv', '--clear', str(project.venv)]
    has_torch = [project.base_python, '-c', 'import importlib.metadata as m; m.version("torch")']
    if project.ros_distro or subprocess.run(has_torch, capture_output=True).returncode == 0:
        command.insert(-1, '--system-site-packages')
    run_tool(project, command)


def install_torch(project: Project) -> None:
    """Install torch unless there is one; without a GPU, the build without gigabytes of CUDA."""
    found = project.ask_python('import importlib.metadata as m; print(m.version("torch"))')
    if found and tuple(int(part) for part in found.split('.')[:2]) >= OLDEST_TORCH:
        return
    pip = [project.python, '-m', 'pip', 'install', '--progress-bar', 'off']
    if shutil.which('nvidia-smi') is None:
        cpu_only = [*pip, f'torch=={TORCH}+cpu']
        for command in (cpu_only, [*cpu_only, '--extra-index-url', TORCH_CPU_INDEX]):
            try:
                return run_tool(project, command)
            except SetupError as error:
                if 'cannot be reached' in str(error):
                    break
    run_tool(project, [*pip, f'torch=={TORCH}'])


def install_packages(project: Project) -> None:
    """Install posefield from the checkout with all that it imports, and colcon."""
    command = [project.python, '-m', 'pip', 'install', '--progress-bar', 'off']
    command += ['-e', f'{project.root}[{EXTRAS}]', 'colcon-common-extensions']
    if project.ros_distro is None:
        run_tool(project, [*command, '-r', str(project.root / 'tools' / 'ros_wheels.txt')])
        python_include = project.ask_python(
            'import sysconfig; print(sysconfig.get_path("include"))'
        )
        numpy_include = project.ask_python('import numpy; print(numpy.get_include())')
        repair_cmake_files(project.venv / 'share', python_include, numpy_include)
        return
    # ROS 2 is compiled against the system's numpy, which the environment must not leave behind.
    numpy = project.ask_python('import importlib.metadata as m; print(m.version("numpy"))')
    if numpy:
        command.append(f'numpy<{int(numpy.split(".")[0]) + 1}')
    run_tool(project, command)
    name = 'posefield_library_path'
    shutil.copy(project.root / 'tools' / 'library_path.py', project.site_packages / f'{name}.py')
    (project.site_packages / f'{name}.pth').write_text(f'import {name}\n')


def repair_cmake_files(folder: Path, python_include: str, numpy_include: str) -> int:
    """Replace the build machine's header folders in the wheels' CMake files by this machine's.

    Args:
        folder: searched for *.cmake, however deep.
        python_include: where Python.h is.
        numpy_include: where numpy's headers are.

    Returns:
        how many files were changed.
    """
    changed = 0
    for path in folder.rglob('*.cmake'):
        text = path.read_text()
        repaired = re.sub(r'/opt/python/[^;"\s]*/numpy/_core/include', numpy_include, text)
        repaired = re.sub(r'/opt/python/[^;"\s]*/include/python[\d.]+', python_include, repaired)
        if repaired != text:
            path.write_text(repaired)
            changed += 1
    return changed


def has_tf2_msgs(project: Project) -> bool:
    """Whether an installed package, other than the one generated here, is tf2_msgs."""
    prefixes = project.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    if project.tf2_msgs.exists():
        prefixes = [prefix for prefix in prefixes if Path(prefix) != project.venv]
    return any((Path(prefix) / 'share/tf2_msgs/package.xml').is_file() for prefix in prefixes)


def build_messages(project: Project) -> None:
    """Build posefield_msgs, and tf2_msgs where it is missing, into the environment."""
    sources = [str(project.root / 'msg')]
    if has_tf2_msgs(project):
        shutil.rmtree(project.tf2_msgs, ignore_errors=True)
    else:
        generator = str(project.root / 'tools' / 'generate_tf2_msgs.py')
        run_tool(project, [project.python, generator, str(project.tf2_msgs)])
        sources.append(str(project.tf2_msgs))
    build = project.messages_build
    command = [project.python, '-m', 'colcon', '--log-base', str(build / 'log'), 'build']
    command += ['--merge-install', '--install-base', str(project.venv)]
    command += ['--build-base', str(build), '--base-paths', *sources]
    command += ['--cmake-args', '-DBUILD_TESTING=OFF', f'-DPython3_EXECUTABLE={project.python}']
    run_tool(project, command)
    run_tool(project, [project.python, '-c', CHECK_IMPORTS])


def plan(project: Project) -> list[Step]:
    """The steps after the environment itself, in order, with the hashes of their inputs."""
    root, tools = project.root, project.root / 'tools'
    wheels = tools / 'ros_wheels.txt'
    packaging = [root / name for name in ('setup.py', 'setup.cfg', 'pyproject.toml')]
    messages = [root / 'msg', tools / 'generate_tf2_msgs.py', wheels]
    return [
        Step('torch', 'torch', hash_of([TORCH]), install_torch),
        Step(
            'packages',
            'Python packages' if project.ros_distro else 'Python packages and ROS 2 wheels',
            hash_of([*packaging, wheels, tools / 'library_path.py', EXTRAS]),
            install_packages,
        ),
        Step('messages', 'ROS 2 messages', hash_of(messages), build_messages),
    ]


def read_stamps(path: Path) -> dict[str, str]:
    """Hashes of the inputs that each step last succeeded with; none where the file is damaged."""
    try:
        stamps = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def made_of(project: Project) -> dict[str, str]:
    """What makes another environment necessary when it changes (scripts name their folder)."""
    return {'source': project.source, 'folder': str(project.root)}


def run_steps(project: Project, steps: list[Step], stamp_file: Path) -> None:
    """Run those steps whose inputs differ from the stamps, and stamp each when it is done."""
    stamps = read_stamps(stamp_file) | made_of(project)
    for number, step in enumerate(steps, start=1):
        if stamps.get(step.name) == step.inputs:
            continue
        print(f'[{number}/{len(steps)}] {step.title} ...', flush=True)
        began = time.monotonic()
        step.run(project)
        print(f'[{number}/{len(steps)}] {step.title}: done in {time.monotonic() - began:.0f} s')
        stamps[step.name] = step.inputs
        stamp_file.write_text(json.dumps(stamps, indent=2) + '\n')


def set_up(project: Project) -> None:
    """Bring the environment up to date."""
    stamp_file = project.venv / 'posefield_setup.json'
    stamps, steps = read_stamps(stamp_file), plan(project)
    old = made_of(project) | stamps
    if old['source'] != project.source and project.ros_distro is None:
        raise SetupError(
            f'{project.venv} was made for {old["source"]}, which is not sourced in this shell: '
            'source it, or remove that folder to use the ROS 2 wheels'
        )
    is_usable = made_of(project).items() <= old.items() and has_usable_environment(project)
    if is_usable and all(stamps.get(step.name) == step.inputs for step in steps):
        return
    require_tools()
    print(f'Setting up {project.venv} with {project.source} (log: {project.log})')
    if not is_usable:
        print(f'making the environment with {project.base_python}', flush=True)
        make_environment(project)
    run_steps(project, steps, stamp_file)


def take_turn(lock: IO[str]) -> None:
    """Wait until no other set-up of this checkout runs."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print('another set-up of this checkout is running; waiting for it', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def main() -> int:
    """Set up the checkout that this file is in."""
    root = Path(__file__).resolve().parents[1]
    (root / 'build').mkdir(exist_ok=True)
    try:
        with (root / 'build' / 'setup.lock').open('w') as lock:
            take_turn(lock)
            set_up(find_project(root))
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted; the same command goes on from here', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
