//! The model as layers, in the order of the module: parameters whose paths differ in the last component alone.

use crate::record::Param;
use std::ops::Range;

pub(super) struct Layers {
    /// Name and places of each layer. Its parameters lie side by side, as the walk visits them.
    layers: Vec<(String, Range<usize>)>,
    /// Places of trainable parameters of rank 2 and more, in order.
    weights: Vec<usize>,
    /// For each place, the square root of its inputs: what a weight's spread is weighed by.
    fan_in_sqrt: Vec<Option<f64>>,
}

impl Layers {
    pub fn new(params: &[Param]) -> Self {
        let mut layers: Vec<(String, Range<usize>)> = Vec::new();
        for (place, param) in params.iter().enumerate() {
            let name = param.path.rsplit_once('.').map_or(param.path.as_str(), |(layer, _)| layer);
            match layers.last_mut() {
                Some((last, places)) if last == name => places.end = place + 1,
                _ => layers.push((name.to_owned(), place..place + 1)),
            }
        }
        let weights = (0..params.len()).filter(|&place| params[place].trainable && params[place].shape.len() >= 2);
        Self { layers, weights: weights.collect(), fan_in_sqrt: params.iter().map(fan_in_sqrt).collect() }
    }

    pub fn len(&self) -> usize {
        self.layers.len()
    }

    pub fn name(&self, layer: usize) -> &str {
        &self.layers[layer].0
    }

    pub fn places(&self, layer: usize) -> Range<usize> {
        self.layers[layer].1.clone()
    }

    pub fn weights(&self) -> &[usize] {
        &self.weights
    }

    /// Standard deviation times this is 1 where a layer keeps the size of what goes through it. `None` for what is no
    /// matrix of a layer: vectors, and tables that rows are looked up in.
    pub fn fan_in_sqrt(&self, place: usize) -> Option<f64> {
        self.fan_in_sqrt[place]
    }
}

/// burn's `Linear` has inputs first, convolutions have them after the outputs.
fn fan_in_sqrt(param: &Param) -> Option<f64> {
    let name = param.path.to_lowercase();
    if !param.trainable
        || ["emb", "token", "position", "words", "vocab", "wte", "wpe", "lookup", "table"]
            .iter()
            .any(|part| name.contains(part))
    {
        return None;
    }
    let fan_in = match param.shape.as_slice() {
        // Tables that rows are looked up in are long, and a leading 1 is there to be broadcast.
        [] | [_] | [1, _, _, ..] => return None,
        [rows, columns] if *rows >= 256 && *rows >= 16 * columns => return None,
        [inputs, _] => *inputs,
        [_, kernel @ ..] => kernel.iter().product(),
    };
    (fan_in > 0).then(|| (fan_in as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_follow_the_paths() {
        let param = |path: &str, shape: &[usize]| Param::new(path, shape.to_vec());
        let layers = Layers::new(&[
            param("a.conv.weight", &[8, 4, 3, 3]),
            param("a.conv.bias", &[8]),
            param("a.embed.weight", &[100, 8]),
            param("scale", &[1]),
        ]);
        let named: Vec<_> = (0..layers.len()).map(|n| (layers.name(n), layers.places(n))).collect();
        assert_eq!(named, [("a.conv", 0..2), ("a.embed", 2..3), ("scale", 3..4)]);
        assert_eq!(layers.weights(), [0, 2]);
        assert_eq!([0, 1, 2, 3].map(|place| layers.fan_in_sqrt(place)), [Some(6.0), None, None, None]);
    }
}
