//! `docs/parameters.md`: the reference, made from the declarations.

use super::declarations::{declarations, qos};
use super::settings::SubscriptionQos;
use super::shape::PolicyShape;
use super::table::node;
use ros2_parameters::{Constraint, Declaration, NodeName, Overrides, Value};
use vla_base::time::Span;

const HEAD: &str = "\
# Parameters

<!-- Made from crates/runtime/src/parameters/table by `VLA_TRT_BLESS=1 cargo nextest run -p vla_trt_tests --test motion -E 'test(/parameters/)'`. -->

`<camera>`, `<key>`, `<stage>`, `<joint>` and `<pose>` stand for the names that the policy, the joint lists and
`state.<key>.pose` give, `<name>` for the name that you give an output, `<topic>` for the full name of an input's topic in
the ROS graph (`/joint_states`), after remapping; `N` is the width of the key. *Live* parameters may change while the node runs and take effect at the next inference, those of
engines and memory at the next load (`~/reload`); the others are read-only. Whole numbers are taken for
doubles, and an empty list for a list of any type. `.inf` and `-.inf` are YAML's infinities. `ros2 param describe` shows
the same texts.

An action key that the policy's processor_config.json types `EEF` needs no joints: its columns in the chunk are named
`<key>.x`, `.y`, `.z` (m) and `.r00`, `.r01`, ... `.r12` (the first two rows of the rotation matrix) for the format
`XYZ_ROT6D`, `.rx`, `.ry`, `.rz` (rotation vector, rad) for `XYZ_ROTVEC`, and those of the 4x4 matrix row by row, with `x`,
`y`, `z` as its last column and `.m30` ... `.m33` as its last row, for `DEFAULT`; `<key>.0`, `<key>.1`, ... where the
processor does not say what the values are. They are no joints: no limit holds for them and `~/joint_trajectory` has none
of them. A key that is not relative may be given joints all the same, and then moves those.

";

const COLUMNS: &str = "| Parameter | Type | Default | Allowed | Live | |\n|---|---|---|---|---|---|\n";

/// Width that the reference shows as `N`: a number that does not appear elsewhere in it.
const WIDTH: usize = 7919;

/// The whole page.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut group = "";
    let all = listed();
    for declaration in &all {
        let title = title(&declaration.name);
        if title != group {
            group = title;
            let newline = if page.ends_with("\n\n") { "" } else { "\n" };
            page += &format!("{newline}## {title}\n\n{COLUMNS}");
        }
        page += &row(declaration).replace(&WIDTH.to_string(), "N");
    }
    page
}

fn row(declaration: &Declaration) -> String {
    let default = match &declaration.default {
        Value::DoubleArray(v) if v.len() == WIDTH => {
            format!("{}, N times", ros2_parameters::double(v.first().copied().unwrap_or(0.0)))
        }
        Value::String(v) if v.is_empty() => "empty".to_owned(),
        other if other.is_empty_array() => "empty".to_owned(),
        other => format!("`{other}`"),
    };
    let default = if [node::STEP.name, node::DENOISE_STEPS.name].contains(&declaration.name.as_str()) {
        "the policy's".to_owned()
    } else {
        default
    };
    let allowed = match &declaration.constraint {
        Constraint::IntegersOf(_) => "those that the policy was exported for".to_owned(),
        Constraint::OrderOf(_) => "empty, or every stage exactly once".to_owned(),
        other => other.text(),
    };
    format!(
        "| `{}` | {} | {default} | {allowed} | {} | {} |\n",
        declaration.name,
        declaration.kind(),
        if declaration.read_only { "" } else { "live" },
        outside_code(&declaration.description)
    )
}

/// Placeholders outside code would be taken for HTML.
fn outside_code(text: &str) -> String {
    text.replace('<', "`<").replace('>', ">`")
}

fn title(name: &str) -> &'static str {
    match name.split('.').next() {
        Some("engine" | "engines" | "memory") => "Engines and memory",
        Some("inputs" | "qos_overrides") => "Inputs",
        Some("state" | "limits") => "Joints and poses",
        Some("outputs") => "Outputs",
        Some("handover" | "motion" | "watchdog" | "clamps" | "max_blind_s" | "command_rate_hz" | "command_type") => {
            "Motion"
        }
        Some("limits_from" | "limits_file" | "limits_topic") => "Motion",
        Some("action") if name != node::STEP.name => "Joints and poses",
        Some("task") => "Tasks",
        Some("record") => "Recording",
        Some("policy" | "use_sim_time" | "autostart" | "frame_id" | "log_level" | "log_shapes") => "Node",
        _ => "Inference",
    }
}

/// The declarations of a policy whose names are placeholders.
fn listed() -> Vec<Declaration> {
    let shape = PolicyShape {
        cameras: vec!["<camera>".to_owned()],
        blank_views: Vec::new(),
        video_history: vec![0],
        state: vec![("<key>".to_owned(), WIDTH)],
        state_history: vec![0],
        action_keys: vec![("<key>".to_owned(), WIDTH)],
        eef_actions: Vec::new(),
        deltas: vec![("<key>".to_owned(), None)],
        stages: vec!["<stage>".to_owned()],
        denoise_steps: vec![4],
        default_steps: 4,
        step: Span::from_millis(20.0),
        accepts_prefix: true,
        instruction: None,
    };
    let Ok(node) = NodeName::new("/", "vla_trt") else { return Vec::new() };
    let mut overrides = Overrides::new(node);
    overrides.set("state.<key>.pose", Value::String("<pose>".to_owned()));
    overrides.set("state.<key>.joints", Value::StringArray(vec!["<joint>".to_owned()]));
    overrides.set("outputs.<name>.kind", Value::String("column".to_owned()));
    let mut all = declarations(&shape, &overrides);
    // One topic stands for all.
    all.retain(|declaration| !declaration.name.starts_with("qos_overrides."));
    all.extend(qos::subscription("<topic>", SubscriptionQos::SENSOR));
    // One group each, in the order in which a reader meets them.
    all.sort_by_key(|declaration| {
        [
            "Node",
            "Inference",
            "Tasks",
            "Inputs",
            "Joints and poses",
            "Motion",
            "Outputs",
            "Recording",
            "Engines and memory",
        ]
        .iter()
        .position(|group| *group == title(&declaration.name))
    });
    all
}
