"""What the set-up finds on the machine, and how it runs other tools there."""

from dataclasses import dataclass
import importlib.util
import os
from pathlib import Path
import shutil
import subprocess
import sys
import sysconfig
import time

# Variables of an outer make or of another environment that must not reach the tools started here.
FOREIGN_VARIABLES = (
    'MAKEFLAGS',
    'MAKELEVEL',
    'MFLAGS',
    'PYTHONHOME',
    '_ROS_WHEELS_BOOTSTRAP_COMPLETE',
)


class SetupError(Exception):
    """The environment cannot be made; the message is one sentence for the user."""


@dataclass(frozen=True)
class Project:
    """The checkout and what its environment is made from.

    Attributes:
        root: folder of the checkout.
        base_python: the interpreter outside of any environment.
        ros_distro: name of the sourced ROS 2, or None where the wheels are used.
    """

    root: Path
    base_python: str
    ros_distro: str | None

    @property
    def source(self) -> str:
        """Where ROS 2 comes from, as the stamps record it."""
        return f'ROS 2 {self.ros_distro}' if self.ros_distro else 'ROS 2 wheels'

    @property
    def venv(self) -> Path:
        """The environment."""
        return self.root / '.venv'

    @property
    def python(self) -> str:
        """The environment's interpreter."""
        return str(self.venv / 'bin' / 'python')

    @property
    def site_packages(self) -> Path:
        """Where the environment's Python looks for packages."""
        return Path(self.ask_python('import sysconfig; print(sysconfig.get_path("purelib"))'))

    @property
    def tf2_msgs(self) -> Path:
        """The generated source of tf2_msgs; exists only where no installed package has it."""
        return self.root / 'ros2_ws' / 'generated' / 'tf2_msgs'

    @property
    def messages_build(self) -> Path:
        """Where the messages are compiled."""
        return self.root / 'build' / 'messages'

    @property
    def log(self) -> Path:
        """Everything that the tools printed."""
        return self.root / 'build' / 'setup.log'

    @property
    def environ(self) -> dict[str, str]:
        """Variables for the tools that run inside the environment."""
        environ = {k: v for k, v in os.environ.items() if k not in FOREIGN_VARIABLES}
        environ['PATH'] = f'{self.venv / "bin"}:{environ.get("PATH", os.defpath)}'
        environ['VIRTUAL_ENV'] = str(self.venv)
        environ['PIP_DISABLE_PIP_VERSION_CHECK'] = environ['PIP_NO_INPUT'] = '1'
        if self.ros_distro is None:
            environ['AMENT_PREFIX_PATH'] = environ['CMAKE_PREFIX_PATH'] = str(self.venv)
        return environ

    def ask_python(self, code: str) -> str:
        """The last line that the environment's Python prints for a snippet, '' if it fails."""
        command = [self.python, '-c', code]
        answer = subprocess.run(command, env=self.environ, capture_output=True, text=True)
        lines = answer.stdout.split('\n')[:-1]
        return lines[-1] if answer.returncode == 0 and lines else ''


def find_project(root: Path) -> Project:
    """See what this shell and this Python offer."""
    base_python = getattr(sys, '_base_executable', sys.executable)
    ros_distro = os.environ.get('ROS_DISTRO')
    if not ros_distro or not os.environ.get('AMENT_PREFIX_PATH'):
        return Project(root, base_python, None)
    found = subprocess.run([base_python, '-c', 'import rclpy'], capture_output=True, text=True)
    if found.returncode != 0:
        raise SetupError(
            f'ROS 2 {ros_distro} is sourced but {base_python} cannot import its rclpy '
            f'({last_line(found.stderr)}): name the Python of that ROS, as in '
            'make PYTHON=/usr/bin/python3, or use a shell where ROS 2 is not sourced'
        )
    return Project(root, base_python, ros_distro)


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), '')


def explain(output: str) -> str:
    """Say in one sentence why a tool failed, from what it printed."""
    unreachable = ('NewConnectionError', 'name resolution', 'ConnectTimeout', 'ReadTimeout')
    if any(sign in output for sign in unreachable):
        return (
            'the package index cannot be reached; connect to the network, or name an index that '
            'can be reached in PIP_INDEX_URL'
        )
    if 'No space left on device' in output:
        return 'the disk is full; the environment takes about 3 GB'
    for line in output.splitlines():
        if 'No matching distribution found for' in line:
            package = line.split('found for')[1].strip()
            return (
                f'there is no package {package} for Python {sys.version_info[0]}.'
                f'{sys.version_info[1]} on {sysconfig.get_platform()}; Python 3.10 to 3.13 on '
                'Linux have all wheels (make PYTHON=python3.12), or source a ROS 2 installation'
            )
    return f'the last line was: {last_line(output)}'


def wait_visibly(process: subprocess.Popen, log: Path) -> None:
    """Wait for a process; on a terminal, show the seconds and the last line of the log."""
    began = time.monotonic()
    while process.poll() is None:
        try:
            process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            if sys.stdout.isatty():
                width = shutil.get_terminal_size().columns - 1
                state = f'    {time.monotonic() - began:.0f} s  {last_line(log.read_text())}'
                print(f'\r\033[K{state[:width]}', end='', flush=True)
    if sys.stdout.isatty():
        print('\r\033[K', end='', flush=True)


def run_tool(project: Project, command: list[str]) -> None:
    """Run a command with its output in the log; raise SetupError, with a reason, if it fails."""
    project.log.parent.mkdir(exist_ok=True)
    with project.log.open('a') as log:
        log.write(f'\n$ {" ".join(command)}\n')
        log.flush()
        start = log.tell()
        process = subprocess.Popen(
            command,
            cwd=project.root,
            env=project.environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        wait_visibly(process, project.log)
    if process.returncode != 0:
        with project.log.open() as log:
            log.seek(start)
            reason = explain(log.read())
        raise SetupError(f'{reason} (all output is in {project.log})')


def require_tools() -> None:
    """Check for what no wheel brings, before anything is downloaded."""
    version = f'{sys.version_info[0]}.{sys.version_info[1]}'
    if not all(importlib.util.find_spec(module) for module in ('venv', 'ensurepip')):
        raise SetupError(
            f'{sys.executable} cannot make environments: install its venv module '
            f'(on Debian and Ubuntu: apt install python{version}-venv)'
        )
    for compiler in ('gcc', 'g++'):
        if shutil.which(compiler) is None:
            raise SetupError(
                f'the compiler {compiler} is not there, and the ROS 2 messages need it: '
                'install it (on Debian and Ubuntu: apt install build-essential)'
            )
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    if not header.is_file():
        raise SetupError(
            f'{header} is not there, and the ROS 2 messages need it: install the headers of '
            f'Python (on Debian and Ubuntu: apt install python{version}-dev)'
        )
