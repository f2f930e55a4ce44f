//! What is wrong with files.

use super::*;

#[test]
fn every_mistake_has_its_place_and_a_way_out() {
    for (text, says) in [
        (
            "[detection]\nmax_halfopen = 5\n",
            "2:1: unknown key \"max_halfopen\" in [detection]: did you mean \"max_half_open\"?",
        ),
        (
            "[detection]\n  hold = 0",
            "2:10: detection.hold = 0: expected seconds from 1 to 86400",
        ),
        (
            "[detection]\nhold = \"60s\"",
            "2:8: detection.hold = \"60s\": expected seconds from 1 to 86400, found a string",
        ),
        (
            "[detection]\nhold = -1",
            "2:8: detection.hold = -1: expected seconds from 1 to 86400",
        ),
        (
            "[detection]\nhold = 1.5",
            "2:8: detection.hold = 1.5: expected seconds from 1 to 86400, found a float",
        ),
        (
            "[detection]\nmode = \"on\"",
            "2:8: detection.mode = \"on\": expected \"off\", \"observe\", \"auto\" or \"protect\"",
        ),
        (
            "[guard]\nhold = 5",
            "2:1: unknown key \"hold\" in [guard]: it belongs into [detection]",
        ),
        (
            "hold = 5",
            "1:1: unknown key \"hold\": did you mean detection.hold?",
        ),
        (
            "[detektion]\nhold = 5",
            "1:2: unknown table [detektion]: did you mean [detection]?",
        ),
        (
            "[x]",
            "1:2: unknown table [x]: there are [guard], [detection], [harden], [limits], [lists] and [services.PORT]",
        ),
        (
            "guard = 5",
            "1:9: guard: expected a table, as [guard], found an integer",
        ),
        (
            "[guard]\nports = 80",
            "2:9: guard.ports = 80: expected an array, each a TCP port from 1 to 65535, found an integer",
        ),
        (
            "[guard]\nports = [80, 70000]",
            "2:14: guard.ports has 70000: expected a TCP port from 1 to 65535",
        ),
        (
            "[lists]\ndeny = [\"ü\", 5]",
            "2:9: lists.deny: \"ü\" is no prefix: expected an address or a prefix, as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32",
        ),
        (
            "[lists]\nallow = [\"10.0.0.1\", \"10.0.0.1/8\"]",
            "2:22: lists.allow: 10.0.0.1/8 has host bits set: did you mean 10.0.0.0/8?",
        ),
        (
            "[services.http]\nmode = \"off\"",
            "1:11: \"http\" is no service: expected a TCP port from 1 to 65535, as [services.443]",
        ),
        (
            "[services]\nmode = \"off\"",
            "2:1: \"mode\" is no service: expected a TCP port from 1 to 65535, as [services.443]",
        ),
        (
            "[services.443]\nmax_halfopen = 3",
            "2:1: unknown key \"max_halfopen\" in [services.443]: did you mean \"max_half_open\"?",
        ),
        (
            "[detection]\nhold = 5\nhold = 6",
            "3:1: duplicate key hold: leave one out",
        ),
        (
            "[detection]\nhold =",
            "2:7: no TOML: string values must be quoted, expected literal string",
        ),
    ] {
        let found = wrong(text);
        assert!(
            found.first().is_some_and(|line| line == says),
            "{text}\n{found:?}\n{says}"
        );
    }
}

#[test]
fn all_mistakes_are_told_in_their_order() {
    let text = "[detection]\nhold = 0\nmode = 5\n[guard]\nporst = [1]\nports = [0, 80, true]\n";
    let places: Vec<_> = wrong(text)
        .iter()
        .map(|line| line.split(": ").next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(places, ["2:8", "3:8", "5:1", "6:10", "6:17"]);
}

#[test]
fn every_key_takes_its_bounds_and_refuses_what_is_just_outside() {
    let mut seen = 0;
    for path in keys() {
        let (Kind::One(scalar) | Kind::List(scalar)) = path.key.kind;
        let (good, bad): (Vec<String>, Vec<String>) = match scalar {
            Scalar::Number { min, max, .. } => {
                let below = i128::from(min) - 1;
                (
                    vec![min.to_string(), max.to_string()],
                    vec![below.to_string(), (max + 1).to_string(), "true".into()],
                )
            }
            Scalar::Bool => (
                vec!["true".into(), "false".into()],
                vec!["1".into(), "\"true\"".into()],
            ),
            Scalar::Choice(words) => (
                words.iter().map(|word| format!("{word:?}")).collect(),
                vec!["\"\"".into(), format!("{:?}", words[0].to_uppercase())],
            ),
            Scalar::Address => (
                vec!["\"0.0.0.0:0\"".into(), "\"[::]:65535\"".into()],
                vec!["\"127.0.0.1\"".into(), "\"[::]:65536\"".into()],
            ),
            Scalar::Port => (
                vec!["1".into(), "65535".into()],
                vec!["0".into(), "65536".into()],
            ),
            Scalar::Interface => (
                vec!["\"a\"".into(), "\"abcdefghijklmno\"".into()],
                vec![
                    "\"\"".into(),
                    "\"abcdefghijklmnop\"".into(),
                    "\"a/b\"".into(),
                ],
            ),
            Scalar::Prefix => (
                vec![
                    "\"0.0.0.0/0\"".into(),
                    "\"::1/128\"".into(),
                    "\"::1\"".into(),
                ],
                vec!["\"0.0.0.0/33\"".into(), "\"::1/129\"".into()],
            ),
            Scalar::Path => (
                vec!["\"/\"".into(), "\"/a b\"".into()],
                vec!["\"\"".into(), "\"a\"".into()],
            ),
        };
        let written = |value: &String| match path.key.kind {
            Kind::One(_) => value.clone(),
            Kind::List(_) => format!("[{value}]"),
        };
        for value in &good {
            assert_eq!(wrong(&sets(path, &written(value))), [""; 0], "{path}");
            // The typed form keeps what was set.
            let layer = parse(Path::new("f"), &sets(path, &written(value))).unwrap();
            let wanted = effective::wanted(&layer);
            assert_eq!(
                (path.key.get)(&wanted, path.port),
                Some(layer[&path].value.clone())
            );
            let text = value.trim_matches('"');
            assert_eq!(
                assign(&path.to_string(), text).unwrap().1,
                layer[&path].value
            );
            seen += 1;
        }
        for value in &bad {
            assert_eq!(
                wrong(&sets(path, &written(value))).len(),
                1,
                "{path} {value}"
            );
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn any_text_is_read_or_refused() {
    let mut random = StdRng::seed_from_u64(4);
    let example = example().replace("# ", "");
    let whole: Vec<char> = example.chars().collect();
    let pieces = [
        "\"", "'''", "[", "]", "[[", "=", "\n", "{", "}", ".", "-", "0x", "\u{fffd}", "é", "#",
        "inf", "1e9",
    ];
    let mut refused = 0;
    for _ in 0..3_000 {
        let start = random.random_range(0..whole.len());
        let end = random.random_range(start..=whole.len()).min(start + 2_000);
        let mut text: Vec<char> = whole[start..end].to_vec();
        for _ in 0..random.random_range(0..8) {
            let at = random.random_range(0..=text.len());
            if random.random_bool(0.5) && at < text.len() {
                text.remove(at);
            } else {
                let piece = pieces[random.random_range(0..pieces.len())];
                text.splice(at..at, piece.chars());
            }
        }
        let text: String = text.into_iter().collect();
        refused += usize::from(!wrong(&text).is_empty());
    }
    assert!(refused > 1_000, "{refused}");
}

#[test]
fn a_mistake_behind_a_hundred_thousand_prefixes_is_found() {
    let prefixes: Vec<_> = (0..100_000_u32)
        .map(|index| format!("\"{}/32\"", std::net::Ipv4Addr::from(index)))
        .collect();
    for between in [",", ",\n"] {
        let text = format!("[lists]\ndeny = [{}, 1]\n", prefixes.join(between));
        assert_eq!(wrong(&text).len(), 1);
    }
}

#[test]
fn keys_that_do_not_go_together_are_said() {
    let text = "[guard]\nports = [80]\n[lists]\nallow = [\n  \"10.0.0.0/8\",\n  \"10.0.0.1\"]\ndeny = [\"::/0\", \"10.0.0.1/32\"]\nallow_files = [\"/a\"]\ndeny_files = [\"/a\"]\n[services.443]\nmode = \"off\"\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c");
    let list = folder.path().join("list");
    fs::write(&list, "").unwrap();
    let list = list.display().to_string();
    fs::write(&file, text.replace("/a", &list)).unwrap();
    let error = check(&file).unwrap_err();
    let name = file.display();
    let lines: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            format!(
                "{name}:7:17: lists.deny has 10.0.0.1/32, which lists.allow has too (line 6): take it out of one"
            ),
            format!(
                "{name}:9:15: lists.deny_files has {list}, which lists.allow_files has too (line 8): take it out of one"
            ),
            format!(
                "{name}:11:1: services.443.mode: guard.ports leaves port 443 out: add it there, or take [services.443] out"
            ),
        ]
    );
    let text = error.to_string();
    assert!(
        text.ends_with(&format!("(and 2 more: syn-guard config check {name})")),
        "{text}"
    );
}

#[test]
fn files_that_are_none_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c");
    let says = |file: &Path| check(file).unwrap_err().to_string();
    assert!(
        says(&file).ends_with("c: No such file or directory (os error 2)"),
        "{}",
        says(&file)
    );
    assert!(says(folder.path()).contains("Is a directory"));
    fs::write(&file, b"[guard]\n# \xff\n").unwrap();
    assert!(says(&file).ends_with("c: line 2 is not UTF-8"));
    assert!(says(Path::new("/dev/zero")).contains("larger than 16 MiB"));
}

#[test]
fn lists_that_a_file_names_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (good, bad, none) = (path("good"), path("bad"), path("none"));
    fs::write(&good, "# ours\n192.0.2.0/24\n\n2001:db8::/32 # theirs\n").unwrap();
    fs::write(&bad, "192.0.2.0/24\n192.0.2.1/24\nx\n").unwrap();
    let config = folder.path().join("c");
    let text = format!("[lists]\nallow_files = [\"{good}\"]\n");
    fs::write(&config, &text).unwrap();
    check(&config).unwrap();
    fs::write(
        &config,
        format!("{text}deny_files = [\"{bad}\",\n\"{none}\"]\n"),
    )
    .unwrap();
    let error = check(&config).unwrap_err();
    let lines: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            format!(
                "{bad}:2: 192.0.2.1/24 has host bits set: did you mean 192.0.2.0/24? (and 1 more line)"
            ),
            format!(
                "{}:4:1: lists.deny_files: {none}: No such file or directory (os error 2): make it readable, or take it out of [lists]",
                config.display()
            ),
        ]
    );
}
