//! Which parameters a pattern means.

use super::{Places, walk};
use crate::error::Error;
use crate::record::Param;
use regex::Regex;

/// For each path, by its key, the selected tensor, and the table of those.
pub fn selected(table: &[Param], include: Option<&str>, exclude: Option<&str>) -> Result<(Places, Vec<Param>), Error> {
    if table.is_empty() {
        return Err(Error::NoParameters);
    }
    if let Some(param) = table.iter().find(|param| param.numel > u64::from(u32::MAX)) {
        return Err(Error::TensorTooLarge { path: param.path.clone(), numel: param.numel });
    }
    let (include, exclude) = (compile(include)?, compile(exclude)?);
    for pattern in [&include, &exclude].into_iter().flatten() {
        if !table.iter().any(|param| pattern.is_match(&param.path)) {
            return Err(nothing_selected(pattern.as_str(), table));
        }
    }
    let mut places = Places::with_capacity(table.len());
    let mut params = Vec::new();
    for param in table {
        let selected = include.as_ref().is_none_or(|pattern| pattern.is_match(&param.path))
            && !exclude.as_ref().is_some_and(|pattern| pattern.is_match(&param.path));
        places.insert(walk::path_key(param.path.split('.')), selected.then_some(params.len()));
        params.extend(selected.then(|| param.clone()));
    }
    match (params.is_empty(), &include, &exclude) {
        (true, Some(include), _) => Err(nothing_selected(&format!("{include} without the excluded"), table)),
        (true, None, Some(exclude)) => Err(nothing_selected(&format!("all but {exclude}"), table)),
        _ => Ok((places, params)),
    }
}

/// Places of the parameters whose path matches.
pub fn matching(pattern: &str, params: &[Param]) -> Result<Vec<usize>, Error> {
    let Some(regex) = compile(Some(pattern))? else { return Ok(vec![]) };
    let places: Vec<usize> = (0..params.len()).filter(|&place| regex.is_match(&params[place].path)).collect();
    if places.is_empty() { Err(nothing_selected(pattern, params)) } else { Ok(places) }
}

fn nothing_selected(pattern: &str, params: &[Param]) -> Error {
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
