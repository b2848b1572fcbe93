"""Nodes as processes, also where the package's scripts are not on the PATH."""

from importlib.metadata import entry_points
import sys


def executables() -> dict[str, str]:
    """The executables of the package and the functions behind them (`module:function`)."""
    return {
        script.name: script.value
        for script in entry_points(group='console_scripts')
        if script.value.startswith('posefield.')
    }


def node_command(executable: str) -> list[str]:
    """The command that runs an executable of the package with this Python."""
    module, function = executables()[executable].split(':')
    return [sys.executable, '-c', f'import sys, {module}; sys.exit({module}.{function}())']
