//! Tables and the bars of their charts.

/// Server of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Limit,
    Lineside,
    Peer,
}

/// A bar of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// The value with its unit.
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

/// A table and its chart.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    /// Name of the chart's file, without its extension.
    pub(crate) name: String,
    /// Load, and the meaning of the figures.
    pub(crate) note: String,
    /// Unit of the bars.
    pub(crate) unit: String,
    pub(crate) is_less_better: bool,
    pub(crate) markdown: String,
    pub(crate) bars: Vec<Bar>,
}

impl Table {
    /// The bar of Lineside, and the best of the peers.
    pub(crate) fn best(&self) -> (Option<&Bar>, Option<&Bar>) {
        let finite = self.bars.iter().filter(|it| it.value.is_finite());
        let of = |kind: Kind| finite.clone().filter(move |it| it.kind == kind);
        let order = |a: &&Bar, b: &&Bar| a.value.total_cmp(&b.value);
        let pick = |kind: Kind| {
            if self.is_less_better {
                of(kind).min_by(order)
            } else {
                of(kind).max_by(order)
            }
        };
        (pick(Kind::Lineside), pick(Kind::Peer))
    }
}

/// A whole number with a comma between thousands.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
