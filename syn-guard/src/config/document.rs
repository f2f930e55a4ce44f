//! The reference and the example file, made from the table of keys.

use std::fmt::Write as _;

use super::schema::{Key, Kind, SERVICES, TABLES, Table};

/// A file with every key, its meaning and its default, all commented out.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# Configuration of syn-guard, by default /etc/syn-guard/config.toml.\n\
         # Every key is here with its default. `syn-guard config check FILE` says what\n\
         # is wrong with a file, `syn-guard reload` or SIGHUP has it read again.\n",
    );
    for table in TABLES {
        text.push('\n');
        comment(&mut text, &plain(table.doc));
        if table.name == SERVICES {
            let _ = writeln!(text, "# [{SERVICES}.443]");
        } else {
            let _ = writeln!(text, "[{}]", table.name);
        }
        for key in table.keys {
            text.push('\n');
            comment(&mut text, &plain(key.doc));
            comment(&mut text, &plain(&facts(key)));
            let _ = writeln!(text, "# {} = {}", key.name, sample(key));
        }
    }
    text
}

/// What a key takes and what its default is, in one line.
fn facts(key: &Key) -> String {
    let restart = if key.restart { " Needs a restart." } else { "" };
    format!(
        "{}. Default: {}.{restart}",
        capital(&key.kind.expected()),
        key.default_words()
    )
}

/// A value that a key takes: its default, or one that stands for it.
fn sample(key: &Key) -> String {
    if let Some(value) = (key.get)(&super::Wanted::default(), 0)
        && key.computed.is_none()
        && !matches!(key.kind, Kind::List(_))
    {
        return value.to_string();
    }
    match (key.table, key.name) {
        ("guard", "interfaces") => "[\"eth0\"]",
        ("guard", "ports") => "[80, 443]",
        ("lists", "allow") => "[\"192.0.2.0/24\", \"2001:db8:1::/48\"]",
        ("lists", "allow_files") => "[\"/etc/syn-guard/allowed\"]",
        ("lists", "deny") => "[\"198.51.100.0/24\"]",
        ("lists", "deny_files") => "[\"/etc/syn-guard/denied\"]",
        (_, "open_to") => "[\"10.0.0.0/8\", \"2001:db8:1::/48\"]",
        (_, "mode") => "\"protect\"",
        (_, "max_unanswered_rate") => "1000",
        _ => "128",
    }
    .to_owned()
}

/// Text as comment lines of at most 80 characters.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 80 {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

/// Markdown without its marks.
fn plain(markdown: &str) -> String {
    markdown.replace('`', "")
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// A short file as somebody would write it.
const SHORT: &str = r#"[guard]
interfaces = ["eth0"]
ports = [22, 80, 443]

[detection]
hold = 120                      # seconds

[limits]
source_rate = 100               # unanswered SYNs a second

[lists]
allow = ["192.0.2.0/24", "2001:db8:1::/48"]
deny_files = []                 # as ["/etc/syn-guard/denied"]

[services.22]
mode = "observe"

[services.443]
max_half_open = 2000
"#;

/// The short file of the reference.
#[cfg(test)]
pub(super) const fn short() -> &'static str {
    SHORT
}

/// The reference, `docs/config.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = format!(include_str!("reference_head.md"), short = SHORT);
    for table in TABLES {
        reference_of(&mut text, table);
    }
    text
}

fn reference_of(text: &mut String, table: &Table) {
    let name = if table.name == SERVICES {
        "services.PORT"
    } else {
        table.name
    };
    let _ = write!(
        text,
        "\n## `[{name}]`\n\n{}\n\n| key | default | value | what |\n| --- | --- | --- | --- |\n",
        table.doc
    );
    for key in table.keys {
        let default = match key.computed {
            Some(words) => words.to_owned(),
            None => format!("`{}`", key.default_words()),
        };
        let mut what = key.doc.to_owned();
        if key.restart {
            what.push_str(" *Needs a restart.*");
        }
        if let Some(flag) = key.flag {
            let _ = write!(what, " Flag: `{flag}`.");
        }
        let _ = writeln!(
            text,
            "| `{}` | {default} | {} | {} |",
            key.name,
            cell(&key.kind.expected()),
            cell(&what)
        );
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
