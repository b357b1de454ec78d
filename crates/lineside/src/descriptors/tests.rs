use super::*;

#[test]
fn budget_leaves_descriptors_to_links_and_requests() {
    for (limit, wanted, shards, connections_max, browsers_max) in [
        (600, 100_000, 2, 344, 408),
        (1024, 500, 2, 500, 832),
        (1024, 100_000, 40, 640, 704),
        (100, 100_000, 2, 1, 65),
        (u64::MAX, 100_000, 2, 100_000, usize::MAX),
    ] {
        let budget = Budget::of_limit(limit, wanted, shards);
        assert_eq!(budget.connections_max, connections_max, "{limit}");
        assert!(
            budget.browsers_max == browsers_max || limit == u64::MAX,
            "{limit} {budget:?}"
        );
    }
}

#[test]
fn requests_keep_their_share_when_all_connections_are_open() {
    let budget = Budget::of_limit(600, 100_000, 2);
    assert_eq!(budget.requests_max(0, 4096), 408);
    assert_eq!(budget.requests_max(budget.connections_max, 4096), 64);
    assert_eq!(budget.requests_max(0, 16), 16);
    assert_eq!(budget.requests_max(usize::MAX, 4096), 1);
}
