//! The reference and the examples.

use super::*;

#[test]
fn the_reference_and_the_example_are_what_the_table_says() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (name, made) in [
        ("config.md", reference()),
        ("config.example.toml", example()),
    ] {
        let file = docs.join(name);
        if std::env::var_os("SYN_GUARD_WRITE_DOCS").is_some() {
            fs::write(&file, &made).unwrap();
        }
        assert!(
            fs::read_to_string(&file).unwrap_or_default() == made,
            "{name} is old: SYN_GUARD_WRITE_DOCS=1 cargo test -p syn-guard --lib config"
        );
    }
}

#[test]
fn examples_are_taken() {
    for text in [example(), document::short().to_owned()] {
        assert_eq!(wrong(&text), [""; 0]);
    }
    // With every key that it names.
    let example = example();
    let all: Vec<_> = example
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            let is_key = line.split_once(" = ").is_some_and(|(name, _)| {
                name.bytes()
                    .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            });
            (is_key || line.starts_with('[') && line.ends_with(']')).then_some(line)
        })
        .collect();
    let layer = parse(Path::new("f"), &all.join("\n")).unwrap();
    assert_eq!(layer.len(), keys().count());
}
