//! The HTML report of an evaluation.

use super::gallery::{EpisodeCurves, Gallery, WorstMoment};
use super::{ActionsFrom, Comparison, ErrorPair, Layout, Options, Outcome};
use crate::page::{Axis, Card, Cell, Facts, Glossary, Legend, Line, LineChart, Mark, Moment, Page, Table, Tone};

/// Episodes in the table.
const EPISODES_SHOWN: usize = 200;
/// Columns that a moment shows.
const COLUMNS_SHOWN: usize = 2;

/// A policy's result with what its gallery kept.
#[derive(Clone, Copy)]
pub struct Side<'o> {
    /// Its figures.
    pub outcome: &'o Outcome,
    /// Its curves and moments.
    pub gallery: &'o Gallery,
    /// Name in the report.
    pub name: &'o str,
}

/// The page of one policy, or of two that were compared.
pub fn render(options: &Options, first: Side<'_>, second: Option<(Side<'_>, &Comparison)>) -> String {
    let mut page = Page::new(&match second {
        Some((second, _)) => format!("Open-loop evaluation: {} and {}", first.name, second.name),
        None => format!("Open-loop evaluation: {}", first.name),
    });
    let sides: Vec<Side<'_>> = [Some(first), second.map(|(second, _)| second)].into_iter().flatten().collect();
    summary(&mut page, options, &sides);
    if let Some((_, comparison)) = second {
        compared(&mut page, &sides, comparison);
    }
    keys(&mut page, &sides);
    horizon(&mut page, &sides);
    moments(&mut page, &sides);
    episodes(&mut page, &sides);
    columns(&mut page, &sides, second.map(|(_, comparison)| comparison));
    skipped(&mut page, &sides);
    page.section("Words");
    page.add(&Glossary(WORDS));
    page.finish()
}

const WORDS: &[(&str, &str)] = &[
    ("open loop", "The policy sees recorded observations only. What it predicts changes nothing that it sees next."),
    ("chunk", "The rows of actions of one inference. The first ones are used; then the policy infers again."),
    ("MAE", "Mean of the absolute differences of predicted and recorded values, over all compared rows and columns."),
    ("MSE", "Mean of the squared differences. Few large errors weigh more than many small ones."),
    ("robot's units", "rad for joints that turn and m for those that slide, or as the parameters scale them."),
    (
        "normalised",
        "As the model sees actions: by the checkpoint's action statistics, clipped to their range, and relative to the observed \
         state where the key is. 2 is the whole range of a value (or two standard deviations).",
    ),
];

fn summary(page: &mut Page, options: &Options, sides: &[Side<'_>]) {
    let Some(first) = sides.first() else { return };
    let mut cards = Vec::new();
    for side in sides {
        let prefix = if sides.len() > 1 { format!("{}: ", side.name) } else { String::new() };
        let overall = &side.outcome.figures.overall;
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        cards.push(Card::new(figure(overall.robot.map(|errors| errors.mae)), format!("{prefix}MAE, robot's units")));
        cards.push(Card::new(figure(overall.robot.map(|errors| errors.mse)), format!("{prefix}MSE, robot's units")));
        cards.push(Card::new(figure(overall.normalised.map(|errors| errors.mae)), format!("{prefix}MAE, normalised")));
        let skipped = side.outcome.skipped_count();
        if skipped > 0 {
            let card = Card::new(skipped.to_string(), format!("{prefix}inference times without a chunk"));
            cards.push(card.toned(Tone::Warn, true));
        }
    }
    page.add(&cards[..]);
    for side in sides.iter().filter(|side| side.outcome.random_weights) {
        page.warning(&format!(
            "The weights of {} are random. Its errors show that the evaluation runs, and no more.",
            side.name
        ));
    }
    let mut facts = Facts::default();
    facts.push("Recording", options.source.path().display().to_string());
    facts.push("Compared with", actions(options));
    for side in sides {
        let Outcome { fingerprint, engine, inferences, .. } = side.outcome;
        facts.push("Policy", format!("{}, {engine}, {inferences} chunks, {fingerprint}", side.name));
    }
    let layout = &first.outcome.layout;
    facts.push("Rows", format!("{} of {} used, {} s apart", layout.used, layout.rows, layout.step.seconds()));
    facts.push("Episodes", first.outcome.episodes.len().to_string());
    if let Some(steps) = options.steps {
        facts.push("Control steps", format!("the first {steps} of each episode"));
    }
    page.add(&facts);
}

fn actions(options: &Options) -> String {
    match &options.actions {
        ActionsFrom::Dataset => "the actions of the data set".to_owned(),
        ActionsFrom::JointStates => "the joint states that followed".to_owned(),
        ActionsFrom::Topics { names, .. } => format!("commands on {}", names.join(", ")),
    }
}

fn compared(page: &mut Page, sides: &[Side<'_>], comparison: &Comparison) {
    page.section("One policy against the other");
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let (difference, ratio) = (comparison.difference, comparison.ratio);
    page.add(
        &[
            Card::new(figure(difference.map(|errors| errors.mae)), "mean difference of the predictions"),
            Card::new(figure(difference.map(|errors| errors.largest)), "largest difference"),
            Card::new(figure(ratio.and_then(|ratio| ratio.mae)), "MAE of the second over the first"),
            Card::new(figure(ratio.and_then(|ratio| ratio.mse)), "MSE of the second over the first"),
        ][..],
    );
    let names: Vec<&str> = sides.iter().map(|side| side.name).collect();
    page.text(&format!(
        "{} chunks of both policies ({}); {} of the first alone, {} of the second alone. Differences are over all rows, errors over \
         the used ones.",
        comparison.chunks,
        names.join(", "),
        comparison.only_first,
        comparison.only_second
    ));
}

fn errors(pair: &ErrorPair) -> [Cell; 5] {
    let figure = |value: Option<f64>| Cell::figure(value.unwrap_or(f64::NAN));
    let (robot, normalised) = (pair.robot, pair.normalised);
    [
        figure(robot.map(|errors| errors.mae)),
        figure(robot.map(|errors| errors.mse)),
        figure(robot.map(|errors| errors.largest)),
        figure(normalised.map(|errors| errors.mae)),
        figure(normalised.map(|errors| errors.mse)),
    ]
}

const ERRORS: [&str; 5] = ["MAE", "MSE", "max", "norm. MAE", "norm. MSE"];

fn table(first: &str, sides: &[Side<'_>]) -> Table {
    let policy = if sides.len() > 1 { &["policy"][..] } else { &[] };
    Table::new([first].into_iter().chain(policy.iter().copied()).chain(ERRORS))
}

fn row(name: &str, side: &Side<'_>, sides: &[Side<'_>], pair: &ErrorPair) -> Vec<Cell> {
    let mut cells = vec![Cell::text(name)];
    cells.extend((sides.len() > 1).then(|| Cell::text(side.name)));
    cells.extend(errors(pair));
    cells
}

fn keys(page: &mut Page, sides: &[Side<'_>]) {
    page.section("Errors by action key");
    let mut rows = table("key", sides);
    let count = sides.iter().map(|side| side.outcome.figures.keys.len()).max().unwrap_or_default();
    for index in 0..count {
        for side in sides {
            if let Some(key) = side.outcome.figures.keys.get(index) {
                rows.push(row(&key.key, side, sides, &key.errors));
            }
        }
    }
    for side in sides {
        rows.push(row("all", side, sides, &side.outcome.figures.overall));
    }
    page.add(&rows);
}

fn horizon(page: &mut Page, sides: &[Side<'_>]) {
    page.section("Error by row of the chunk");
    page.text(
        "Later rows are farther from the observation. Where the error begins to rise steeply, fewer rows should be used before the \
         next inference.",
    );
    let chart = |title: &str, unit: &str, of: &dyn Fn(&ErrorPair) -> Option<f64>| {
        let lines: Vec<Line> = sides
            .iter()
            .enumerate()
            .map(|(index, side)| {
                let rows = &side.outcome.figures.rows;
                let points = rows.iter().map(|row| [row.ahead_s, of(&row.errors).unwrap_or(f64::NAN)]).collect();
                Line::new(side.name, Tone::Series(index), points)
            })
            .collect();
        let ends = sides.first().and_then(|side| last_used(&side.outcome.layout));
        let mark = |x| Mark { name: "last row used".to_owned(), tone: Tone::Grey, x, small: false };
        let points = || lines.iter().flat_map(|line| &line.points);
        LineChart {
            x: Axis::of("due after the observation", "s", points().map(|[x, _]| *x)),
            y: Axis::up_to("MAE", unit, points().map(|[_, y]| *y)),
            marks: ends.map(mark).into_iter().collect(),
            lines,
            ..LineChart::titled(title)
        }
    };
    let normalised = chart("Normalised", "", &|pair| pair.normalised.map(|errors| errors.mae));
    let robot = chart("Robot's units", "", &|pair| pair.robot.map(|errors| errors.mae));
    page.grid(|grid| {
        grid.add(&normalised);
        grid.add(&robot);
    });
    page.details("Errors of every row", |html| {
        let mut rows = table("row", sides);
        let count = sides.iter().map(|side| side.outcome.figures.rows.len()).max().unwrap_or_default();
        for index in 0..count {
            for side in sides {
                if let Some(found) = side.outcome.figures.rows.get(index) {
                    let name = format!("{} ({:.3} s)", found.row, found.ahead_s);
                    rows.push(row(&name, side, sides, &found.errors));
                }
            }
        }
        html.add(&rows);
    });
}

fn moments(page: &mut Page, sides: &[Side<'_>]) {
    let Some(side) = sides.first() else { return };
    if side.gallery.moments().is_empty() {
        return;
    }
    page.section("Worst moments");
    page.text(&format!(
        "The chunks of {} with the largest mean error over their used rows, and what the cameras showed at their observations.",
        side.name
    ));
    for worst in side.gallery.moments() {
        let layout = &side.outcome.layout;
        let title = match side.outcome.episodes.len() {
            1 => format!("At {:.2} s", worst.seconds),
            _ => format!("Episode {}, at {:.2} s", worst.episode, worst.seconds),
        };
        let columns = worst_columns(layout, worst);
        let largest: Vec<String> =
            columns.iter().map(|(column, error)| format!("{} {error:.4}", name_of(layout, *column))).collect();
        let text = format!(
            "Mean error {:.3}, normalised. Largest mean errors in the robot's units: {}.",
            worst.error,
            largest.join(", ")
        );
        page.add(&Moment { title, tone: Tone::Bad, text, pictures: worst.pictures.clone() });
        page.grid(|grid| {
            for (column, _) in &columns {
                grid.add(&chunk_chart(layout, worst, *column, sides));
            }
        });
    }
}

/// Due time of the last used row after the observation, s; `None` where all rows are used.
fn last_used(layout: &Layout) -> Option<f64> {
    (layout.used < layout.rows).then(|| layout.step.times(layout.used as i64).seconds())
}

fn name_of(layout: &Layout, column: usize) -> &str {
    layout.columns.get(column).map_or("", |column| &column.name)
}

/// The columns with the largest mean errors of a chunk.
fn worst_columns(layout: &Layout, worst: &WorstMoment) -> Vec<(usize, f64)> {
    let rows = layout.used.min(worst.moment.known);
    let mut errors: Vec<(usize, f64)> = (0..layout.width()).map(|column| (column, 0.0)).collect();
    for (predicted, recorded) in worst.moment.rows(layout.width()).take(rows) {
        for ((predicted, recorded), (_, error)) in predicted.iter().zip(recorded).zip(&mut errors) {
            *error += (f64::from(*predicted) - f64::from(*recorded)).abs() / rows as f64;
        }
    }
    errors.sort_by(|one, other| other.1.total_cmp(&one.1));
    errors.truncate(COLUMNS_SHOWN);
    errors
}

fn chunk_chart(layout: &Layout, worst: &WorstMoment, column: usize, sides: &[Side<'_>]) -> LineChart {
    let recorded = rows_of(layout, &worst.moment.recorded, worst.moment.known, column);
    let mut lines = vec![Line::new("recorded", Tone::Grey, recorded)];
    for (index, side) in sides.iter().enumerate() {
        let predicted = match index {
            0 => Some(worst.moment.predicted.as_slice()),
            _ => side.gallery.prediction(&worst.moment),
        };
        let points = predicted.map(|predicted| rows_of(layout, predicted, layout.rows, column));
        lines.extend(points.map(|points| Line::new(side.name, Tone::Series(index), points)));
    }
    let mark = |x| Mark { name: "last row used".to_owned(), tone: Tone::Grey, x, small: true };
    let points = || lines.iter().flat_map(|line| &line.points);
    LineChart {
        x: Axis::of("due after the observation", "s", points().map(|[x, _]| *x)),
        y: Axis::around("position", "", points().map(|[_, y]| *y)),
        marks: last_used(layout).map(mark).into_iter().collect(),
        lines,
        ..LineChart::titled(name_of(layout, column))
    }
}

/// A column of the first rows of a chunk over time.
fn rows_of(layout: &Layout, values: &[f32], rows: usize, column: usize) -> Vec<[f64; 2]> {
    let rows = values.chunks_exact(layout.width().max(1)).take(rows).enumerate();
    let point = |(row, values): (usize, &[f32])| {
        let at = layout.step.times(row as i64 + 1).seconds();
        values.get(column).map(|value| [at, f64::from(*value)])
    };
    rows.filter_map(point).collect()
}

fn episodes(page: &mut Page, sides: &[Side<'_>]) {
    let Some(first) = sides.first() else { return };
    page.section("Predicted over recorded");
    page.text("Used rows of every chunk, each chunk a curve of its own, over the recorded actions. Ticks: inferences.");
    for (place, episode) in first.gallery.episodes().iter().enumerate() {
        let beside: Vec<(&EpisodeCurves, &str)> = sides
            .iter()
            .filter_map(|side| {
                Some((side.gallery.episodes().iter().find(|curves| curves.index == episode.index)?, side.name))
            })
            .collect();
        let charts: Vec<LineChart> = (0..first.outcome.layout.width())
            .map(|column| column_chart(&first.outcome.layout, &beside, column))
            .collect();
        let mut legend = Legend::default();
        charts.iter().for_each(|chart| legend.merge(&chart.legend()));
        let fill = |html: &mut crate::page::Html| {
            html.add(&legend);
            charts.iter().for_each(|chart| html.add(chart));
        };
        if place == 0 {
            if first.outcome.episodes.len() > 1 {
                page.text(&format!(
                    "Episode {}, the one with the largest error (MSE {:.5}).",
                    episode.index, episode.mse
                ));
            }
            page.add(&legend);
            page.grid(|grid| charts.iter().for_each(|chart| grid.add(chart)));
        } else {
            page.details(&format!("Episode {} (MSE {:.5})", episode.index, episode.mse), fill);
        }
    }
    if first.outcome.episodes.len() > 1 {
        episode_table(page, sides);
    }
}

fn column_chart(layout: &Layout, beside: &[(&EpisodeCurves, &str)], column: usize) -> LineChart {
    let mut lines = Vec::new();
    let recorded = beside.first().and_then(|(curves, _)| curves.recorded.get(column));
    lines.extend(recorded.map(|trace| Line::new("recorded", Tone::Grey, trace.points())));
    for (index, (curves, name)) in beside.iter().enumerate() {
        let predicted = curves.predicted.get(column);
        lines.extend(predicted.map(|trace| Line::new(name, Tone::Series(index), trace.points())));
    }
    let inferences = beside.first().map(|(curves, _)| curves.inferences.as_slice()).unwrap_or_default();
    let mark = |x: &f64| Mark { name: "inference".to_owned(), tone: Tone::Grey, x: *x, small: true };
    let points = || lines.iter().flat_map(|line| &line.points);
    LineChart {
        x: Axis::of("time", "s", points().map(|[x, _]| *x)),
        y: Axis::around("position", "", points().map(|[_, y]| *y)),
        marks: inferences.iter().map(mark).collect(),
        legend_elsewhere: true,
        lines,
        ..LineChart::titled(name_of(layout, column))
    }
}

fn episode_table(page: &mut Page, sides: &[Side<'_>]) {
    page.details("Errors of every episode", |html| {
        let mut rows = table("episode", sides);
        let count = sides.iter().map(|side| side.outcome.episodes.len()).max().unwrap_or_default();
        for index in 0..count.min(EPISODES_SHOWN) {
            for side in sides {
                if let Some(episode) = side.outcome.episodes.get(index) {
                    rows.push(row(&episode.index.to_string(), side, sides, &episode.errors));
                }
            }
        }
        html.add(&rows);
        if count > EPISODES_SHOWN {
            html.paragraph(&format!("{} more are in the JSON document (--json).", count - EPISODES_SHOWN));
        }
    });
}

fn columns(page: &mut Page, sides: &[Side<'_>], comparison: Option<&Comparison>) {
    page.section("Errors by joint");
    let mut rows = table("joint", sides);
    let count = sides.iter().map(|side| side.outcome.figures.columns.len()).max().unwrap_or_default();
    for index in 0..count {
        for side in sides {
            if let Some(column) = side.outcome.figures.columns.get(index) {
                rows.push(row(&column.name, side, sides, &column.errors));
            }
        }
    }
    page.add(&rows);
    if let Some(comparison) = comparison {
        let mut rows = Table::new(["joint", "mean difference", "largest difference", "MAE ratio", "MSE ratio"]);
        for column in &comparison.columns {
            let figure = |value: Option<f64>| Cell::figure(value.unwrap_or(f64::NAN));
            rows.push([
                Cell::text(&column.name),
                figure(column.difference.map(|errors| errors.mae)),
                figure(column.difference.map(|errors| errors.largest)),
                figure(column.ratio.and_then(|ratio| ratio.mae)),
                figure(column.ratio.and_then(|ratio| ratio.mse)),
            ]);
        }
        page.add(&rows);
    }
}

fn skipped(page: &mut Page, sides: &[Side<'_>]) {
    let any = sides.iter().any(|side| !side.outcome.skipped.is_empty());
    if !any {
        return;
    }
    page.section("Inference times without a chunk");
    let mut rows = Table::new(["policy", "episode", "time, s", "reason"]);
    for side in sides {
        for skipped in &side.outcome.skipped {
            let seconds = format!("{:.3}", skipped.at_ns as f64 * 1e-9);
            let episode = Cell::count(skipped.episode as u64);
            rows.push([Cell::text(side.name), episode, Cell::text(seconds), Cell::text(&skipped.reason)]);
        }
    }
    page.add(&rows);
}
