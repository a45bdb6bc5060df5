//! That burn still updates in place while it is watched. A process of its own: the pools are the process's.

use burn::module::Param;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Distribution, Gradients, Tensor};
use gradscope::{Device, Scope, Stats};

/// 16 MiB a gradient.
const WIDTH: usize = 2048;

fn model(device: &burn::tensor::Device) -> Linear {
    // Without random numbers, whose making would take more memory than training does.
    LinearConfig::new(WIDTH, WIDTH).with_initializer(Initializer::Constant { value: 1e-3 }).init(device)
}

/// Trains a little and tells the bytes burn's pools hold afterwards: they grow to the peak and stay there.
fn reserved_bytes(device: &Device, mut watch: impl FnMut(u64, &Linear, &Gradients)) -> u64 {
    device.burn().sync().unwrap();
    device.burn().memory_cleanup();
    let training = device.burn().clone().autodiff();
    let mut model = model(&training);
    let mut optimizer = SgdConfig::new().with_momentum(Some(MomentumConfig::new())).init();
    for step in 0..6 {
        let input = Tensor::<2>::random([2, WIDTH], Distribution::Default, &training);
        let gradients = model.forward(input).mean().backward();
        watch(step, &model, &gradients);
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(0.1, model, gradients);
        // Let the queue run empty, so that the peak is one step's and not that of several in flight.
        device.burn().sync().unwrap();
    }
    device.burn().memory_pool_usage().expect("a cube device has pools").bytes_reserved
}

#[test]
fn in_place_updates_are_not_lost() {
    let device = gradscope::device().expect("this test needs a wgpu adapter; software Vulkan will do");
    // Once for what only a first time allocates.
    reserved_bytes(&device, |_, _, _| {});
    let bare = reserved_bytes(&device, |_, _, _| {});
    let mut scope = Scope::builder(&device).build(&model(device.burn())).unwrap();
    let watched = reserved_bytes(&device, |step, model, gradients| {
        scope.step(step).gradients(model, gradients).submit();
    });
    eprintln!("bytes reserved: {bare} bare, {watched} watched");
    let gradient_bytes = (WIDTH * WIDTH * 4) as u64;
    // Small pages come and go with other things: a lost in-place update costs a whole gradient.
    assert!(watched < bare + gradient_bytes / 8, "{watched} bytes watched, {bare} bare");

    // What `Updates` costs: one more copy of the parameters, and not one more of anything.
    let mut updates = Scope::builder(&device).stats(Stats::UPDATES).build(&model(device.burn())).unwrap();
    let moving = reserved_bytes(&device, |step, model, gradients| {
        updates.step(step).gradients(model, gradients).submit();
    });
    eprintln!("bytes reserved: {moving} with updates");
    assert!(moving >= watched + gradient_bytes / 2, "{moving} bytes with updates, {watched} without: is w' kept?");
    assert!(moving < watched + gradient_bytes + gradient_bytes / 2, "{moving} bytes with updates, {watched} without");
    drop(updates);

    // The measure itself: clones of gradients kept across updates cost their memory.
    let mut kept: Vec<Tensor<2>> = Vec::new();
    let cloned = reserved_bytes(&device, |step, model, gradients| {
        scope.step(100 + step).gradients(model, gradients).submit();
        let weight: &Param<Tensor<2>> = &model.weight;
        kept.extend(weight.val().grad(gradients));
    });
    assert!(cloned >= watched + 4 * gradient_bytes, "{cloned} bytes with 6 clones kept, {watched} without");
}
