"""Starts a launch file on machines without `launch`: the tags that ours use, and no others."""

from dataclasses import dataclass
from pathlib import Path
import re
import subprocess
import xml.etree.ElementTree as ET

import yaml

from support.processes import node_command

REPOSITORY = Path(__file__).resolve().parents[2]
SUBSTITUTION = re.compile(r'\$\((\S+) ([^()]*)\)')
KNOWN_ATTRIBUTES = {
    'launch': set(),
    'arg': {'name', 'default', 'description'},
    'node': {'pkg', 'exec', 'name', 'namespace', 'output', 'args', 'if'},
    'param': {'name', 'value', 'type', 'from'},
    'remap': {'from', 'to'},
}


class LaunchError(Exception):
    """The launch file or its arguments are wrong."""


@dataclass(frozen=True)
class LaunchNode:
    """A node that the file starts.

    Attributes:
        package, executable, name, namespace: as in the file.
        parameters: name and value, in YAML, of each parameter set by name.
        parameter_files: in order.
        remaps: from and to.
        arguments: the rest of the command line.
    """

    package: str
    executable: str
    name: str
    namespace: str
    parameters: dict[str, str]
    parameter_files: tuple[str, ...]
    remaps: tuple[tuple[str, str], ...]
    arguments: tuple[str, ...]

    def command(self) -> list[str]:
        """The command line, with this Python and the executables of this package."""
        if self.package != 'posefield':
            raise LaunchError(f'{self.package} is not on this machine.')
        command = [*node_command(self.executable), *self.arguments, '--ros-args']
        command += ['-r', f'__node:={self.name}']
        if self.namespace:
            command += ['-r', f'__ns:=/{self.namespace.lstrip("/")}']
        for file in self.parameter_files:
            command += ['--params-file', file]
        for name, value in self.parameters.items():
            command += ['-p', f'{name}:={value}']
        for source, target in self.remaps:
            command += ['-r', f'{source}:={target}']
        return command


def read_arguments(file: Path) -> dict[str, tuple[str | None, str]]:
    """Default (None: required) and description of each argument, like --show-args."""
    root = _parse(file)
    return {
        arg.get('name'): (arg.get('default'), arg.get('description', ''))
        for arg in root.findall('arg')
    }


def read_nodes(file: Path, **arguments: str) -> list[LaunchNode]:
    """The nodes that the file would start with these arguments.

    Raises:
        LaunchError: for an unknown tag, attribute, argument or substitution.
    """
    root = _parse(file)
    declared = read_arguments(file)
    unknown = set(arguments) - set(declared)
    if unknown:
        raise LaunchError(f'{file.name} has no argument {", ".join(sorted(unknown))}.')
    values: dict[str, str] = {}
    for name, (default, _) in declared.items():
        if name not in arguments and default is None:
            raise LaunchError(f'Required launch argument "{name}" was not provided.')
        values[name] = arguments[name] if name in arguments else _substitute(default, values)
    return [
        _node(element, values)
        for element in root.findall('node')
        if _substitute(element.get('if', 'true'), values).lower() in ('true', '1')
    ]


def start(file: Path, **arguments: str) -> list[subprocess.Popen]:
    """Start the nodes of a launch file as processes."""
    return [
        subprocess.Popen(
            node.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for node in read_nodes(file, **arguments)
    ]


def _parse(file: Path) -> ET.Element:
    root = ET.parse(file).getroot()
    for element in root.iter():
        if element.tag not in KNOWN_ATTRIBUTES:
            raise LaunchError(f'<{element.tag}> is not a tag that our launch files use.')
        unknown = set(element.attrib) - KNOWN_ATTRIBUTES[element.tag]
        if unknown:
            raise LaunchError(f'<{element.tag}> has no attribute {", ".join(sorted(unknown))}.')
    return root


def _node(element: ET.Element, values: dict[str, str]) -> LaunchNode:
    def text(attribute: str, default: str = '') -> str:
        return _substitute(element.get(attribute, default), values)

    params = element.findall('param')
    return LaunchNode(
        text('pkg'),
        text('exec'),
        text('name'),
        text('namespace'),
        {
            p.get('name'): _as_yaml(_substitute(p.get('value'), values), p.get('type'))
            for p in params
            if p.get('name')
        },
        tuple(_substitute(p.get('from'), values) for p in params if p.get('from')),
        tuple(
            (_substitute(r.get('from'), values), _substitute(r.get('to'), values))
            for r in element.findall('remap')
        ),
        tuple(text('args').split()),
    )


def _as_yaml(value: str, kind: str | None) -> str:
    """Return the value as YAML that has the type launch would give it."""
    return yaml.safe_dump(value, default_style='"').strip() if kind == 'str' else value


def _substitute(text: str, values: dict[str, str]) -> str:
    def replace(match: re.Match) -> str:
        kind, what = match.groups()
        if kind == 'var' and what in values:
            return values[what]
        if kind == 'find-pkg-share' and what == 'posefield':
            return str(REPOSITORY)
        raise LaunchError(f'{match.group(0)} cannot be substituted.')

    return SUBSTITUTION.sub(replace, text)
