use super::*;
use crate::settings::Settings;
use crate::settings::tests::{SECRET, Table, read};

#[test]
fn missing_or_short_secret_is_refused() {
    let error = Settings::read(&Table::default()).unwrap_err();
    assert!(error.contains("bundle exec lineside"), "{error}");
    let short = read(&[("LINESIDE_SECRET", "short")]).unwrap_err();
    assert!(
        short.contains("LINESIDE_SECRET") && !short.contains("short\""),
        "{short}"
    );
}

#[test]
fn secret_file_that_is_too_large_empty_or_not_text_is_refused() {
    let path = std::env::temp_dir().join(format!("lineside-large-{}", std::process::id()));
    let shown = path.to_str().unwrap();
    let table = Table([(SECRET_FILE, shown.to_owned())].into());
    let refused = || {
        let error = secret(&table).unwrap_err();
        assert!(error.contains(SECRET_FILE), "{error}");
        error
    };
    let full = SECRET.repeat(512);
    std::fs::write(&path, &full).unwrap();
    assert!(secret(&table).is_ok());
    std::fs::write(&path, full + "x").unwrap();
    assert!(refused().contains("more than 16384 bytes"));
    std::fs::write(&path, "").unwrap();
    assert!(refused().contains("empty"));
    std::fs::write(&path, [0xff; 64]).unwrap();
    assert!(refused().contains("not UTF-8"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(refused().contains("cannot be read"));
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn secret_file_is_read() {
    let path = std::env::temp_dir().join(format!("lineside-secret-{}", std::process::id()));
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let table = Table([("LINESIDE_SECRET_FILE", path.display().to_string())].into());
    let keys = Settings::read(&table).unwrap().keys.current();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        keys.fingerprint(),
        Keys::parse(SECRET).unwrap().fingerprint()
    );
    assert!(
        Settings::read(&table)
            .unwrap_err()
            .contains("LINESIDE_SECRET_FILE")
    );
}
