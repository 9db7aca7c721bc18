//! The command line tool `vla-trt`.

pub mod cli;
pub mod doctor;
pub mod inspect;
pub mod prepare;
mod robot_yaml;
pub mod root;
