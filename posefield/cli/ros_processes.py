"""The nodes of a demo as processes of their own, in a ROS 2 domain of their own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import importlib.util
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import time

from posefield.errors import PosefieldError

STOP_S = 10.0

PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
# The shared memory and socket buffers that Fast DDS has by default are smaller than one camera
# image; subscribers that ask for best effort, as is right for cameras, then lose most of them.
FAST_DDS_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<profiles xmlns="http://www.eprosima.com">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>shared_memory</transport_id>
      <type>SHM</type>
      <segment_size>33554432</segment_size>
      <maxMessageSize>4194304</maxMessageSize>
    </transport_descriptor>
    <transport_descriptor>
      <transport_id>network</transport_id>
      <type>UDPv4</type>
      <sendBufferSize>4194304</sendBufferSize>
      <receiveBufferSize>4194304</receiveBufferSize>
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="images" is_default_profile="true">
    <rtps>
      <useBuiltinTransports>false</useBuiltinTransports>
      <userTransports>
        <transport_id>shared_memory</transport_id>
        <transport_id>network</transport_id>
      </userTransports>
    </rtps>
  </participant>
</profiles>
"""


class NodeError(PosefieldError):
    """A node could not be started or ended early."""


def require_ros() -> None:
    """Check that nodes can run at all.

    Raises:
        NodeError: naming what is missing.
    """
    for module in ('rclpy', 'posefield_msgs', 'posefield.nodes'):
        if importlib.util.find_spec(module) is None:
            raise NodeError(
                f'The Python module {module} is missing: run "make setup" in the checkout, or '
                'source ROS 2 and the workspace that has posefield.'
            )


def private_domain(folder: Path) -> dict[str, str]:
    """Return the environment of nodes that talk to each other and to nobody else.

    Args:
        folder: for the profile of Fast DDS, unless the user has one.
    """
    environment = {
        **os.environ,
        'ROS_DOMAIN_ID': str(random.SystemRandom().randrange(1, 101)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    if not any(name in os.environ for name in PROFILE_VARIABLES):
        folder.mkdir(parents=True, exist_ok=True)
        profile = folder / 'fastdds.xml'
        profile.write_text(FAST_DDS_PROFILE)
        environment.update({name: str(profile.resolve()) for name in PROFILE_VARIABLES})
    return environment


class NodeProcess:
    """A running node and its log file."""

    def __init__(self, name: str, process: subprocess.Popen, log: Path):
        self.name = name
        self.process = process
        self.log = log

    def check(self) -> None:
        """Make sure that it is still running.

        Raises:
            NodeError: with the last line of its log.
        """
        if self.process.poll() is not None:
            raise NodeError(
                f'The {self.name} node ended with code {self.process.returncode}: '
                f'{self._last_line()} (whole log: {self.log}).'
            )

    def wait(self, timeout_s: float, others: Sequence['NodeProcess'] = ()) -> None:
        """Wait until it ends by itself, while others keep running.

        Raises:
            NodeError: when it fails, does not end in time, or another one ends.
        """
        end = time.monotonic() + timeout_s
        while self.process.poll() is None:
            for other in others:
                other.check()
            if time.monotonic() > end:
                raise NodeError(
                    f'The {self.name} node did not end in {timeout_s:.0f} s (log: {self.log}).'
                )
            time.sleep(0.1)
        if self.process.returncode != 0:
            self.check()

    def stop(self) -> None:
        """Ask it to end as Ctrl-C does; kill it when it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _last_line(self) -> str:
        lines = self.log.read_text(errors='replace').strip().splitlines()
        return lines[-1] if lines else 'it said nothing'


@contextmanager
def node_process(
    module: str,
    arguments: Sequence[str],
    environment: dict[str, str],
    log_folder: Path,
) -> Iterator[NodeProcess]:
    """Run the node of `posefield.nodes.<module>` with ROS arguments for the block."""
    log_folder.mkdir(parents=True, exist_ok=True)
    log = log_folder / f'{module}.log'
    code = f'import sys; from posefield.nodes.{module} import main; sys.exit(main())'
    command = [sys.executable, '-c', code, '--ros-args', *arguments]
    with log.open('w') as log_file:
        # Its own session, so that Ctrl-C reaches this process alone, which then stops the nodes.
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    node = NodeProcess(module, process, log)
    try:
        yield node
    finally:
        node.stop()
