//! Undoing what was changed for a while, and trying again what failed.

use crate::undo::{Journal, Outcome, System};

/// The sysctls that could not be set back yet. Their old values stay in the
/// journal; a stop tries them once more, whatever became of them here.
#[derive(Debug, Default)]
pub(super) struct Undoing {
    failing: Vec<&'static str>,
}

impl Undoing {
    /// Undoes the change of one sysctl. What fails is an error to say, once:
    /// [`again`](Self::again) tries it again in silence.
    pub(super) fn undo<S: System>(
        &mut self,
        journal: &mut Journal<S>,
        name: &'static str,
    ) -> Result<Option<Outcome>, String> {
        let failed = match journal.restore(name) {
            Ok(Some(outcome @ Outcome::Failed { .. })) => outcome.to_string(),
            Ok(outcome) => return Ok(outcome),
            Err(error) => format!("{name} is not undone: {error}"),
        };
        if !self.failing.contains(&name) {
            self.failing.push(name);
        }
        Err(format!("{failed}; it is tried again each second"))
    }

    /// Tries again what failed; what became of those that did not fail again.
    pub(super) fn again<S: System>(&mut self, journal: &mut Journal<S>) -> Vec<Outcome> {
        let mut done = Vec::new();
        self.failing.retain(|name| match journal.restore(name) {
            Ok(Some(Outcome::Failed { .. })) | Err(_) => true,
            Ok(outcome) => {
                done.extend(outcome);
                false
            }
        });
        done
    }

    /// This one is not tried again; whether it would have been.
    pub(super) fn forget_one(&mut self, name: &str) -> bool {
        let before = self.failing.len();
        self.failing.retain(|failing| *failing != name);
        self.failing.len() != before
    }

    /// Whether nothing is to be tried again.
    pub(super) const fn is_empty(&self) -> bool {
        self.failing.is_empty()
    }

    /// They are changed anew, and undone with that.
    pub(super) fn forget(&mut self) {
        self.failing.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::undo::tests::Fake;

    #[test]
    fn what_fails_is_tried_again_until_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::new(directory.path());
        let mut journal = Journal::open_with(directory.path(), fake.clone()).unwrap();
        journal.change("a", "1").unwrap();
        journal.change("c", "8").unwrap();
        let mut undoing = Undoing::default();
        fake.refuse(true);
        for name in ["c", "a"] {
            let said = undoing.undo(&mut journal, name).unwrap_err();
            assert!(said.contains("tried again each second"), "{said}");
        }
        for _ in 0..3 {
            assert!(undoing.again(&mut journal).is_empty());
        }
        assert_eq!(fake.get("a").unwrap(), "1");
        fake.refuse(false);
        let done = undoing.again(&mut journal);
        assert_eq!(done.len(), 2);
        assert_eq!(done[1].to_string(), "a is 0 again");
        assert_eq!(
            (fake.get("a").unwrap(), fake.get("c").unwrap()),
            ("0".into(), "7".into())
        );
        assert!(journal.changes().is_empty());
        // Nothing more to do, also when somebody sets it to that value again.
        fake.put("a", "1");
        assert!(undoing.again(&mut journal).is_empty());
        assert_eq!(fake.get("a").unwrap(), "1");
    }

    #[test]
    fn what_is_changed_anew_is_not_undone_by_an_earlier_try() {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::new(directory.path());
        let mut journal = Journal::open_with(directory.path(), fake.clone()).unwrap();
        journal.change("a", "1").unwrap();
        let mut undoing = Undoing::default();
        fake.refuse(true);
        assert!(undoing.undo(&mut journal, "a").is_err());
        fake.refuse(false);
        undoing.forget();
        journal.change("a", "1").unwrap();
        assert!(undoing.again(&mut journal).is_empty());
        assert_eq!(fake.get("a").unwrap(), "1");
        assert!(undoing.undo(&mut journal, "a").unwrap().is_some());
        assert_eq!(fake.get("a").unwrap(), "0");
    }
}
