use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

use nix::unistd::Uid;

use super::*;

/// Folder of one test, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("lineside-folder-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn files_stay_in_the_opened_folder_when_its_path_is_replaced() {
    let place = Place::new("replaced");
    let folder = LinkFolder::make(&place.at("link")).unwrap();
    std::fs::rename(place.at("link"), place.at("moved")).unwrap();
    LinkFolder::make(&place.at("link")).unwrap();
    let file = place.at("link/file");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    folder.open_file(&file, flags).unwrap();
    assert!(!file.exists() && place.at("moved/file").exists());
    folder.rename(&file, &place.at("link/other")).unwrap();
    assert!(folder.stat(&place.at("link/other")).is_ok());
    folder.remove(&place.at("link/other")).unwrap();
    assert!(!place.at("moved/other").exists());
}

#[test]
fn own_symbolic_link_to_a_folder_is_followed() {
    let place = Place::new("own");
    LinkFolder::make(&place.at("shared/link")).unwrap();
    symlink("shared/link", place.at("link")).unwrap();
    let folder = LinkFolder::make(&place.at("link")).unwrap();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT;
    folder.open_file(&place.at("link/file"), flags).unwrap();
    assert!(place.at("shared/link/file").exists());
}

#[test]
fn symbolic_link_of_another_user_is_refused() {
    if !Uid::effective().is_root() {
        println!("not tested: only root can give a link to another user");
        return;
    }
    let place = Place::new("foreign");
    LinkFolder::make(&place.at("mine")).unwrap();
    symlink(place.at("mine"), place.at("link")).unwrap();
    lchown(place.at("link"), Some(65_534), None).unwrap();
    let error = LinkFolder::make(&place.at("link")).unwrap_err();
    assert!(
        error.contains("symbolic link of user nobody") && error.contains("LINESIDE_LINK"),
        "{error}"
    );
}

#[test]
fn file_symbolic_link_and_endless_links_are_refused() {
    let place = Place::new("no-folder");
    std::fs::write(place.at("file"), "").unwrap();
    symlink("loop", place.at("loop")).unwrap();
    for name in ["file", "loop"] {
        let error = LinkFolder::open(&place.at(name)).unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");
    }
    let folder = LinkFolder::make(&place.at("link")).unwrap();
    symlink(place.at("file"), place.at("link/file")).unwrap();
    let opened = folder.open_file(&place.at("link/file"), OFlag::O_WRONLY);
    assert!(opened.is_err());
}

#[test]
fn missing_folder_is_made_for_this_user() {
    let place = Place::new("made");
    LinkFolder::make(&place.at("tmp/lineside")).unwrap();
    let mode = |path| {
        let found = std::fs::metadata(place.at(path)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode("tmp/lineside"), 0o700);
}
