//! The three lines of embedding, in a loop that fits a network to a sine.
//!
//! `cargo run --release --example quickstart`
//!
//! Prints a line every twenty steps and a table at the end, such as
//! ```text
//! step 180 loss 0.0280 |g| 2.4094e-1 flips 1.0%
//! parameter      elements        min       max        L1        L2  ~0 (1)  ~0 (2)  flips  nonfinite
//! hidden.weight        64  -8.963e-2  8.768e-2  1.075e-1  1.889e-2    0.0%    1.1%  33.4%          0
//! ```

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Tanh};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use gradscope::{Event, Scope};

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    output: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self { hidden: LinearConfig::new(1, 64).init(device), output: LinearConfig::new(64, 1).init(device) }
    }

    fn loss(&self, x: Tensor<2>) -> Tensor<1> {
        let wanted = (x.clone() * 3.0).sin();
        let found = self.output.forward(Tanh::new().forward(self.hidden.forward(x)));
        (found - wanted).powf_scalar(2.0).mean()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = gradscope::device()?;
    let training = device.burn().clone().autodiff();
    training.seed(1);
    let mut model = Net::new(&training);
    let mut optimizer = AdamConfig::new().init();

    let mut scope = Scope::builder(&device).build(&model)?; // one
    println!("observing {} parameters on {}", scope.params().len(), device.describe());
    for step in 0..200 {
        let x = Tensor::<2>::random([64, 1], Distribution::Uniform(-1.0, 1.0), &training);
        let loss = model.loss(x);
        let grads = loss.backward();
        scope.step(step).scalar("loss", &loss).gradients(&model, &grads).submit(); // two
        let grads = GradientsParams::from_grads(grads, &model);
        model = optimizer.step(1e-2, model, grads);
        for event in scope.poll() {
            match event {
                Event::Record(record) if record.step % 20 != 0 => {}
                event => println!("{event}"),
            }
        }
    }
    println!("{}", scope.finish(&model).summary); // three
    Ok(())
}
