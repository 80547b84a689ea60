//! Drawings, as SVG that is made here: shapes and their classes, colours are for the style file. Words stand beside them,
//! for a drawing is stretched to the width of its place.

use maud::{Markup, html};

/// One line of a chart.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    /// Of the style file.
    pub(crate) class: &'a str,
    pub(crate) values: Vec<u64>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 180.0;

/// Lines over each other, from `begin` to now. `about`: what is seen, for who cannot see it.
pub(crate) fn lines(lines: &[Line<'_>], begin: &str, about: &str) -> Markup {
    let most = lines.iter().flat_map(|line| &line.values).copied().max().unwrap_or_default().max(1);
    html! {
        figure.chart {
            figcaption.legend {
                @for line in lines { span class={ "key " (line.class) } { (line.name) } }
            }
            p.axis { (most) " in 10 s" }
            svg role="img" aria-label=(about) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                @for height in [0.0, HEIGHT / 2.0, HEIGHT] { line.grid x1="0" x2=(WIDTH) y1=(height) y2=(height) {} }
                @for line in lines { polyline class={ "line " (line.class) } points=(points(&line.values, most)) {} }
            }
            p.axis.ends { span { (begin) } span { "now" } }
        }
    }
}

/// A bar that fills so much of its place. The number stands beside it in words.
pub(crate) fn bar(part: f64, class: &str) -> Markup {
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
    html! {
        svg.bar-chart aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none" {
            rect.bar-ground width="100" height="8" {}
            rect class={ "bar " (class) } width=(format!("{:.1}", part * 100.0)) height="8" {}
        }
    }
}

/// So many of so many as a percentage, for people.
pub(crate) fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.0} %", part / whole * 100.0) } else { "–".to_owned() }
}

/// A count as a float: exact for whatever is counted in a life.
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

fn points(values: &[u64], most: u64) -> String {
    let gaps = number(values.len().saturating_sub(1).max(1) as u64);
    let point = |(at, value): (usize, &u64)| {
        let (x, y) = (number(at as u64) / gaps * WIDTH, HEIGHT - number(*value) / number(most) * HEIGHT);
        format!("{x:.1},{y:.1}")
    };
    values.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_at_the_top_and_nothing_at_the_bottom() {
        assert_eq!(points(&[0, 5, 10], 10), "0.0,180.0 450.0,90.0 900.0,0.0");
        assert_eq!(points(&[3], 3), "0.0,0.0");
        assert_eq!(points(&[], 1), "");
    }

    #[test]
    fn shares_of_nothing_are_no_numbers() {
        assert_eq!((share(1.0, 4.0), share(0.0, 0.0)), ("25 %".to_owned(), "–".to_owned()));
        assert!(bar(f64::NAN, "x").into_string().contains("width=\"0.0\""));
        assert!(bar(7.0, "x").into_string().contains("width=\"100.0\""));
    }
}
