//! Parameters of the node itself and of inference.

use super::{Allowed, Param};
use crate::parameters::settings::SecondGoal;
use vla_base::time::Span;
use vla_policy::spec::STEP_S;

pub(crate) const POLICY: Param<String> = Param::text(
    "policy",
    "",
    Allowed::Any,
    "Folder of the policy bundle (the one with policy.yaml), absolute or relative to the working directory. Required.",
)
.fixed();

pub(crate) const USE_SIM_TIME: Param<bool> =
    Param::flag("use_sim_time", false, "Take the time from /clock instead of the system.").fixed();

pub(crate) const AUTOSTART: Param<bool> = Param::flag(
    "autostart",
    true,
    "true: the node configures and activates itself at the start. false: it waits in the state unconfigured for a life cycle manager \
     (~/change_state).",
)
.fixed();

pub(crate) const FRAME_ID: Param<String> = Param::text(
    "frame_id",
    "",
    Allowed::Any,
    "frame_id in the header of published chunks: the frame of the poses in them, if any.",
);

pub(crate) const LOG_LEVEL: Param<String> = Param::text(
    "log_level",
    "info",
    Allowed::OneOf(&["debug", "info", "warn", "error", "fatal"]),
    "Least severe messages that are logged to the console and to /rosout.",
);

pub(crate) const LOG_SHAPES: Param<bool> = Param::flag(
    "log_shapes",
    false,
    "Log name, type and shape of every tensor at each inference. For debugging: the log grows quickly.",
);

pub(crate) const INSTRUCTION: Param<String> = Param::text(
    "instruction",
    "",
    Allowed::Any,
    "The task for the robot, in natural language. Empty: wait for the instruction topic.",
);

pub(crate) const RATE_HZ: Param<f64> = Param::double(
    "rate_hz",
    5.0,
    (-1.0, 1000.0),
    "Inferences per second. 0: no fixed rate; an inference starts as soon as the one before is done and an input newer than its \
     observation has arrived. -1: only on demand (~/infer_once).",
);

pub(crate) const SEED: Param<u64> = Param::integer(
    "seed",
    0,
    (0, i64::MAX),
    "Seed of the initial noise. The noise depends only on it and on the stamps of the observation.",
);

/// Default and allowed values are the policy's.
pub(crate) const DENOISE_STEPS: Param<u32> = Param::integer(
    "denoise.steps",
    1,
    (1, i64::MAX),
    "Denoising steps of each inference: more are slower. The policy is exported for certain numbers only.",
);

/// The default is the policy's.
pub(crate) const STEP: Param<Span> = Param::seconds(
    "action.step_s",
    1.0,
    (*STEP_S.start(), *STEP_S.end()),
    "Time in s from one action row to the next. The policy's own unless set: a longer one plays chunks slower.",
);

pub(crate) const TASK_REQUIRED: Param<bool> = Param::flag(
    "task.required",
    false,
    "true: the robot moves only while a task runs (action ~/run). false: without a task it follows the instruction of parameter and topic.",
)
.fixed();

pub(crate) const TASK_SECOND_GOAL: Param<SecondGoal> = Param::word(
    "task.second_goal",
    "refuse",
    "A goal of ~/run while another task runs. refuse: it is rejected. queue: it is accepted and begins when the tasks before it have \
     ended, unless one of them was stopped.",
);
