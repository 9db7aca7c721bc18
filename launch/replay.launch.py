"""The node, and a recorded bag played into it; everything ends with the bag.

    ros2 launch vla_trt replay.launch.py policy:=/path/to/policy bag:=/path/to/bag

Takes the arguments of policy.launch.py too. Stamps are moved to now unless use_sim_time:=true: then the bag's own stamps
are played and its time is published on /clock. Playing begins when every topic has a subscriber: name the ones that the
node takes with topics:="/a /b" when the bag holds more.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (DeclareLaunchArgument, EmitEvent, IncludeLaunchDescription, OpaqueFunction,
                            RegisterEventHandler)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

POLICY_LAUNCH = os.path.join(get_package_share_directory('vla_trt'), 'launch', 'policy.launch.py')


def player(context):
    """Make the player's action from the arguments."""
    bag = os.path.abspath(os.path.expanduser(LaunchConfiguration('bag').perform(context)))
    if not os.path.exists(bag):
        raise RuntimeError(f"bag is '{bag}', which does not exist; give an .mcap file or a folder with metadata.yaml")
    sim_time = LaunchConfiguration('use_sim_time').perform(context).lower() == 'true'
    topics = LaunchConfiguration('topics').perform(context).split()
    play = Node(
        package='vla_trt',
        executable='play_bag.py',
        arguments=[bag, '--rate', LaunchConfiguration('rate').perform(context), '--wait-for-subscribers',
                   *(['--stamps', 'original', '--clock'] if sim_time else ['--stamps', 'now']),
                   *(['--topics', *topics] if topics else [])],
        output='screen',
    )
    end = OnProcessExit(target_action=play, on_exit=[EmitEvent(event=Shutdown(reason='the bag has ended'))])
    return [play, RegisterEventHandler(end)]


def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('bag', description='The bag: an .mcap or .db3 file, or a folder with metadata.yaml'),
        DeclareLaunchArgument('rate', default_value='1.0', description='Speed of playing'),
        DeclareLaunchArgument('topics', default_value='', description='Only these topics, separated by spaces'),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(POLICY_LAUNCH)),
        OpaqueFunction(function=player),
    ])
