use crate::settings::tests::read;

#[test]
fn path_that_is_too_long_for_a_socket_is_refused() {
    let long = format!("unix:/{}", "x".repeat(107));
    assert!(
        read(&[("LINESIDE_LINK", &long)])
            .unwrap_err()
            .contains("shorter")
    );
}
