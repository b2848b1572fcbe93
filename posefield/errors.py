"""The exceptions that posefield raises on purpose; every message is a sentence for the user."""


class PosefieldError(Exception):
    """Base of all errors that a caller or user can act on."""


class CameraError(PosefieldError):
    """Intrinsics or distortion that cannot describe a camera."""


class PoseError(PosefieldError):
    """A pose matrix that is not a rigid transform."""


class DataError(PosefieldError):
    """A scene, image, bag or pose file that cannot be used."""


class Interrupted(PosefieldError):
    """Work was stopped on request before it was done; nothing was written."""


class BundleError(PosefieldError):
    """A map or model folder that is damaged, unsafe or of another version."""


class LearningError(PosefieldError):
    """Learning cannot start, go on or be resumed."""


class LearningInterrupted(LearningError):
    """Learning was stopped on request; a checkpoint is on disk and can be resumed."""


class ArticulationError(PosefieldError):
    """Parts, joints or positions that do not make an articulated object."""


class LocalizationError(PosefieldError):
    """No pose can be given for an image at all."""
