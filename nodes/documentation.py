"""Writes docs/nodes.md from the tables in code: `python -m posefield.nodes.documentation FILE`."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
import sys
from typing import Any

from posefield.nodes.interface_types import NodeInterface
from posefield.nodes.interfaces import NODES
from posefield.nodes.parameters import constraint_of, ros_name, type_name

HEAD = """# Nodes

This page is generated from the tables in `nodes/interfaces.py` and `nodes/parameters.py` by
`python -m posefield.nodes.documentation docs/nodes.md`.

Units are SI and angles are radians (REP-103), frames follow REP-105, quaternions are x, y, z, w.
Relative names can be remapped and put into a namespace. Parameters that are not marked live are
read when the node is configured. The QoS of image and camera_info can be overridden by
`qos_overrides.<topic>.subscription.{reliability,history,depth}`.

Fast DDS, the default middleware, gives a publishing process 512 KB of shared memory. A raw 640x480
colour image is larger: about half of such images are lost, and TF from the same process is late by
seconds. The nodes here publish with 32 MB unless you have chosen transports yourself. Do the same
where your camera driver runs, before starting it:

```bash
export FASTDDS_DEFAULT_PROFILES_FILE=$(ros2 pkg prefix --share posefield)/config/fastdds.xml
export FASTRTPS_DEFAULT_PROFILES_FILE=$FASTDDS_DEFAULT_PROFILES_FILE   # before Kilted
```

In a checkout the file is `nodes/fastdds.xml`.
"""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ['---'] * len(columns), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def bullets(items: Sequence[str]) -> str:
    """Return a Markdown list."""
    return '\n'.join(f'- {item}' for item in items) + '\n'


def default_text(default: Any) -> str:
    """Return a default as in YAML."""
    if isinstance(default, bool):
        return f'`{str(default).lower()}`'
    if isinstance(default, tuple):
        return '`[]`'
    return f"`'{default}'`" if default == '' else f'`{default}`'


def parameter_rows(parameters: type) -> list[list[str]]:
    """Return one row for each parameter of a table."""
    rows = []
    for spec in fields(parameters):
        constraint = constraint_of(spec)
        rows.append(
            [
                f'`{ros_name(spec.name)}`',
                type_name(spec),
                default_text(spec.default),
                constraint.range_text,
                constraint.unit,
                'yes' if constraint.live else '',
                constraint.description,
            ]
        )
    return rows


def section(node: NodeInterface) -> str:
    """Return the page of one node."""
    topic_columns = ['topic', 'type', 'QoS', 'what']
    parts = [f'## {node.name}\n', f'`ros2 run posefield {node.executable}`\n', f'{node.summary}\n']
    for title, topics in (('Subscribed', node.subscribed), ('Published', node.published)):
        if topics:
            rows = [[f'`{t.name}`', t.message_type, t.qos, t.description] for t in topics]
            parts += [f'### {title} topics\n', table(topic_columns, rows)]
    if node.services:
        rows = [[f'`{s.name}`', s.service_type, s.description] for s in node.services]
        parts += ['### Services\n', table(['service', 'type', 'what'], rows)]
    if node.actions:
        rows = [[f'`{a.name}`', a.action_type, a.description] for a in node.actions]
        parts += ['### Actions\n', table(['action', 'type', 'what'], rows)]
    columns = ['parameter', 'type', 'default', 'range', 'unit', 'live', 'what']
    parts += ['### Parameters\n', table(columns, parameter_rows(node.parameters))]
    for title, items in (
        ('TF required', node.tf_required),
        ('TF provided', node.tf_provided),
        ('Behaviour', node.notes),
    ):
        if items:
            parts += [f'### {title}\n', bullets(items)]
    return '\n'.join(parts)


def page() -> str:
    """Return docs/nodes.md."""
    return '\n'.join([HEAD, *(section(node) for node in NODES)])


if __name__ == '__main__':
    Path(sys.argv[1]).write_text(page(), encoding='utf-8')
