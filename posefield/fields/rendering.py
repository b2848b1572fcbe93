"""Images, depth and features of any field along rays and in whole views."""

from dataclasses import dataclass

import torch

from posefield.fields.pieces import render_in_pieces
from posefield.fields.radiance import RadianceField, RayRender
from posefield.geometry.camera import Camera
from posefield.geometry.rays import camera_rays, pixel_grid


def render_rays(
    field: RadianceField,
    origins_R3: torch.Tensor,
    directions_R3: torch.Tensor,
    near: float,
    far: float,
    generator: torch.Generator | None = None,
    *,
    transient: bool = True,
) -> RayRender:
    """Render rays of the field frame.

    Gradients reach the rays through positions and directions, not through the distances of the
    samples; they reach the field's parameters unless these are frozen.

    Args:
        field: the field.
        origins_R3, directions_R3: rays; a distance is a multiple of the direction, so with
            optical z = 1 directions it is the depth.
        near, far: range of distances.
        generator: jitters samples while learning; None renders deterministically.
        transient: whether what a field holds for passing things is rendered too.
    """
    return field.render_rays(origins_R3, directions_R3, near, far, generator, transient=transient)


@dataclass(frozen=True)
class ViewRender:
    """A rendered view as images; depths are in field units, features None without a head."""

    colours_HW3: torch.Tensor
    depths_HW: torch.Tensor
    depth_sigmas_HW: torch.Tensor
    opacities_HW: torch.Tensor
    features_CHW: torch.Tensor | None = None


def view_rays(
    camera: Camera, T_field_cam: torch.Tensor, pixels_N2: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return origins (N, 3) and directions (N, 3) of pixels in the field frame."""
    rays = camera_rays(camera, pixels_N2.to(T_field_cam.dtype))
    directions = rays @ T_field_cam[:3, :3].T
    return T_field_cam[:3, 3].expand_as(directions), directions


def render_view_grad(
    field: RadianceField,
    camera: Camera,
    T_field_cam: torch.Tensor,
    near: float,
    far: float,
    chunk_rays: int = 8192,
    *,
    transient: bool = True,
) -> ViewRender:
    """Render a whole pinhole view so that gradients reach the pose.

    Freeze the field's parameters (`field.requires_grad_(False)`) where only the pose is wanted:
    what then needs no gradient runs without autograd.

    Args:
        field: the field.
        camera: pinhole.
        T_field_cam: (4, 4) on the field's device, of the field's floating type.
        near, far: range of depths.
        chunk_rays: rays at a time; those of several chunks are rendered once more when
            gradients are taken, so that memory does not grow with the view.
        transient: see `render_rays`.
    """
    pixels = pixel_grid(camera.height, camera.width, T_field_cam.device)
    origins, directions = view_rays(camera, T_field_cam, pixels)

    def render(origins_R3: torch.Tensor, directions_R3: torch.Tensor) -> RayRender:
        return render_rays(field, origins_R3, directions_R3, near, far, transient=transient)

    rays = render_in_pieces(render, origins, directions, chunk_rays)
    shape = (camera.height, camera.width)
    features = None
    if rays.features is not None:
        features = rays.features.reshape(*shape, -1).permute(2, 0, 1)
    return ViewRender(
        rays.colours.reshape(*shape, 3),
        rays.depths.reshape(shape),
        rays.depth_sigmas.reshape(shape),
        rays.opacities.reshape(shape),
        features,
    )


@torch.no_grad()
def render_view(
    field: RadianceField,
    camera: Camera,
    T_field_cam: torch.Tensor,
    near: float,
    far: float,
    chunk_rays: int = 8192,
    *,
    transient: bool = True,
) -> ViewRender:
    """Render a whole pinhole view without gradients; arguments as in `render_view_grad`."""
    return render_view_grad(field, camera, T_field_cam, near, far, chunk_rays, transient=transient)
