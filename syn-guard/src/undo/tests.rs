use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::*;

#[derive(Clone, Debug)]
pub(crate) struct Fake {
    values: Rc<RefCell<BTreeMap<String, String>>>,
    unmounted: Rc<RefCell<Vec<PathBuf>>>,
    /// Somebody has pinned something in what was mounted.
    used: Rc<RefCell<bool>>,
    refuse: Rc<RefCell<bool>>,
    /// The journal's file when a value was last to be set.
    written: Rc<RefCell<String>>,
    boot: &'static str,
    namespace: u64,
    directory: PathBuf,
}

impl Fake {
    pub(crate) fn new(directory: &Path) -> Self {
        let values = [("a", "0"), ("b", "1\t2\t3"), ("c", "7")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            values: Rc::new(RefCell::new(values.into())),
            unmounted: Rc::default(),
            used: Rc::default(),
            refuse: Rc::default(),
            written: Rc::default(),
            boot: "boot",
            namespace: 1,
            directory: directory.to_owned(),
        }
    }

    /// Whether no value is accepted from now on.
    pub(crate) fn refuse(&self, refuse: bool) {
        *self.refuse.borrow_mut() = refuse;
    }

    pub(crate) fn put(&self, name: &str, value: &str) {
        self.values
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
    }
}

impl System for Fake {
    fn get(&self, name: &str) -> Result<String, SysctlError> {
        let found = self.values.borrow().get(name).cloned();
        found.ok_or_else(|| SysctlError::Missing(name.to_owned()))
    }

    fn set(&self, name: &str, value: &str) -> Result<(), SysctlError> {
        // Whatever is set, the way back is on disk already.
        let text = fs::read_to_string(self.directory.join("undo.json")).unwrap();
        assert!(text.contains(&format!("\"name\": \"{name}\"")), "{text}");
        *self.written.borrow_mut() = text;
        if *self.refuse.borrow() {
            let (name, value) = (name.to_owned(), value.to_owned());
            return Err(SysctlError::Refused { name, value });
        }
        self.put(name, value);
        Ok(())
    }

    fn is_empty(&self, _path: &Path) -> Result<bool, SystemError> {
        Ok(!*self.used.borrow())
    }

    fn unmount(&self, path: &Path) -> Result<(), SystemError> {
        self.unmounted.borrow_mut().push(path.to_owned());
        Ok(())
    }

    fn boot_id(&self) -> Result<String, SystemError> {
        Ok(self.boot.to_owned())
    }

    fn network_namespace(&self) -> Result<u64, SystemError> {
        Ok(self.namespace)
    }
}

fn open(fake: &Fake) -> Journal<Fake> {
    Journal::open_with(&fake.directory, fake.clone()).unwrap()
}

fn file(fake: &Fake) -> PathBuf {
    fake.directory.join("undo.json")
}

#[test]
fn changes_and_restores() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(&directory.path().join("made"));
    let mut journal = open(&fake);
    journal.change("a", "1").unwrap();
    journal.record_mount(Path::new("/m")).unwrap();
    journal.record_mount(Path::new("/m")).unwrap();
    journal.change("a", "2").unwrap();
    assert_eq!(fake.get("a").unwrap(), "2");
    assert_eq!(journal.changes().len(), 2);
    let mode = fs::metadata(file(&fake)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let outcomes = journal.restore_all().unwrap();
    assert!(matches!(&outcomes[0], Outcome::Unmounted { .. }));
    assert!(matches!(&outcomes[1], Outcome::Restored { value, .. } if value == "0"));
    assert_eq!(fake.get("a").unwrap(), "0");
    assert!(!file(&fake).exists());
    assert!(journal.restore_all().unwrap().is_empty());
}

#[test]
fn a_value_that_is_there_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    open(&fake).change("b", "1 2 3").unwrap();
    assert!(!file(&fake).exists());
}

#[test]
fn a_refused_value_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    let mut journal = open(&fake);
    *fake.refuse.borrow_mut() = true;
    assert!(matches!(
        journal.change("a", "9"),
        Err(UndoError::Sysctl(_))
    ));
    assert!(journal.change("none", "9").is_err());
    assert!(journal.changes().is_empty());
    assert!(!file(&fake).exists());
}

#[test]
fn what_was_undone_but_not_written_down_is_so_the_next_time() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(&directory.path().join("state"));
    let mut journal = open(&fake);
    journal.change("a", "1").unwrap();
    journal.change("c", "8").unwrap();
    // In the way of the new file, whoever writes it.
    let new = fake.directory.join("undo.json.new");
    fs::create_dir(&new).unwrap();
    assert!(journal.restore("a").is_err());
    assert_eq!(journal.changes().len(), 2);
    fs::remove_dir(&new).unwrap();
    let outcome = journal.restore("a").unwrap().unwrap();
    assert!(matches!(outcome, Outcome::AlreadyThere { .. }));
    assert_eq!(open(&fake).changes().len(), 1);
}

#[test]
fn a_change_is_not_made_when_its_condition_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    let mut journal = open(&fake);
    assert!(!journal.change_if("a", "1", || Ok(false)).unwrap());
    assert_eq!(fake.get("a").unwrap(), "0");
    assert!(!file(&fake).exists());
    assert!(journal.change_if("a", "1", || Ok(true)).unwrap());
    assert_eq!(fake.get("a").unwrap(), "1");
}

#[test]
fn what_somebody_changed_stays() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    let mut journal = open(&fake);
    journal.change("a", "1").unwrap();
    fake.put("a", "5");
    let outcomes = journal.restore_all().unwrap();
    assert_eq!(fake.get("a").unwrap(), "5");
    let text = outcomes[0].to_string();
    assert!(
        text.contains("left at 5") && text.contains("to 1"),
        "{text}"
    );
    assert!(!file(&fake).exists());
}

#[test]
fn what_others_use_stays_mounted() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    let mut journal = open(&fake);
    journal.record_mount(Path::new("/m")).unwrap();
    *fake.used.borrow_mut() = true;
    let outcomes = journal.restore_all().unwrap();
    assert!(
        matches!(&outcomes[0], Outcome::LeftMounted { .. }),
        "{outcomes:?}"
    );
    assert!(fake.unmounted.borrow().is_empty());
    // It is the others' now.
    assert!(journal.changes().is_empty() && !file(&fake).exists());
}

#[test]
fn a_directory_is_empty_when_only_the_kernels_own_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert!(Kernel.is_empty(&path.join("none")).unwrap());
    assert!(Kernel.is_empty(path).unwrap());
    fs::write(path.join("maps.debug"), "").unwrap();
    assert!(Kernel.is_empty(path).unwrap());
    fs::write(path.join("mine"), "").unwrap();
    assert!(!Kernel.is_empty(path).unwrap());
}

#[test]
fn what_fails_stays_in_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    let mut journal = open(&fake);
    journal.change("a", "1").unwrap();
    *fake.refuse.borrow_mut() = true;
    let outcomes = journal.restore_all().unwrap();
    assert!(
        matches!(&outcomes[0], Outcome::Failed { .. }),
        "{outcomes:?}"
    );
    drop(journal);
    *fake.refuse.borrow_mut() = false;
    let mut journal = open(&fake);
    assert_eq!(journal.leftovers().changes.len(), 1);
    journal.restore_all().unwrap();
    assert_eq!(fake.get("a").unwrap(), "0");
}

#[test]
fn a_boot_undoes_everything() {
    let directory = tempfile::tempdir().unwrap();
    let mut fake = Fake::new(directory.path());
    open(&fake).change("a", "1").unwrap();
    fake.boot = "next";
    let journal = open(&fake);
    assert!(journal.leftovers().discarded);
    assert!(journal.changes().is_empty());
    assert!(!file(&fake).exists());
}

#[test]
fn another_namespaces_journal_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut fake = Fake::new(directory.path());
    open(&fake).change("a", "1").unwrap();
    fake.namespace = 2;
    let mut journal = open(&fake);
    let aside = directory.path().join("undo.1.json");
    assert_eq!(journal.leftovers().elsewhere, Some((1, aside)));
    journal.change("c", "1").unwrap();
    assert_eq!(journal.restore_all().unwrap().len(), 1);
    assert_eq!(fake.get("a").unwrap(), "1");

    fake.namespace = 1;
    let mut journal = open(&fake);
    assert_eq!(journal.leftovers().changes.len(), 1);
    journal.restore_all().unwrap();
    assert_eq!(fake.get("a").unwrap(), "0");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_journal_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    for text in [
        "{",
        r#"{"version":2,"boot_id":"boot","network_namespace":1,"changes":[]}"#,
    ] {
        fs::write(file(&fake), text).unwrap();
        let error = Journal::open_with(directory.path(), fake.clone()).unwrap_err();
        assert!(
            matches!(error, UndoError::File(FileError::Unreadable { .. })),
            "{error}"
        );
        assert_eq!(fs::read_to_string(file(&fake)).unwrap(), text);
    }
}

/// Any row of changes, restores and crashes ends where it began.
#[test]
fn restores_exactly_what_was_there() {
    let mut seed = 1u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for _ in 0..100 {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::new(directory.path());
        let before = fake.values.borrow().clone();
        let mut journal = open(&fake);
        for _ in 0..random(12) {
            let name = ["a", "b", "c"][random(3) as usize];
            let value = random(4).to_string();
            match random(6) {
                // A crash after the journal was written and before the value was set.
                0 => {
                    *fake.refuse.borrow_mut() = true;
                    let refused = journal.change(name, &value).is_err();
                    *fake.refuse.borrow_mut() = false;
                    drop(journal);
                    if refused {
                        fs::write(file(&fake), fake.written.borrow().as_str()).unwrap();
                    }
                    journal = open(&fake);
                }
                1 => {
                    drop(journal);
                    journal = open(&fake);
                }
                2 => drop(journal.restore_all().unwrap()),
                _ => journal.change(name, &value).unwrap(),
            }
        }
        drop(journal);
        let outcomes = open(&fake).restore_all().unwrap();
        assert_eq!(*fake.values.borrow(), before, "{outcomes:?}");
        assert!(!file(&fake).exists());
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// What may happen between the start of a guard and its end.
    #[derive(Clone, Debug)]
    enum Step {
        /// The guard changes a setting.
        Change(usize, u8),
        /// It takes one back.
        Restore(usize),
        /// It is killed, and started again.
        Crash,
        /// Somebody else changes a setting.
        Outside(usize, u8),
    }

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3_usize, 0..4_u8).prop_map(|(name, value)| Step::Change(name, value)),
            2 => (0..3_usize).prop_map(Step::Restore),
            1 => Just(Step::Crash),
        ]
    }

    /// The same with somebody else who changes settings.
    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => step(),
            1 => (0..3_usize, 10..14_u8).prop_map(|(name, value)| Step::Outside(name, value)),
        ]
    }

    /// Walks the steps and undoes everything; the settings at first, at last,
    /// and which ones somebody else has touched.
    fn walk(
        steps: &[Step],
    ) -> (
        BTreeMap<String, String>,
        BTreeMap<String, String>,
        Vec<bool>,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::new(directory.path());
        fake.put("b", "1");
        let first = fake.values.borrow().clone();
        let mut touched = vec![false; NAMES.len()];
        let mut journal = open(&fake);
        for step in steps {
            match *step {
                Step::Change(name, value) => {
                    journal.change(NAMES[name], &value.to_string()).unwrap()
                }
                Step::Restore(name) => drop(journal.restore(NAMES[name]).unwrap()),
                Step::Crash => journal = open(&fake),
                Step::Outside(name, value) => {
                    fake.put(NAMES[name], &value.to_string());
                    touched[name] = true;
                }
            }
        }
        journal.restore_all().unwrap();
        assert!(!file(&fake).exists(), "{steps:?}");
        let last = fake.values.borrow().clone();
        (first, last, touched)
    }

    proptest! {
        // Every step is on disk before it is made.
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn undo_restores_exactly_what_was_there(steps in prop::collection::vec(step(), 0..40)) {
            let (first, last, _) = walk(&steps);
            prop_assert_eq!(first, last);
        }

        #[test]
        fn what_somebody_else_touches_changes_nothing_of_the_rest(
            steps in prop::collection::vec(any_step(), 0..40),
        ) {
            let (first, last, touched) = walk(&steps);
            for (name, touched) in NAMES.iter().zip(touched) {
                prop_assert!(touched || first[*name] == last[*name], "{}: {:?}", name, last);
            }
        }

        #[test]
        fn what_somebody_else_set_last_stays(
            steps in prop::collection::vec(any_step(), 0..40),
            name in 0..3_usize,
        ) {
            let mut steps = steps;
            steps.push(Step::Outside(name, 99));
            let (_, last, _) = walk(&steps);
            prop_assert_eq!(last[NAMES[name]].as_str(), "99");
        }
    }
}
