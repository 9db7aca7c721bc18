"""The node with a policy and a parameter file.

    ros2 launch vla_trt policy.launch.py policy:=/path/to/policy params_file:=/path/to/robot.yaml
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = get_package_share_directory('vla_trt')

# Whole camera frames in shared memory (config/fastdds_shm.xml says why). A profile that is set already stays.
FASTDDS_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
FASTDDS_PROFILE = os.path.join(SHARE, 'config', 'fastdds_shm.xml')


def fastdds_profile():
    """Set Fast DDS's profile for everything launched, unless the user has one."""
    if any(os.environ.get(variable) for variable in FASTDDS_VARIABLES):
        return []
    return [SetEnvironmentVariable(FASTDDS_VARIABLES[0], FASTDDS_PROFILE)]


def flag(name, text):
    """The value of a launch argument that is true or false."""
    if text.lower() not in ('true', 'false'):
        raise RuntimeError(f"{name} is '{text}', expected true or false")
    return text.lower() == 'true'


def node(context):
    """Make the node's action from the arguments; an empty `policy` leaves it to the parameter file."""
    value = {name: LaunchConfiguration(name).perform(context)
             for name in ('policy', 'params_file', 'namespace', 'use_sim_time', 'autostart', 'log_level')}
    params_file = os.path.abspath(os.path.expanduser(value['params_file']))
    if not os.path.isfile(params_file):
        raise RuntimeError(f"params_file is '{params_file}', which is no file; "
                           f'see {os.path.join(SHARE, "config")} for examples')
    parameters = {'use_sim_time': flag('use_sim_time', value['use_sim_time'])}
    if value['autostart']:
        parameters['autostart'] = flag('autostart', value['autostart'])
    if value['policy']:
        parameters['policy'] = os.path.abspath(os.path.expanduser(value['policy']))
    return [Node(
        package='vla_trt',
        executable='vla_trt_node',
        namespace=value['namespace'],
        parameters=[params_file, parameters],
        ros_arguments=['--log-level', value['log_level']],
        output='screen',
        emulate_tty=True,
    )]


def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('policy', default_value='',
                              description='Folder of the policy bundle; empty: the one in params_file'),
        DeclareLaunchArgument('params_file', default_value=os.path.join(SHARE, 'config', 'aloha.yaml'),
                              description='Parameters of the node (YAML)'),
        DeclareLaunchArgument('namespace', default_value='', description='Namespace of the node'),
        DeclareLaunchArgument('use_sim_time', default_value='false', description='Take the time from /clock'),
        DeclareLaunchArgument('autostart', default_value='',
                              description='false: wait for a life cycle manager; empty: as in params_file, else true'),
        DeclareLaunchArgument('log_level', default_value='info', description='debug, info, warn, error or fatal'),
        *fastdds_profile(),
        OpaqueFunction(function=node),
    ])
