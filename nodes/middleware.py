"""Settings of the middleware that images need; call before rclpy.init."""

import os
from pathlib import Path

FASTDDS_PROFILE = Path(__file__).with_name('fastdds.xml')
# Where Fast DDS looks for its profiles: from Kilted on, and before (where Kilted warns).
NEW_VARIABLE, OLD_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'
OLD_DISTRIBUTIONS = ('humble', 'iron', 'jazzy')
TRANSPORT_VARIABLES = (NEW_VARIABLE, OLD_VARIABLE, 'FASTDDS_BUILTIN_TRANSPORTS')


def prepare_for_images() -> None:
    """Let images published by this process fit into Fast DDS's shared memory.

    Whoever has chosen transports or a profile for Fast DDS keeps them; other middlewares do not
    look at these variables.
    """
    if any(os.environ.get(variable) for variable in TRANSPORT_VARIABLES):
        return
    is_old = os.environ.get('ROS_DISTRO') in OLD_DISTRIBUTIONS
    os.environ[OLD_VARIABLE if is_old else NEW_VARIABLE] = str(FASTDDS_PROFILE)
