//! What must hold between keys.

use std::collections::HashMap;

use super::effective::Layer;
use super::error::Problem;
use super::place::{Origin, Place};
use super::schema::KeyPath;
use crate::controller::Options;

/// What is wrong between keys that are each right.
pub(super) fn problems(layer: &Layer, options: &Options) -> Vec<Problem> {
    let mut problems = Vec::new();
    both_lists(layer, options, &mut problems);
    unguarded_services(layer, options, &mut problems);
    problems
}

/// A prefix that is allowed and denied.
fn both_lists(layer: &Layer, options: &Options, problems: &mut Vec<Problem>) {
    let allowed: HashMap<_, _> = options
        .lists
        .allow
        .iter()
        .enumerate()
        .map(|(index, prefix)| (prefix, index))
        .collect();
    for (index, prefix) in options.lists.deny.iter().enumerate() {
        let Some(allow) = allowed.get(prefix) else {
            continue;
        };
        let also = element(layer, "lists.allow", *allow)
            .map_or_else(String::new, |place| format!(" (line {})", place.line));
        problems.push(problem(
            element(layer, "lists.deny", index),
            format!("lists.deny has {prefix}, which lists.allow has too{also}: take it out of one"),
        ));
    }
}

/// A service whose port is not among those to guard.
fn unguarded_services(layer: &Layer, options: &Options, problems: &mut Vec<Problem>) {
    let mut said = None;
    for (path, setting) in layer.iter().filter(|(path, _)| path.port != 0) {
        let port = path.port;
        if options.ports.is_empty() || options.ports.contains(&port) || said == Some(port) {
            continue;
        }
        said = Some(port);
        let place = match &setting.origin {
            Origin::File(place) => Some(place.clone()),
            _ => None,
        };
        problems.push(problem(
            place,
            format!("{path}: guard.ports leaves port {port} out: add it there, or take [services.{port}] out"),
        ));
    }
}

fn problem(place: Option<Place>, text: String) -> Problem {
    Problem { place, text }
}

/// Where an element of a list stands.
fn element(layer: &Layer, path: &str, index: usize) -> Option<Place> {
    let setting = layer.get(&KeyPath::parse(path).ok()?)?;
    let (line, column) = *setting.elements.get(index)?;
    match &setting.origin {
        Origin::File(place) => Some(Place {
            line,
            column,
            ..place.clone()
        }),
        _ => None,
    }
}
