//! The tool as a process: arguments in, files, text and exit codes out.

mod absmax;
mod build_command;
mod calibrate;
mod cli;
mod compatibility;
mod dataset;
mod doctor;
mod doctor_robot;
mod eval;
mod export_bench;
mod export_checkpoints;
mod export_command;
mod export_deltas;
mod export_modes;
mod export_oracle;
mod export_weights;
mod infer_command;
mod init_params;
mod inspect;
mod outputs;
mod plan_command;
mod prepare;
mod quantize;
mod replay_modes;
mod robot_shape;
mod verify;
