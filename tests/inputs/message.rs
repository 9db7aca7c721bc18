//! The message room against what others write and read: ROS 2's own serialization, Pillow's and OpenCV's pixels.

mod cameras;
mod frames;
mod schemas;
mod serialization;
