"""Mass properties of links, from their ellipsoids filled with a uniform density."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np

from posefield.articulation.link_geometry import Ellipsoid

# Simulators need some mass on every link that moves.  Links without parts get these: kg, kg m^2.
MASSLESS_MASS = 1e-3
MASSLESS_INERTIA = 1e-6


@dataclass(frozen=True)
class Inertial:
    """The mass properties of a body.

    Attributes:
        mass: kg.
        centre_3: centre of mass in the frame of the link, m.
        inertia_33: about the centre of mass along the axes of the link, kg m^2.
    """

    mass: float
    centre_3: np.ndarray
    inertia_33: np.ndarray


def ellipsoid_inertial(ellipsoid: Ellipsoid, density: float) -> Inertial:
    """Return the mass properties of a solid ellipsoid; lengths in m, density in kg / m^3."""
    squares_3 = ellipsoid.radii_3**2
    mass = density * 4.0 / 3.0 * math.pi * float(np.prod(ellipsoid.radii_3))
    R = ellipsoid.T_link_part[:3, :3]
    principal_3 = mass / 5.0 * (squares_3.sum() - squares_3)
    return Inertial(mass, ellipsoid.T_link_part[:3, 3].copy(), (R * principal_3) @ R.T)


def sum_of_inertials(inertials: Sequence[Inertial]) -> Inertial:
    """Return the mass properties of bodies that are fixed to each other (Steiner's theorem)."""
    mass = sum(item.mass for item in inertials)
    centre = sum(item.mass * item.centre_3 for item in inertials) / mass
    inertia_33 = np.zeros((3, 3))
    for item in inertials:
        lever = item.centre_3 - centre
        inertia_33 += item.inertia_33
        inertia_33 += item.mass * (lever @ lever * np.eye(3) - np.outer(lever, lever))
    return Inertial(mass, centre, inertia_33)


def link_inertial(ellipsoids: Sequence[Ellipsoid], density: float) -> Inertial:
    """Return the mass properties of a link.

    The union of overlapping ellipsoids is approximated by their sum.  What is lighter than a
    massless link counts as one, so that every result can be simulated.

    Args:
        ellipsoids: of the link's parts, lengths in m; none for a massless link.
        density: kg / m^3.
    """
    floor = Inertial(MASSLESS_MASS, np.zeros(3), MASSLESS_INERTIA * np.eye(3))
    if not ellipsoids:
        return floor
    found = sum_of_inertials([ellipsoid_inertial(item, density) for item in ellipsoids])
    if found.mass >= floor.mass and np.linalg.eigvalsh(found.inertia_33)[0] >= MASSLESS_INERTIA:
        return found
    inertia_33 = found.inertia_33 + floor.inertia_33
    return Inertial(max(found.mass, floor.mass), found.centre_3, inertia_33)
