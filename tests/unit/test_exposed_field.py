"""A synthesizer at one exposure, rendered as a field."""

import torch

from posefield.fields.exposed_field import field_of
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.mlp_field import MlpFieldConfig
from posefield.fields.rendering import render_view
from support.textured_room import pinhole

CAMERA = pinhole(9, 7, 8.0)
DARK, BRIGHT = torch.tensor([90, 10] + [0] * 8), torch.tensor([0] * 8 + [10, 90])


def synthesizer(act: bool) -> FeatureSynthesizer:
    field = MlpFieldConfig(
        width=16, depth=2, skip=0, coarse_samples=8, fine_samples=6, features=4
    ).to_dict()
    config = {'kind': 'mlp', 'field': field, 'act': act, 'fusion': None}
    generator = torch.Generator().manual_seed(0)
    made = FeatureSynthesizer.from_config(config, generator)
    if act:
        torch.nn.init.normal_(made.act.network[-1].weight, std=0.3, generator=generator)
    return made


def test_a_view_has_the_exposure_that_was_bound():
    made = synthesizer(act=True)
    for histogram in (DARK, BRIGHT):
        view = render_view(field_of(made, histogram), CAMERA, torch.eye(4), 0.0, 3.0)
        expected = made.render_view(CAMERA, torch.eye(4), 0.0, 3.0, histogram)
        torch.testing.assert_close(view.colours_HW3.permute(2, 0, 1), expected.colours_3HW)
        torch.testing.assert_close(view.depths_HW, expected.depths_HW)
        other = made.render_view(CAMERA, torch.eye(4), 0.0, 3.0, histogram.flip(0))
        assert not torch.allclose(expected.colours_3HW, other.colours_3HW, atol=1e-3)


def test_what_passes_by_can_be_left_out():
    field = field_of(synthesizer(act=True), DARK)
    whole = render_view(field, CAMERA, torch.eye(4), 0.0, 3.0)
    static = render_view(field, CAMERA, torch.eye(4), 0.0, 3.0, transient=False)
    assert (static.opacities_HW <= whole.opacities_HW + 1e-6).all()
    assert not torch.allclose(static.colours_HW3, whole.colours_HW3, atol=1e-3)


def test_without_exposure_it_is_the_field_itself():
    made = synthesizer(act=False)
    assert field_of(made, DARK) is made.field
    bound = field_of(synthesizer(act=True), DARK)
    assert {parameter.device.type for parameter in bound.parameters()} == {'cpu'}
