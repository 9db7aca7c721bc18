//! Whole pages.

use super::*;

/// Elements that were opened and not closed, or closed without being open.
fn unbalanced(page: &str) -> Vec<String> {
    const VOID: [&str; 6] = ["meta", "img", "i/", "path/", "rect/", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    let mut wrong = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                wrong.push(tag.to_owned());
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    wrong.extend(open.iter().map(|tag| (*tag).to_owned()));
    wrong
}

/// Everything a page can have, with one text in every place that takes one.
fn page(text: &str) -> Page {
    let mut page = Page::new(text);
    let mut facts = Facts::default();
    facts.push(text, text);
    page.add(&facts);
    page.add(&[Card::new(text, text).toned(Tone::Bad, true)][..]);
    page.section(text);
    page.text(text);
    page.warning(text);
    let x = Axis::of(text, text, [0.0, 4.0]);
    let y = Axis::around(text, text, [-1.0, 1.0]);
    page.grid(|grid| {
        grid.panel(|panel| {
            panel.heading(text);
            panel.add(&LineChart {
                note: text.to_owned(),
                x: x.clone(),
                y: y.clone(),
                lines: vec![
                    Line::new(text, Tone::Series(9), vec![[0.0, 0.0], [1.0, 0.5], [f64::NAN, 0.0], [3.0, 1.0]])
                        .dashed(),
                ],
                bands: vec![Band { name: text.to_owned(), tone: Tone::Bad, from: 0.9, to: f64::INFINITY }],
                marks: vec![Mark { name: text.to_owned(), tone: Tone::Warn, x: 2.0, small: true }],
                ..LineChart::titled(text)
            });
        });
        let columns = vec![Stacked { x: 1.0, parts: vec![1.0, 2.0] }, Stacked { x: 2.0, parts: vec![0.0, 3.0] }];
        let parts = vec![text.to_owned(), "b".to_owned()];
        let (title, note) = (text.to_owned(), text.to_owned());
        grid.add(&StackChart { title, note, x: x.clone(), y: Axis::up_to(text, "ms", [3.0]), parts, columns });
        let rows = vec![BarRow { name: text.to_owned(), values: vec![0.5, f64::NAN] }];
        let unit = text.to_owned();
        grid.add(&BarChart { unit, series: vec![text.to_owned(), "b".to_owned()], rows, ..BarChart::default() });
    });
    page.add(&Lanes { x, lanes: vec![Lane::of_moments(text, Tone::Good, [1.0])] });
    page.details(text, |html| html.add(&Table::new([text]).row([Cell::text(text)])));
    page.add(&Moment {
        title: text.to_owned(),
        text: text.to_owned(),
        pictures: vec![Picture::missing(text, text)],
        tone: Tone::Bad,
    });
    page.add(&Glossary(&[(text, text)]));
    page
}

#[test]
fn every_text_is_escaped_and_every_element_closed() {
    let evil = "</script><script>alert('1')</script>\"&\u{202e}\u{7}";
    let plain = page("word").finish();
    let hostile = page(evil).finish();
    assert_eq!(unbalanced(plain.split("<script>").next().unwrap_or_default()), ["html", "body"]);
    assert_eq!(hostile.matches("<script>").count(), 1, "the page's own alone");
    assert_eq!(hostile.matches("</script>").count(), 1);
    assert!(!hostile.contains('\u{202e}') && !hostile.contains('\u{7}'));
    let tags = |page: &str| page.matches('<').count();
    assert_eq!(tags(&plain), tags(&hostile), "no text makes an element");
    assert_eq!(
        plain.matches("word").count(),
        hostile.matches("&lt;/script&gt;&lt;script&gt;alert(&#39;1&#39;)").count()
    );
}

#[test]
fn a_page_needs_no_other_file_and_is_the_same_each_time() {
    let one = page("word").finish();
    assert_eq!(one, page("word").finish());
    for outside in ["http://", "https://", "src=\"/", "@import", "url(", "<link"] {
        assert!(!one.contains(outside), "{outside}");
    }
    assert!(one.contains("prefers-color-scheme: dark") && one.contains("width=device-width"));
}

fn chart(lines: Vec<Line>) -> String {
    let axis = |low, high| Axis { low, high, ..Axis::default() };
    let mut html = Html::default();
    html.add(&LineChart { x: axis(0.0, 10.0), y: axis(0.0, 1.0), lines, ..LineChart::default() });
    html.as_str().to_owned()
}

#[test]
fn a_curve_lies_where_its_values_are_and_breaks_where_there_is_none() {
    let gap = [f64::NAN; 2];
    let html = chart(vec![Line::new("a", Tone::Grey, vec![[0.0, 0.0], [5.0, 0.5], gap, [10.0, 1.0], gap])]);
    assert!(html.contains("d=\"M0.0 1000.0L500.0 500.0M1000.0 0.0h0\""), "{html}");
    assert!(html.contains("data-name=\"a\"") && html.contains("data-x=\"0 10\""));
}

#[test]
fn an_entry_of_the_legend_is_there_once_and_a_nameless_line_not() {
    let line = |name| Line::new(name, Tone::Grey, vec![[0.0, 0.0]]);
    let html = chart(vec![line("state"), line("state"), line("")]);
    assert_eq!(html.matches("</i>state</span>").count(), 1);
    assert_eq!(html.matches("<i ").count(), 1);
}

#[test]
fn a_band_without_end_reaches_the_edge_and_one_outside_is_not_drawn() {
    let axis = |low, high| Axis { low, high, ..Axis::default() };
    let band = |from, to| Band { from, to, ..Band::default() };
    let bands = vec![band(0.75, f64::INFINITY), band(2.0, 1.5)];
    let mut html = Html::default();
    html.add(&LineChart { x: axis(0.0, 1.0), y: axis(0.0, 1.0), bands, ..LineChart::default() });
    assert_eq!(html.as_str().matches("<rect").count(), 1);
    assert!(html.as_str().contains("y=\"0.0\" width=\"1000\" height=\"250.0\""), "{}", html.as_str());
}

#[test]
fn of_many_columns_the_highest_are_drawn() {
    let columns: Vec<_> =
        (0..5000).map(|x| Stacked { x: f64::from(x), parts: vec![if x == 4321 { 9.0 } else { 1.0 }] }).collect();
    let x = Axis::of("time", "s", [0.0, 5000.0]);
    let chart = StackChart {
        x,
        y: Axis::up_to("t", "ms", [9.0]),
        parts: vec!["p".to_owned()],
        columns,
        ..StackChart::default()
    };
    let mut html = Html::default();
    html.add(&chart);
    let drawn = html.as_str().matches('z').count();
    assert!(chart.is_thinned() && (200..=300).contains(&drawn), "{drawn}");
    let highest = format!("V{:.1}h", 1000.0 - 9.0 / (9.0 * 1.06) * 1000.0);
    assert_eq!(html.as_str().matches(&highest).count(), 1, "{highest}");
}
