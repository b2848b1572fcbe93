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
CONDITIONS = {'if', 'unless'}
KNOWN_ATTRIBUTES = {
    'launch': set(),
    'arg': {'name', 'default', 'description', 'value'},
    'let': {'name', 'value'},
    'group': CONDITIONS,
    'push_ros_namespace': {'namespace'},
    'include': {'file'} | CONDITIONS,
    'node': {'pkg', 'exec', 'name', 'namespace', 'output', 'args'} | CONDITIONS,
    'param': {'name', 'value', 'type', 'from'},
    'remap': {'from', 'to'},
}
MAX_NESTING = 10


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
    """The nodes that the file would start with these arguments, those of included files too.

    Raises:
        LaunchError: for an unknown tag, attribute, argument or substitution.
    """
    return _read_file(file, arguments, '', 0)


def _read_file(
    file: Path, arguments: dict[str, str], namespace: str, nesting: int
) -> list[LaunchNode]:
    if nesting > MAX_NESTING:
        raise LaunchError(f'{file.name} includes itself.')
    root = _parse(file)
    unknown = set(arguments) - set(read_arguments(file))
    if unknown:
        raise LaunchError(f'{file.name} has no argument {", ".join(sorted(unknown))}.')
    return _read_children(root, arguments, {}, namespace, nesting)


def _read_children(
    parent: ET.Element,
    arguments: dict[str, str],
    values: dict[str, str],
    namespace: str,
    nesting: int,
) -> list[LaunchNode]:
    """Go through the actions of a file or group in their order.

    Args:
        parent: their element.
        arguments: given to the file.
        values: of the variables; arguments and lets are added.
        namespace: that was pushed so far.
        nesting: of files.
    """
    nodes = []
    for element in parent:
        if not _holds(element, values):
            continue
        name = element.get('name')
        if element.tag == 'arg':
            if name not in arguments and element.get('default') is None:
                raise LaunchError(f'Required launch argument "{name}" was not provided.')
            given = arguments.get(name)
            values[name] = _substitute(element.get('default'), values) if given is None else given
        elif element.tag == 'let':
            values[name] = _substitute(element.get('value'), values)
        elif element.tag == 'push_ros_namespace':
            namespace = _below(namespace, _substitute(element.get('namespace'), values))
        elif element.tag == 'group':
            # What a group sets and pushes ends with it.
            nodes += _read_children(element, arguments, dict(values), namespace, nesting)
        elif element.tag == 'include':
            given = {arg.get('name'): _substitute(arg.get('value'), values) for arg in element}
            included = Path(_substitute(element.get('file'), values))
            nodes += _read_file(included, given, namespace, nesting + 1)
        elif element.tag == 'node':
            nodes.append(_node(element, values, namespace))
        else:
            raise LaunchError(f'<{element.tag}> is not expected in <{parent.tag}>.')
    return nodes


def _holds(element: ET.Element, values: dict[str, str]) -> bool:
    """Whether the conditions of an action hold."""
    for attribute, wanted in (('if', True), ('unless', False)):
        condition = element.get(attribute)
        if condition is None:
            continue
        text = _substitute(condition, values).lower()
        if text not in ('true', '1', 'false', '0'):
            raise LaunchError(f'The condition {attribute}="{condition}" is {text!r}.')
        if (text in ('true', '1')) != wanted:
            return False
    return True


def _below(namespace: str, name: str) -> str:
    """Return a namespace below another; one that begins with a slash stands for itself."""
    if name.startswith('/') or not namespace:
        return name.strip('/')
    return f'{namespace}/{name}'.strip('/')


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


def _node(element: ET.Element, values: dict[str, str], pushed: str) -> LaunchNode:
    def text(attribute: str, default: str = '') -> str:
        return _substitute(element.get(attribute, default), values)

    params = element.findall('param')
    return LaunchNode(
        text('pkg'),
        text('exec'),
        text('name'),
        _below(pushed, text('namespace')),
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
        tuple(_arguments(element.get('args', ''), values)),
    )


def _arguments(text: str, values: dict[str, str]) -> list[str]:
    """Split a command line as launch does: what is substituted is never split."""
    found = SUBSTITUTION.findall(text)
    held = SUBSTITUTION.sub('\0', text)
    words = held.split()
    substituted = iter(_substitute(f'$({kind} {what})', values) for kind, what in found)
    return [re.sub('\0', lambda _: next(substituted), word) for word in words]


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
