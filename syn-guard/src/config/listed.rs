//! The files of prefixes that a configuration names.

use std::collections::HashSet;
use std::path::Path;

use super::effective::Layer;
use super::error::Problem;
use super::relations::elements;
use crate::prefixes::{ListFileError, read};

/// What is wrong with those that `layer` names and `before` does not.
pub(super) fn problems(layer: &Layer, before: &Layer) -> Vec<Problem> {
    let mut problems = Vec::new();
    for list in ["lists.allow_files", "lists.deny_files"] {
        let named: HashSet<_> = elements(before, list).map(|(file, _)| file).collect();
        for (file, place) in elements(layer, list) {
            if named.contains(file) {
                continue;
            }
            match read(Path::new(file)) {
                Ok(_) => {}
                // It says where in the file.
                Err(error @ ListFileError::Line { .. }) => {
                    problems.push(Problem::new(error.to_string()));
                }
                Err(error) => problems.push(Problem {
                    place,
                    text: format!("{list}: {error}"),
                }),
            }
        }
    }
    problems
}
