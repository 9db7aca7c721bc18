//! How well the policy predicts the recorded motion.

use super::super::record::{Followed, Record};
use crate::page::{Axis, Cell, Line, LineChart, Page, Table, Tone};

/// Joints whose error is drawn over the rows.
const MOST_LINES: usize = 8;

pub(super) fn write(page: &mut Page, record: &Record) {
    let mut joints: Vec<_> =
        record.joints.iter().zip(&record.followed).filter(|(_, followed)| followed.count > 0).collect();
    if joints.is_empty() {
        return;
    }
    let (heading, with) = if record.has_actions {
        ("Rows against the recorded actions", "from the action that the data set has for it")
    } else {
        ("Rows against the joint states that followed", "from the position that was measured at its due time")
    };
    page.section(heading);
    page.text(&format!(
        "Distance of every row {with}, in the unit of the joint. The recording has the motion of its own controller, so this says how well \
         the policy predicts that motion, not how well a robot would follow the policy. \"Standing still\" is the same for a prediction that \
         the joint stays where it was observed: a trained policy is better than that. The number to compare policies by is that of vla-trt eval."
    ));
    let mut table = Table::new(["joint", "rows compared", "mean distance", "root mean square", "standing still, mean"]);
    for (name, followed) in &joints {
        let worse = followed.mean() > followed.mean_still();
        table.push([
            Cell::text(name.as_str()),
            Cell::count(followed.count),
            Cell::figure(followed.mean()).toned(Tone::Warn, worse),
            Cell::figure(followed.rms()),
            Cell::figure(followed.mean_still()),
        ]);
    }
    page.add(&table);
    joints.sort_by(|one, other| other.1.mean().total_cmp(&one.1.mean()));
    let line = |(index, (name, followed)): (usize, &(&String, &Followed))| {
        let rows = followed.by_row.iter().enumerate().filter(|(_, (count, _))| *count > 0);
        let points = rows.map(|(row, (count, sum))| [(row + 1) as f64, sum / *count as f64]).collect();
        Line::new(name, Tone::Series(index), points)
    };
    let lines: Vec<Line> = joints.iter().take(MOST_LINES).enumerate().map(line).collect();
    let values =
        |axis: usize| lines.iter().flat_map(|line| &line.points).map(move |point| point[axis]).collect::<Vec<_>>();
    let (x, y) = (Axis::of("row of the chunk", "", values(0)), Axis::up_to("mean distance", "rad or m", values(1)));
    let note = if joints.len() > MOST_LINES {
        format!("the {MOST_LINES} joints with the largest mean distance")
    } else {
        String::new()
    };
    page.add(&LineChart { note, x, y, lines, ..LineChart::titled("Mean distance over the rows") });
}
