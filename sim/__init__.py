"""The closed loop's robot: ALOHA in MuJoCo, its ROS 2 node, a scripted expert, and the policy trained on it."""
