use super::*;

#[test]
fn page_has_the_text_format_of_prometheus() {
    let mut page = Exposition::default();
    page.family("lineside_a_total", Kind::Counter, "So many.")
        .value(7);
    let mut family = page.family("lineside_b_seconds", Kind::Histogram, "So long.");
    family.suffixed("_bucket", &[("le", "+Inf")], 2);
    family.suffixed("_sum", &[], Seconds(12_034));
    let mut family = page.family("lineside_c", Kind::Gauge, "By two.");
    family.sample(&[("x", "1"), ("y", "a\"b\\c\nd")], 0);
    assert_eq!(
        page.into_text(),
        "# HELP lineside_a_total So many.\n# TYPE lineside_a_total counter\nlineside_a_total 7\n\
         # HELP lineside_b_seconds So long.\n# TYPE lineside_b_seconds histogram\n\
         lineside_b_seconds_bucket{le=\"+Inf\"} 2\nlineside_b_seconds_sum 12.034\n\
         # HELP lineside_c By two.\n# TYPE lineside_c gauge\nlineside_c{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 0\n"
    );
}
