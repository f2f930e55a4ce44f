//! Advice for people.

use super::{Advice, SmallQueue};

/// The table of settings, and the listeners with small queues.
pub fn render(advice: &[Advice], queues: &[SmallQueue]) -> String {
    let cell =
        |value: &Option<String>, none: &str| value.clone().unwrap_or_else(|| none.to_owned());
    let mut rows = vec![["Setting", "Current", "Recommended", "Reason"].map(str::to_owned)];
    rows.extend(advice.iter().map(|one| {
        let mut current = cell(&one.current, "not here");
        if one.held {
            current += " (held)";
        }
        [
            one.setting.to_owned(),
            current,
            cell(&one.recommended, "as it is"),
            one.reason.to_owned(),
        ]
    }));
    let mut widths = [0; 3];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for [setting, current, recommended, reason] in &rows {
        let [first, second, third] = widths;
        text +=
            &format!("{setting:<first$}  {current:<second$}  {recommended:<third$}  {reason}\n");
    }
    if advice.iter().any(|one| one.held) {
        text += "\nheld: the running syn-guard has changed it for now, and restores this value.\n";
    }
    for queue in queues {
        text += &format!(
            "\n{} listens on {} with a queue of {}: it asked for no more; let it ask listen() for more (its `backlog` setting).\n",
            queue.program.as_deref().unwrap_or("a program"),
            queue.local,
            queue.backlog
        );
    }
    text
}
