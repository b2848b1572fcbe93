"""Cameras, poses and pixel conventions; see docs/conventions.md."""

from posefield.geometry.camera import Camera
from posefield.geometry.poses import PoseErrors

__all__ = ['Camera', 'PoseErrors']
