#!/usr/bin/env bash
# A ROS 2 parameter file means different things to the node and to a Python launch file: rcl takes a bare `y` or `n` for a boolean,
# PyYAML takes it for text.
#
# Guess: both read YAML 1.1, so that `axis: y` is the string "y" for both, as `axis: x` and `axis: z` are.
# Seen (rcl_yaml_param_parser 9.2.8 through rclpy 7.1.6, PyYAML 6.0.3): rcl makes true of `y` and false of `n`, PyYAML "y" and "n". So the list
# [x, y, z] does not start the node: rcl ends with "Sequence should be of same type", which names bool and not the value, while a launch
# file that loads the same text sees three strings. Of the key `no` it is the other way round: text for rcl, False for PyYAML. Quotes make
# both agree.
#
# Exit 0: behaves as written above. Exit 1: it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyyaml==6.0.3 ros-rclpy==7.1.6 ros-rcl==9.2.8 ros-rcl-action==9.2.8 \
  ros-rcl-lifecycle==9.2.8 ros-rcl-yaml-param-parser==9.2.8 ros-rcl-interfaces==2.0.3 ros-rcl-logging-spdlog==3.1.1 ros-rmw-fastrtps-cpp==8.4.3 \
  ros-rmw-implementation==2.15.6 ros-rpyutils==0.4.2 ros-builtin-interfaces==2.0.3 ros-action-msgs==2.0.3 ros-lifecycle-msgs==2.0.3 \
  ros-unique-identifier-msgs==2.5.0 ros-type-description-interfaces==2.0.3 ros-service-msgs==2.0.3 ros-rosgraph-msgs==2.0.3 ros-std-msgs==5.3.6
cd "$folder"
cat >single.yaml <<'END'
/**:
  ros__parameters: {axis: y, quoted: 'y', other: x, absent: n, no: 1}
END
cat >list.yaml <<'END'
/**:
  ros__parameters: {axes: [x, y, z]}
END
cat >read.py <<'END'
import sys

import rclpy
from rclpy.node import Node

rclpy.init(args=["--ros-args", "--params-file", sys.argv[1]])
node = Node("reader", automatically_declare_parameters_from_overrides=True)
print({name: node.get_parameter_or(name).value for name in sys.argv[2:]})
END
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=93 ROS_LOG_DIR="$folder"
by_rcl=$(venv/bin/python read.py single.yaml axis quoted other absent no)
by_pyyaml=$(venv/bin/python -c 'import yaml; print(yaml.safe_load(open("single.yaml"))["/**"]["ros__parameters"])')
list_by_pyyaml=$(venv/bin/python -c 'import yaml; print(yaml.safe_load(open("list.yaml"))["/**"]["ros__parameters"])')
list_by_rcl=$(venv/bin/python read.py list.yaml axes 2>&1 | tail -n 1) || true
printf 'rcl:    %s\nPyYAML: %s\nrcl:    %s\nPyYAML: %s\n' "$by_rcl" "$by_pyyaml" "$list_by_rcl" "$list_by_pyyaml"
[ "$by_rcl" = "{'axis': True, 'quoted': 'y', 'other': 'x', 'absent': False, 'no': 1}" ]
[ "$by_pyyaml" = "{'axis': 'y', 'quoted': 'y', 'other': 'x', 'absent': 'n', False: 1}" ]
[ "$list_by_pyyaml" = "{'axes': ['x', 'y', 'z']}" ]
grep -q "Sequence should be of same type" <<<"$list_by_rcl"
