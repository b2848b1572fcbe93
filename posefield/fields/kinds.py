"""The kinds of fields by their names in configurations and maps."""

import torch

from posefield.errors import BundleError
from posefield.fields.grid_field import GridField, GridFieldConfig
from posefield.fields.mlp_field import MlpField, MlpFieldConfig

FIELDS = {
    GridField.kind: (GridField, GridFieldConfig),
    MlpField.kind: (MlpField, MlpFieldConfig),
}


def build_field(kind: str, config: dict, generator: torch.Generator) -> torch.nn.Module:
    """Return a new field of a kind.

    Args:
        kind: a key of FIELDS.
        config: what the `to_dict` of its configuration gives.
        generator: of the first values.

    Raises:
        BundleError: for an unknown kind.
    """
    if kind not in FIELDS:
        raise BundleError(f'Unknown kind of field {kind!r}, expected one of {", ".join(FIELDS)}.')
    field, field_config = FIELDS[kind]
    return field(field_config.from_dict(config), generator)
