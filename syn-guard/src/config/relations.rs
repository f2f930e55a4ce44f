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
    both_lists(layer, "lists.allow", "lists.deny", &mut problems);
    both_lists(
        layer,
        "lists.allow_files",
        "lists.deny_files",
        &mut problems,
    );
    unguarded_services(layer, options, &mut problems);
    problems
}

/// A prefix or a file that is allowed and denied.
fn both_lists(layer: &Layer, allow: &str, deny: &str, problems: &mut Vec<Problem>) {
    let allowed: HashMap<_, _> = elements(layer, allow).collect();
    for (element, place) in elements(layer, deny) {
        let Some(allowed) = allowed.get(element) else {
            continue;
        };
        let also = allowed
            .as_ref()
            .map_or_else(String::new, |place| format!(" (line {})", place.line));
        problems.push(problem(
            place,
            format!("{deny} has {element}, which {allow} has too{also}: take it out of one"),
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

/// The elements of a list, and where they stand.
pub(super) fn elements<'a>(
    layer: &'a Layer,
    path: &str,
) -> impl Iterator<Item = (&'a str, Option<Place>)> + use<'a> {
    let path = KeyPath::parse(path).ok();
    let setting = path.and_then(|path| layer.get(&path));
    setting.into_iter().flat_map(|setting| {
        let list = setting.value.list().iter().enumerate();
        list.map(|(index, value)| {
            let place = match (&setting.origin, setting.elements.get(index)) {
                (Origin::File(place), Some((line, column))) => Some(Place {
                    file: place.file.clone(),
                    line: *line,
                    column: *column,
                }),
                _ => None,
            };
            (value.text(), place)
        })
    })
}
