//! A causal transformer over letters.

use burn::config::Config;
use burn::module::Module;
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};

/// What a [`CharTransformer`] is made of.
#[derive(Config, Debug)]
pub struct CharTransformerConfig {
    /// Letters that it tells apart.
    pub letter_count: usize,
    /// Letters that it sees at a time.
    pub context_len: usize,
    /// Numbers that stand for a letter inside of the network; a multiple of `head_count`.
    #[config(default = 64)]
    pub width: usize,
    /// Blocks of attention and two linear layers, one behind the other.
    #[config(default = 2)]
    pub block_count: usize,
    /// Heads of each block's attention.
    #[config(default = 4)]
    pub head_count: usize,
}

/// Embeddings of letters and of places, blocks of attention and two linear layers, each behind its layer norm, and a linear head.
#[derive(Module, Debug)]
pub struct CharTransformer {
    letters: Embedding,
    places: Embedding,
    blocks: TransformerEncoder,
    head: Linear,
}

impl CharTransformerConfig {
    /// The network with new weights on `device`. It takes any [`Tensor`] of letters up to `context_len` long.
    pub fn init(&self, device: &Device) -> CharTransformer {
        let embedding = |count| {
            let initializer = Initializer::Normal { mean: 0.0, std: 0.02 };
            EmbeddingConfig::new(count, self.width).with_initializer(initializer).init(device)
        };
        let blocks = TransformerEncoderConfig::new(self.width, 4 * self.width, self.head_count, self.block_count)
            .with_dropout(0.0)
            .with_norm_first(true);
        CharTransformer {
            letters: embedding(self.letter_count),
            places: embedding(self.context_len),
            blocks: blocks.init(device),
            head: LinearConfig::new(self.width, self.letter_count).init(device),
        }
    }
}

impl CharTransformer {
    /// For each of the letters (batch x context), how likely each letter is to come next: scores, before softmax.
    pub fn forward(&self, letters: Tensor<2, Int>) -> Tensor<3> {
        let ([batch, len], device) = (letters.dims(), letters.device());
        let places = Tensor::<1, Int>::arange(0..len as i64, &device).reshape([1, len]);
        let hidden = self.letters.forward(letters) + self.places.forward(places);
        let mask = generate_autoregressive_mask(batch, len, &device);
        self.head.forward(self.blocks.forward(TransformerEncoderInput::new(hidden).mask_attn(mask)))
    }
}
