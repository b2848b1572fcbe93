"""posefield: relocalization and articulation from camera images with neural fields."""

__version__ = '0.1.0'
