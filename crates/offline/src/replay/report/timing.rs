//! Times of the inferences and ages of their inputs.

use super::super::record::Record;
use crate::page::{Axis, Cell, Line, LineChart, Page, StackChart, Stacked, Table, Tone, Trace};
use vla_policy::observation::InputStatistics;

/// Stretches of the curves of ages.
const STRETCHES: usize = 400;

pub(super) fn write(page: &mut Page, record: &Record) {
    if !record.chunks.is_empty() {
        latency(page, record);
    }
    page.section("Inputs");
    if !record.chunks.is_empty() {
        page.add(&ages(record));
    }
    page.add(&inputs(record));
}

fn latency(page: &mut Page, record: &Record) {
    page.section("Time of an inference");
    let measured = record.latency(0.95).unwrap_or_default().as_secs_f64() * 1e3;
    let assumed = record.run.latency.millis();
    page.text(&format!(
        "Wall-clock time on this machine. It is not used by the replay: the motion above assumes {assumed} ms. 95 % of the inferences took at \
         most {measured:.1} ms here.{}",
        if measured > assumed { " With a greater assumed latency more rows are late; give the robot's with --latency-ms." } else { "" }
    ));
    let at = |index: usize| record.chunks.get(index).map(|chunk| record.seconds(chunk.at));
    let period = at(1).zip(at(0)).map_or(1.0, |(second, first)| (second - first).abs().max(1e-3));
    let times = record.chunks.iter().map(|chunk| record.seconds(chunk.at));
    let x = Axis::of("time", "s", times.flat_map(|at| [at - period / 2.0, at + period / 2.0]));
    let columns: Vec<Stacked> =
        record.chunks.iter().map(|chunk| column(record.seconds(chunk.at), &chunk.parts)).collect();
    let y = Axis::up_to("time", "ms", columns.iter().map(|column| column.parts.iter().sum()));
    let mut chart = StackChart {
        title: "Parts of each inference".to_owned(),
        x,
        y,
        parts: record.parts.clone(),
        columns,
        ..StackChart::default()
    };
    if chart.is_thinned() {
        chart.note = "of neighbouring inferences the longest is drawn".to_owned();
    }
    page.add(&chart);
    let mut table = Table::new(["part", "median, ms", "p95, ms", "max, ms"]);
    let mut row = |name: &str, mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let figures = [0.5, 0.95, 1.0].map(|q| Cell::number(quantile(&values, q), 2));
        table.push([Cell::text(name)].into_iter().chain(figures));
    };
    for (index, part) in record.parts.iter().enumerate() {
        let values = record.chunks.iter().filter_map(|chunk| chunk.parts.get(index));
        row(part, values.map(|value| f64::from(*value)).collect());
    }
    row("total", record.chunks.iter().map(|chunk| chunk.total.as_secs_f64() * 1e3).collect());
    page.add(&table);
}

fn column(x: f64, parts: &[f32]) -> Stacked {
    Stacked { x, parts: parts.iter().map(|part| f64::from(*part)).collect() }
}

fn ages(record: &Record) -> LineChart {
    let rate = record.run.rate_hz;
    let longest = if rate > 0.0 { 2.5 / rate } else { f64::INFINITY };
    let line = |(index, name): (usize, &String)| {
        let mut trace = Trace::new(STRETCHES);
        let mut before = None;
        for chunk in &record.chunks {
            let at = record.seconds(chunk.at);
            // No line over the time without chunks.
            if before.is_some_and(|before| at - before > longest) {
                trace.push(at, f64::NAN);
            }
            before = Some(at);
            trace.push(at, chunk.ages.get(index).copied().map_or(f64::NAN, f64::from));
        }
        Line::new(name, Tone::Series(index), trace.points())
    };
    let lines: Vec<Line> = record.input_names.iter().enumerate().map(line).collect();
    let values =
        |axis: usize| lines.iter().flat_map(|line| &line.points).map(move |point| point[axis]).collect::<Vec<_>>();
    // A range of at least a millisecond: ages of nothing are no curve.
    let y = Axis::around("age", "ms", values(1).into_iter().chain([0.0, 1.0]));
    let x = Axis::of("time", "s", values(0));
    let note = "By header stamp, at the time of the inference. Below zero: the stamp is ahead of the clock.".to_owned();
    LineChart { note, x, y, lines, ..LineChart::titled("Age of each input") }
}

fn inputs(record: &Record) -> Table {
    let mut table = Table::new([
        "input",
        "topic",
        "received",
        "replaced unused",
        "refused",
        "out of order",
        "median age, ms",
        "max age, ms",
        "last refusal",
    ]);
    for input in &record.inputs {
        let InputStatistics { received, overwritten, refused, out_of_order, .. } = input;
        let index = record.input_names.iter().position(|name| **name == *input.name);
        let ages = record.chunks.iter().filter_map(|chunk| chunk.ages.get(index?).map(|age| f64::from(*age)));
        let mut ages: Vec<f64> = ages.collect();
        ages.sort_by(f64::total_cmp);
        table.push([
            Cell::text(&*input.name),
            Cell::text(&*input.topic),
            Cell::count(*received),
            Cell::count(*overwritten),
            Cell::count(*refused).toned(Tone::Bad, *refused > 0),
            Cell::count(*out_of_order).toned(Tone::Warn, *out_of_order > 0),
            Cell::number(quantile(&ages, 0.5), 1),
            Cell::number(quantile(&ages, 1.0), 1),
            Cell::text(input.last_refusal.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

/// Of ascending values; NaN without any.
fn quantile(values: &[f64], q: f64) -> f64 {
    let last = values.len().saturating_sub(1) as f64;
    values.get((last * q).round() as usize).copied().unwrap_or(f64::NAN)
}
