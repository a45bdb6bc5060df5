//! Which parameters a pattern means.

use super::Places;
use super::walk::{Table, TableEntry};
use crate::Error;
use burn::module::ParamId;
use gradscope_record::record::Param;
use regex::Regex;

/// What of a module is observed.
pub struct Selected {
    /// For each path, by its key, the selected tensor.
    pub places: Places,
    /// The selected tensors, in the module's order.
    pub params: Vec<Param>,
    /// Their ids when the scope was built.
    pub ids: Vec<ParamId>,
}

/// Selects by regular expressions, of which any path of a shared parameter may match.
pub fn selected(table: Table, include: Option<&str>, exclude: Option<&str>) -> Result<Selected, Error> {
    let Table { params: table, others, buffers } = table;
    let all: Vec<&Param> = table.iter().map(|param| &param.entry).collect();
    if all.is_empty() {
        return Err(Error::NoParameters);
    }
    if let Some(param) = all.iter().find(|param| param.numel > u64::from(u32::MAX)) {
        return Err(Error::TensorTooLarge { path: param.path.clone(), numel: param.numel });
    }
    let (include, exclude) = (compile(include)?, compile(exclude)?);
    let matches_any = |pattern: &Regex| all.iter().any(|param| is_match(pattern, param));
    // Buffers are left out anyway: to exclude them is no mistake.
    let is_of_buffers = |pattern: &Regex| buffers.iter().any(|path| pattern.is_match(path));
    let mistaken = include.iter().find(|pattern| !matches_any(pattern));
    let mistaken = mistaken.or(exclude.iter().find(|pattern| !matches_any(pattern) && !is_of_buffers(pattern)));
    if let Some(pattern) = mistaken {
        return Err(nothing_selected(pattern.as_str(), &all));
    }
    let is_selected = |param: &Param| {
        include.as_ref().is_none_or(|pattern| is_match(pattern, param))
            && !exclude.as_ref().is_some_and(|pattern| is_match(pattern, param))
    };
    if !all.iter().any(|param| is_selected(param)) {
        let asked = match (&include, &exclude) {
            (Some(include), _) => format!("{include} without the excluded"),
            (None, exclude) => format!("all but {}", exclude.as_ref().map_or("", Regex::as_str)),
        };
        return Err(nothing_selected(&asked, &all));
    }
    let mut found =
        Selected { places: others.into_iter().map(|key| (key, None)).collect(), params: vec![], ids: vec![] };
    for TableEntry { key, id, entry } in table {
        let selected = is_selected(&entry);
        found.places.insert(key, selected.then_some(found.params.len()));
        if selected {
            found.params.push(entry);
            found.ids.push(id);
        }
    }
    Ok(found)
}

fn is_match(pattern: &Regex, param: &Param) -> bool {
    pattern.is_match(&param.path) || param.tied.iter().any(|path| pattern.is_match(path))
}

/// Places of the parameters whose path matches.
pub fn matching(pattern: &str, params: &[Param]) -> Result<Vec<usize>, Error> {
    let Some(regex) = compile(Some(pattern))? else { return Ok(vec![]) };
    let places: Vec<usize> = (0..params.len()).filter(|&place| is_match(&regex, &params[place])).collect();
    if places.is_empty() { Err(nothing_selected(pattern, &params.iter().collect::<Vec<_>>())) } else { Ok(places) }
}

fn nothing_selected(pattern: &str, params: &[&Param]) -> Error {
    let examples: Vec<&str> = params.iter().take(5).map(|param| param.path.as_str()).collect();
    Error::NothingSelected { pattern: pattern.to_owned(), count: params.len(), examples: examples.join(", ") }
}

fn compile(pattern: Option<&str>) -> Result<Option<Regex>, Error> {
    pattern
        .map(|pattern| {
            Regex::new(pattern).map_err(|error| Error::BadPattern {
                pattern: pattern.to_owned(),
                reason: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
            })
        })
        .transpose()
}
