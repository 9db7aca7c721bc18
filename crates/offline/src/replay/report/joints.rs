//! The motion joint by joint: rows, joined trajectory, speed and acceleration against the limits.

use super::super::record::{JointRecord, LIMIT_KINDS, Record, limit_word};
use crate::page::{Axis, Band, Cell, Html, Legend, Line, LineChart, Mark, Page, Table, Tone, Trace, significant};
use vla_motion::JointKind;

/// How far away a limit may be to be in the picture, in peaks of the curve (speed, acceleration), or in spans of it beyond its end.
const NEAR: f64 = 3.0;
const NEAR_POSITION: f64 = 0.5;
/// Name of the motion's curve.
const TRAJECTORY: &str = "joined trajectory";
/// Share of a limit from which a peak is highlighted.
const FULL: f64 = 0.98;

pub(super) fn write(page: &mut Page, record: &Record, time: &Axis) {
    page.section("Joints");
    let every = record.rows.every;
    let thinned = if every > 1 {
        format!(
            " Every {every}th chunk is drawn; longer curves show the extremes of stretches, so that no peak is missing."
        )
    } else {
        String::new()
    };
    page.text(&format!(
        "Measured positions, the rows of the chunks, and the trajectory that the controller would have been commanded, with its speed \
         and acceleration (in the table: in rad or m, per s and per s²); beyond the limits the charts are shaded. The recorded robot did not follow this trajectory: it shows what the \
         policy would have asked for at each moment of the recording.{thinned}"
    ));
    if !record.motion.is_empty() {
        page.add(&table(record));
    }
    page.add(&legend(record, time));
    page.grid(|grid| {
        for (column, name) in record.joints.iter().enumerate() {
            grid.panel(|panel| panel_of(panel, record, column, name, time));
        }
    });
}

/// Peaks and limits of every joint.
fn table(record: &Record) -> Table {
    let mut table = Table::new([
        "joint",
        "top speed, of its limit",
        "top acceleration, of its limit",
        "hand-overs that met a limit",
        "samples held back by",
        "rows clamped",
    ]);
    for (index, joint) in record.motion.joints.iter().enumerate() {
        let met = joint.met.len() as u64;
        let clamped = record.clamped().per_joint.get(index).copied().unwrap_or_default();
        table.push([
            Cell::text(joint.name.as_str()),
            of_limit(peak(&joint.velocity), joint.limits.velocity),
            of_limit(peak(&joint.acceleration), joint.limits.acceleration),
            Cell::count(met).toned(Tone::Warn, met > 0),
            Cell::text(held_back(joint)),
            Cell::count(clamped).toned(Tone::Warn, clamped > 0),
        ]);
    }
    table
}

/// A peak beside its limit.
fn of_limit(peak: f64, limit: f64) -> Cell {
    Cell::text(text_of_limit(peak, limit)).toned(Tone::Warn, peak >= FULL * limit)
}

fn text_of_limit(peak: f64, limit: f64) -> String {
    if limit.is_finite() {
        format!("{} of {} ({:.0} %)", significant(peak), significant(limit), peak / limit * 100.0)
    } else {
        format!("{}, no limit", significant(peak))
    }
}

/// The limits that held a joint back, with the number of samples.
fn held_back(joint: &JointRecord) -> String {
    let kinds = LIMIT_KINDS.iter().zip(joint.held_back).filter(|(_, count)| *count > 0);
    let texts: Vec<String> = kinds.map(|(kind, count)| format!("{} {count}", limit_word(*kind))).collect();
    texts.join(", ")
}

fn panel_of(panel: &mut Html, record: &Record, column: usize, name: &str, time: &Axis) {
    panel.heading(name);
    let joint = record.motion.joints.iter().find(|joint| joint.name == name).filter(|_| !record.motion.is_empty());
    let measured = record.states.get(column).is_some_and(|trace| trace.range().is_some());
    if !measured && !is_matrix_entry(name) {
        panel.paragraph("Not measured: no joint state has a joint of this name.");
    }
    if !measured && record.rows.kept.is_empty() {
        panel.paragraph("Nothing to draw: no chunk was made.");
        return;
    }
    panel.add(&positions(record, column, name, joint, time));
    if let Some(joint) = joint {
        let units = units(joint);
        panel.add(&derivative("speed", &units[1], &joint.velocity, joint.limits.velocity, time, record));
        panel.add(&derivative("acceleration", &units[2], &joint.acceleration, joint.limits.acceleration, time, record));
    }
}

/// Position chart of a column.
fn positions(record: &Record, column: usize, name: &str, joint: Option<&JointRecord>, time: &Axis) -> LineChart {
    let mut lines = Vec::new();
    if let Some(state) = record.states.get(column) {
        lines.push(Line::new("measured", Tone::Grey, state.points()));
    }
    let width = record.joints.len().max(1);
    for (index, rows) in record.rows.kept.iter().enumerate() {
        let values = rows.values.iter().skip(column).step_by(width).enumerate();
        let points = values.map(|(row, value)| [rows.start + row as f64 * rows.step, f64::from(*value)]).collect();
        let name = if index % 2 == 0 { "rows of a chunk" } else { "rows of the next" };
        lines.push(Line::new(name, Tone::Series(index % 2), points).thin());
    }
    lines.extend(joint.map(|joint| Line::new(TRAJECTORY, Tone::Series(3), joint.position.points())));
    let values = || lines.iter().flat_map(|line| &line.points).map(|[_, y]| *y).filter(|y| y.is_finite());
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let (min, max) = joint.map_or((f64::NEG_INFINITY, f64::INFINITY), |joint| (joint.limits.min, joint.limits.max));
    let near =
        |limit: &f64| limit.is_finite() && (*limit - high).max(low - *limit) <= NEAR_POSITION * (high - low).max(1e-3);
    let shown = [min, max].into_iter().filter(near);
    let unit = joint.map_or_else(
        || if is_matrix_entry(name) { "" } else { "rad or m" }.to_owned(),
        |joint| units(joint)[0].clone(),
    );
    let y = Axis::around("position", &unit, values().chain(shown));
    let note = if min.is_finite() || max.is_finite() {
        format!("limits {} to {}", bound(min), bound(max))
    } else {
        String::new()
    };
    LineChart {
        note,
        x: time.clone(),
        y,
        lines,
        bands: beyond(min, max),
        marks: marks(record, joint),
        legend_elsewhere: true,
        ..LineChart::default()
    }
}

/// Chart of speed or acceleration.
fn derivative(label: &str, unit: &str, trace: &Trace, limit: f64, time: &Axis, record: &Record) -> LineChart {
    let top = peak(trace);
    let near = limit.is_finite() && limit <= NEAR * top;
    let range = trace.range().map_or([0.0, 0.0], |(low, high)| [low, high]);
    let limits = [-limit, limit].into_iter().filter(|_| near);
    let y = Axis::around(label, unit, range.into_iter().chain([0.0]).chain(limits));
    let note = format!("at most {}", text_of_limit(top, limit));
    let lines = vec![Line::new(TRAJECTORY, Tone::Series(3), trace.points())];
    let bands = beyond(-limit, limit);
    LineChart {
        note,
        x: time.clone(),
        y,
        lines,
        bands,
        marks: stops(record),
        legend_elsewhere: true,
        ..LineChart::default()
    }
}

/// What the colours of all panels mean.
fn legend(record: &Record, time: &Axis) -> Legend {
    let mut legend = Legend::default();
    for (column, name) in record.joints.iter().enumerate() {
        let joint = record.motion.joints.iter().find(|joint| joint.name == *name).filter(|_| !record.motion.is_empty());
        legend.merge(&positions(record, column, name, joint, time).legend());
    }
    legend
}

fn beyond(min: f64, max: f64) -> Vec<Band> {
    let band = |from: f64, to: f64| Band { name: "beyond a limit".to_owned(), tone: Tone::Bad, from, to };
    let above = max.is_finite().then(|| band(max, f64::INFINITY));
    above.into_iter().chain(min.is_finite().then(|| band(f64::NEG_INFINITY, min))).collect()
}

fn marks(record: &Record, joint: Option<&JointRecord>) -> Vec<Mark> {
    let mark = |name: &str, tone, small| {
        let name = name.to_owned();
        move |x: f64| Mark { name: name.clone(), tone, x, small }
    };
    let hand_overs = record.motion.hand_overs.iter().copied().map(mark("hand-over", Tone::Grey, true));
    let met = joint.map(|joint| joint.met.as_slice()).unwrap_or_default();
    let met = met.iter().copied().map(mark("limit met", Tone::Warn, true));
    let events =
        record.events.iter().map(|event| record.seconds(event.at)).map(mark("cycle without a chunk", Tone::Bad, true));
    hand_overs.chain(met).chain(events).chain(stops(record)).collect()
}

fn stops(record: &Record) -> Vec<Mark> {
    let mark = |x: f64| Mark { name: "braking".to_owned(), tone: Tone::Bad, x, small: false };
    record.motion.stops.iter().map(|stop| mark(stop.at)).collect()
}

/// Units of position, speed and acceleration. A joint of a kind that was not described may turn or slide.
fn units(joint: &JointRecord) -> [String; 3] {
    let bases: &[&str] = match joint.limits.kind {
        JointKind::Prismatic => &["m"],
        JointKind::Continuous => &["rad"],
        JointKind::Revolute => &["rad", "m"],
    };
    ["", "/s", "/s²"].map(|per| bases.iter().map(|base| format!("{base}{per}")).collect::<Vec<_>>().join(" or "))
}

/// Entries of a rotation matrix among the pose columns.
fn is_matrix_entry(name: &str) -> bool {
    let Some((_, entry)) = name.rsplit_once('.') else { return false };
    entry.len() == 3 && entry.starts_with(['r', 'm']) && entry.chars().skip(1).all(|c| c.is_ascii_digit())
}

fn peak(trace: &Trace) -> f64 {
    trace.range().map_or(0.0, |(low, high)| high.max(-low))
}

fn bound(limit: f64) -> String {
    if limit.is_finite() { significant(limit) } else { "none".to_owned() }
}
