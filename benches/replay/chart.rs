//! A run drawn as SVG: what each attack asked for and what went through, hour by hour, and whom it cost.
//!
//! Light or dark as the reader's screen is. Each panel has a scale of its own, for a drip is small beside a flood.

use std::fmt::Write;

use crate::simulation::attacks::Shape;
use crate::simulation::tally::{Hour, Tally};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 64.0;
const PANEL: f64 = 74.0;
const GAP: f64 = 44.0;
const TOP: f64 = 64.0;

const STYLE: &str = "<style>
svg { background: #ffffff; font: 13px system-ui, sans-serif; }
text { fill: #24292f; } .faint { fill: #57606a; } .axis { stroke: #8c959f; }
.offered { fill: #c8d1da; } .through { fill: #c4432b; } .honest { fill: #2f6f9f; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; } text { fill: #e6edf3; } .faint { fill: #9aa4ae; } .axis { stroke: #6e7681; }
.offered { fill: #3d4752; } .through { fill: #ff7b62; } .honest { fill: #6cb6ee; }
}
</style>\n";

/// One band of the chart.
struct Panel<'a> {
    name: &'a str,
    /// What stands behind, and what before it, by hour.
    behind: Vec<u64>,
    before: Vec<u64>,
    class: &'a str,
    note: String,
}

pub(crate) fn draw(tally: &Tally) -> String {
    let mut panels: Vec<_> = Shape::ALL.into_iter().filter_map(|shape| attack(tally, shape)).collect();
    panels.push(honest(tally));
    let hours = panels.iter().map(|panel| panel.behind.len()).max().unwrap_or(1).max(1);
    let height = TOP + panels.len() as f64 * (PANEL + GAP) + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"title desc\">\n<title id=\"title\">Sends of attacks before the guard</title>\n<desc id=\"desc\">"
    );
    for panel in &panels {
        let _ = write!(svg, "{}: {}. ", panel.name, panel.note);
    }
    let _ = write!(svg, "</desc>\n{STYLE}<text x=\"{LEFT}\" y=\"24\" font-weight=\"600\">Sends an hour</text>\n");
    let legend = [
        ("offered", "asked for", LEFT),
        ("through", "gone through", LEFT + 110.0),
        ("honest", "honest, refused", LEFT + 240.0),
    ];
    for (class, text, x) in legend {
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"36\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"47\">{text}</text>",
            x + 18.0
        );
    }
    for (place, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, TOP + place as f64 * (PANEL + GAP), hours);
    }
    svg.push_str("</svg>\n");
    svg
}

fn attack(tally: &Tally, shape: Shape) -> Option<Panel<'static>> {
    let hours = tally.by_hour.get(&shape)?;
    let (offered, through) = total(hours);
    let behind = hours.iter().map(|hour| hour.offered).collect();
    let before = hours.iter().map(|hour| hour.through).collect();
    let note = format!("{through} of {offered} went through");
    Some(Panel { name: shape.as_str(), behind, before, class: "through", note })
}

fn honest(tally: &Tally) -> Panel<'static> {
    let (offered, through) = total(&tally.honest_by_hour);
    let before: Vec<_> = tally.honest_by_hour.iter().map(|hour| hour.offered - hour.through).collect();
    let note = format!("{} of {offered} refused", offered - through);
    Panel { name: "honest sends refused", behind: vec![0; before.len()], before, class: "honest", note }
}

fn total(hours: &[Hour]) -> (u64, u64) {
    hours.iter().fold((0, 0), |(offered, through), hour| (offered + hour.offered, through + hour.through))
}

// === impl Panel ===

impl Panel<'_> {
    fn draw(&self, svg: &mut String, top: f64, hours: usize) {
        let most = self.behind.iter().chain(&self.before).copied().max().unwrap_or_default().max(1);
        let each = (WIDTH - LEFT - 16.0) / hours as f64;
        let (base, y) = (top + 20.0 + PANEL, top + 14.0);
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{y}\">{} <tspan class=\"faint\">· {}</tspan></text>",
            self.name, self.note
        );
        let _ = writeln!(
            svg,
            "<text class=\"faint\" text-anchor=\"end\" x=\"{}\" y=\"{}\">{most}</text>",
            LEFT - 8.0,
            top + 30.0
        );
        for (class, counts) in [("offered", &self.behind), (self.class, &self.before)] {
            let mut path = format!("M{LEFT} {base}");
            for (hour, count) in counts.iter().enumerate() {
                let (x, y) = (LEFT + hour as f64 * each, base - *count as f64 / most as f64 * PANEL);
                let _ = write!(path, "L{x:.1} {y:.1}L{:.1} {y:.1}", x + each);
            }
            let end = LEFT + counts.len() as f64 * each;
            let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}L{end:.1} {base}Z\"/>");
        }
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {base}H{}\"/>", WIDTH - 16.0);
        for day in 0..=hours / 24 {
            let x = LEFT + (day * 24) as f64 * each;
            let _ = writeln!(
                svg,
                "<text class=\"faint\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{}\">{day}d</text>",
                base + 15.0
            );
        }
    }
}
