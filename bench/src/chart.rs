//! Bar charts in SVG, readable on light and dark pages.

use std::fmt::Write as _;

use crate::table::{Kind, Table};

/// Sizes in pixels. The text of the longest bar needs the margin at the right.
const WIDTH: f64 = 760.0;
const LABELS_WIDTH_MIN: f64 = 150.0;
/// Width of a bold letter of a label, on average and rounded up.
const LETTER_WIDTH: f64 = 7.8;
const TEXT_WIDTH: f64 = 190.0;
const HEAD_HEIGHT: f64 = 62.0;
const ROW_HEIGHT: f64 = 28.0;
const BAR_HEIGHT: f64 = 18.0;
const MARGIN: f64 = 16.0;
/// Shortest bar, so that each is visible.
const BAR_WIDTH_MIN: f64 = 2.0;

const STYLE: &str = "\
.page{fill:#fff}.title{font:600 15px system-ui,sans-serif;fill:#1c2128}.unit,.label,.value{font:13px system-ui,sans-serif;fill:#57606a}
.own{font-weight:600;fill:#1c2128}.limit{fill:#afb8c1}.peer{fill:#6e9bd1}.lineside{fill:#cf4a22}
@media (prefers-color-scheme:dark){.page{fill:#0d1117}.title,.own{fill:#e6edf3}.unit,.label,.value{fill:#9198a1}
.own{fill:#e6edf3}.limit{fill:#57606a}.peer{fill:#4a78b0}.lineside{fill:#f0703c}}";

/// Draws the bars of a table. Values that are not numbers are left out.
pub(crate) fn svg(table: &Table) -> String {
    let bars: Vec<_> = table
        .bars
        .iter()
        .filter(|it| it.value.is_finite())
        .collect();
    let largest = bars.iter().map(|it| it.value).fold(f64::EPSILON, f64::max);
    let letters = bars.iter().map(|it| it.label.chars().count()).max();
    let letters = f64::from(u32::try_from(letters.unwrap_or_default()).unwrap_or_default());
    let left = MARGIN + (letters * LETTER_WIDTH).max(LABELS_WIDTH_MIN);
    let scale = (WIDTH - MARGIN - left - TEXT_WIDTH) / largest;
    let mut body = String::new();
    let mut top = HEAD_HEIGHT;
    for bar in &bars {
        let width = (bar.value * scale).max(BAR_WIDTH_MIN);
        let (class, text) = match bar.kind {
            Kind::Limit => ("limit", ""),
            Kind::Lineside => ("lineside", " own"),
            Kind::Peer => ("peer", ""),
        };
        let baseline = top + 13.5;
        // Writing to a String does not fail.
        write!(
            body,
            "<text class=\"label{text}\" x=\"{:.0}\" y=\"{baseline}\" text-anchor=\"end\">{}</text>\n\
             <rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>\n\
             <text class=\"value{text}\" x=\"{:.1}\" y=\"{baseline}\">{}</text>\n",
            left - 8.0,
            escape(&bar.label),
            left + width + 8.0,
            escape(&bar.text),
        )
        .unwrap_or_default();
        top += ROW_HEIGHT;
    }
    let height = top + MARGIN / 2.0;
    let direction = if table.is_less_better {
        "lower is better"
    } else {
        "higher is better"
    };
    let title = escape(&table.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"26\">{title}</text>\n\
         <text class=\"unit\" x=\"{MARGIN}\" y=\"46\">{}; {direction}</text>\n{body}</svg>\n",
        escape(&table.unit),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
