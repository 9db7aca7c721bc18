//! What comes in: bags, messages, images, observations, and cases of damaged ones.

mod bag;
mod cameras;
mod fuzz_bag;
mod fuzz_message;
mod fuzz_observation;
mod fuzz_serve;
mod input_cases;
mod message;
mod recorder;
mod replay_bags;
mod stamps;
