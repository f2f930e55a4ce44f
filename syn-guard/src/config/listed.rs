//! The files of prefixes that a configuration names.

use std::path::Path;

use super::effective::Layer;
use super::error::Problem;
use super::relations::elements;
use crate::prefixes::{ListFileError, read};

/// What is wrong with them.
pub(super) fn problems(layer: &Layer) -> Vec<Problem> {
    let mut problems = Vec::new();
    for list in ["lists.allow_files", "lists.deny_files"] {
        for (file, place) in elements(layer, list) {
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
