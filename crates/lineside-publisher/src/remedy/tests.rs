use super::*;

#[test]
fn absent_sidecar_of_a_link_moved_to_tmp_may_have_another_tmp() {
    let moved = format!(
        "/tmp/lineside-{}/0123456789abcdef.sock",
        nix::unistd::geteuid()
    );
    let message = unopened(Path::new(&moved), Errno::ENOENT);
    assert!(
        message.contains("PrivateTmp") && message.contains("LINESIDE_LINK"),
        "{message}"
    );
    let other = unopened(
        Path::new("/srv/shop/tmp/lineside/production.sock"),
        Errno::ENOENT,
    );
    assert!(!other.contains("PrivateTmp"), "{other}");
}
