//! PyTorch's names for burn's parameters, and back.
//!
//! Of a path only the last component differs, and only in norms: burn's `gamma` and `beta` are PyTorch's `weight` and `bias`. A
//! linear layer's weight is `[in, out]` in burn and `[out, in]` in PyTorch. Both hold for models whose modules are named and nested
//! alike, as [`ResNet`](super::ResNet) is named after torchvision's; burn's attention, whose query, key and value are
//! parameters of their own, has no counterpart in PyTorch's.

use gradscope_record::record::Param;

/// PyTorch's name of the parameter at burn's `path`.
pub fn name(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((module, "gamma")) => format!("{module}.weight"),
        Some((module, "beta")) => format!("{module}.bias"),
        _ => path.to_owned(),
    }
}

/// burn's path of the parameter that PyTorch calls `name`, among `params`. `None` where no parameter has that name.
pub fn path<'a>(params: &'a [Param], name: &str) -> Option<&'a str> {
    params.iter().map(|param| param.path.as_str()).find(|path| self::name(path) == name)
}

/// The shape of `param` in PyTorch, if a matrix is a linear layer's weight: an embedding's, which lies alike in both, is turned round as well.
pub fn shape(param: &Param) -> Vec<usize> {
    let mut shape = param.shape.clone();
    if shape.len() == 2 {
        shape.reverse();
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        let paths = ["conv1.weight", "bn1.gamma", "bn1.beta", "layer1.0.downsample.1.gamma", "fc.weight", "fc.bias"];
        let names = ["conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.downsample.1.weight", "fc.weight", "fc.bias"];
        let param = |path: &str| Param::new(path, vec![10, 512]);
        let params = paths.map(param);
        for (path, name) in paths.into_iter().zip(names) {
            assert_eq!(super::name(path), name);
            assert_eq!(super::path(&params, name), Some(path));
        }
        assert_eq!(super::path(&params, "bn1.gamma"), None);
        assert_eq!(shape(&params[4]), [512, 10]);
    }
}
