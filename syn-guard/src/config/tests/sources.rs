//! Layers over one another, reloads, and what is set at run time.

use super::*;

/// A source with a file of its own.
fn source(folder: &tempfile::TempDir, text: &str, flags: &[(&str, &str)]) -> ConfigSource {
    let file = folder.path().join("c");
    fs::write(&file, text).unwrap();
    let flags = flags
        .iter()
        .map(|(key, value)| {
            let (path, value) = assign(key, value).unwrap();
            let flag = "--set".to_owned();
            (path, Setting::new(value, Origin::Flag { flag }))
        })
        .collect();
    ConfigSource::load(Some(file), flags).unwrap()
}

fn write(folder: &tempfile::TempDir, text: &str) {
    fs::write(folder.path().join("c"), text).unwrap();
}

/// A key's value and origin, as `config show` has them.
fn entry(source: &ConfigSource, key: &str) -> (String, String) {
    let report = source.report();
    let entry = report
        .entries
        .iter()
        .find(|entry| entry.key == key)
        .expect(key);
    let value = entry
        .value
        .as_ref()
        .map_or("none".to_owned(), ToString::to_string);
    let origin = match &entry.origin {
        Origin::File(place) => format!("line {}", place.line),
        other => other.to_string(),
    };
    (value, origin)
}

#[test]
fn run_time_over_flags_over_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[detection]\nhold = 5\ncalm_percent = 40\n[services.22]\nmode = \"off\"\n";
    let mut source = source(
        &folder,
        text,
        &[("detection.hold", "6"), ("limits.source_rate", "9")],
    );
    let of = |source: &ConfigSource, key: &str| entry(source, key);
    assert_eq!(of(&source, "detection.hold"), ("6".into(), "--set".into()));
    assert_eq!(
        of(&source, "detection.calm_percent"),
        ("40".into(), "line 3".into())
    );
    assert_eq!(
        of(&source, "services.22.mode"),
        ("\"off\"".into(), "line 5".into())
    );
    assert_eq!(
        of(&source, "detection.max_half_open"),
        ("none".into(), "default".into())
    );
    assert_eq!(
        of(&source, "harden.enabled"),
        ("true".into(), "default".into())
    );
    assert_eq!(source.wanted().options.limits.source_rate, 9);

    let applied = source.set("detection.hold", "7").unwrap();
    assert_eq!(applied.changes[0].to_string(), "detection.hold: 6 -> 7");
    assert_eq!(applied.options.detection.hold.as_secs(), 7);
    assert_eq!(
        of(&source, "detection.hold"),
        ("7".into(), "set at run time".into())
    );
    let back = source.set("detection.hold", "default").unwrap();
    assert_eq!(back.changes[0].to_string(), "detection.hold: 7 -> 6");
    assert_eq!(back.options.detection.hold.as_secs(), 6);
    let default = source.set("detection.max_half_open", "12").unwrap();
    assert_eq!(
        default.changes[0].to_string(),
        "detection.max_half_open: half of the listener's backlog, at least 16 -> 12"
    );
}

#[test]
fn a_reload_says_what_changed_what_waits_and_what_it_took_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = source(&folder, "[guard]\nengine = \"reqsk\"\n", &[]);
    source.set("limits.source_rate", "10").unwrap();
    write(
        &folder,
        "[guard]\nengine = \"kernel\"\n[detection]\nhold = 30\n",
    );
    let applied = source.reload().unwrap();
    let lines = |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        lines(&applied.changes),
        ["detection.hold: 60 -> 30", "limits.source_rate: 10 -> 200"]
    );
    assert_eq!(
        lines(&applied.waiting),
        ["guard.engine: \"reqsk\" -> \"kernel\""]
    );
    assert_eq!(applied.taken_back, ["limits.source_rate"]);
    assert_eq!(entry(&source, "guard.engine").0, "\"reqsk\"", "in force");
    let text = show(&source.report());
    assert!(text.contains("\"kernel\" after a restart"), "{text}");
    assert_eq!(source.reload().unwrap().changes, []);
}

#[test]
fn what_is_wrong_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = source(
        &folder,
        "[detection]\nhold = 5\n[guard]\nports = [80]\n",
        &[],
    );
    source.set("limits.source_rate", "10").unwrap();
    let before = source.report();
    let fails = |source: &mut ConfigSource, text: &str| {
        write(&folder, text);
        source.reload().unwrap_err().to_string()
    };
    assert!(fails(&mut source, "[detection]\nhold = x").contains("c:2:8: "));
    assert!(
        fails(
            &mut source,
            "[guard]\nports = [80]\n[services.81]\nmode = \"off\""
        )
        .contains("c:4:1: ")
    );
    fs::remove_file(folder.path().join("c")).unwrap();
    assert!(
        source
            .reload()
            .unwrap_err()
            .to_string()
            .contains("No such file")
    );
    for (key, value, says) in [
        (
            "detection.hold",
            "0",
            "detection.hold = 0: expected seconds from 1 to 86400",
        ),
        (
            "detection.hodl",
            "1",
            "unknown key \"hodl\" in [detection]: did you mean \"hold\"?",
        ),
        (
            "hold",
            "1",
            "unknown key \"hold\": did you mean detection.hold?",
        ),
        ("services.81.mode", "off", "guard.ports leaves port 81 out"),
        (
            "guard.engine",
            "auto",
            "guard.engine cannot change while the guard runs: put it into",
        ),
    ] {
        let error = source.set(key, value).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(source.report(), before);
}

#[test]
fn files_of_prefixes_that_are_broken_or_missing_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (good, bad, none) = (path("good"), path("bad"), path("none"));
    fs::write(&good, "192.0.2.0/24\n").unwrap();
    fs::write(&bad, "192.0.2.0/24\n192.0.2.1/24\n").unwrap();
    let in_force = format!("[lists]\ndeny_files = [\"{good}\"]\n");
    let mut source = source(&folder, &in_force, &[]);
    let before = source.report();
    let missing = format!("lists.allow_files: {none}: No such file or directory");
    let broken = format!("{bad}:2: 192.0.2.1/24 has host bits set: did you mean 192.0.2.0/24?");
    for (list, says) in [(&none, &missing), (&bad, &broken)] {
        write(&folder, &format!("{in_force}allow_files = [\"{list}\"]\n"));
        let error = source.reload().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        let error = source.set("lists.allow_files", list).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
        assert_eq!(source.report(), before);
    }

    // One that holds and broke since is said by a reload, and is in the way of
    // no other key.
    write(&folder, &in_force);
    fs::remove_file(&good).unwrap();
    let error = source.reload().unwrap_err().to_string();
    assert!(error.contains(&format!("c:2:15: lists.deny_files: {good}: No such file")));
    source.set("detection.hold", "7").unwrap();
    assert_eq!(source.wanted().options.lists.deny_files, [Path::new(&good)]);
}

#[test]
fn the_default_file_may_be_missing_but_not_vanish() {
    let folder = tempfile::tempdir().unwrap();
    let default = folder.path().join("c");
    let load = || ConfigSource::load_or_default(None, &default, Layer::new());
    let mut source = load().unwrap();
    assert_eq!(source.file(), None);
    write(&folder, "[detection]\nhold = 3\n");
    let applied = source.reload_or_default(&default).unwrap();
    assert_eq!(applied.options.detection.hold.as_secs(), 3);
    fs::remove_file(&default).unwrap();
    assert!(source.reload_or_default(&default).is_err());
    let named = ConfigSource::load(Some(default), Layer::new()).unwrap_err();
    assert!(named.to_string().contains("No such file"), "{named}");
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(&folder, document::short(), &[("detection.hold", "6")]);
    let text = show(&source.report());
    let again = parse(Path::new("f"), &text).unwrap();
    assert_eq!(effective::wanted(&again).options, source.wanted().options);
    assert!(text.contains("\nhold = 6 "), "{text}");
    let json = serde_json::to_string(&source.report()).unwrap();
    let back: ConfigReport = serde_json::from_str(&json).unwrap();
    assert_eq!(back, source.report());
}
