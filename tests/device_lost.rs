//! The device goes while steps are in flight. A process of its own: the device is the process's.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Distribution, Gradients, Tensor};
use gradscope::{Device, Event, NoticeKind, Scope};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longer than any driver takes, and shorter than anybody waits.
const PATIENCE: Duration = Duration::from_secs(60);

fn gradients(model: &Linear, device: &burn::tensor::Device) -> Gradients {
    model.forward(Tensor::<2>::random([4, 64], Distribution::Default, device)).mean().backward()
}

#[test]
fn a_device_that_goes_is_told_of_and_nothing_waits_for_it() {
    let (burn, setup) = burn::tensor::Device::wgpu_options()
        .init_with_setup()
        .expect("this test needs a wgpu adapter; software Vulkan will do");
    let device = Device::attach(burn, &setup);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = dir.path().to_owned();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let training = device.burn().clone().autodiff();
        let model = LinearConfig::new(64, 64).init(&training);
        let mut scope = Scope::builder(&device).run(folder).build(&model).expect("a scope");
        for step in 0..5 {
            scope.step(step).gradients(&model, &gradients(&model, &training)).submit();
        }
        scope.read(4).expect("a step of a device that is there");
        let made: Vec<Gradients> = (0..3).map(|_| gradients(&model, &training)).collect();
        device.burn().sync().expect("a device that is there");
        setup.device.destroy();
        for (step, gradients) in (5..).zip(&made) {
            scope.step(step).gradients(&model, gradients).submit();
            scope.poll();
        }
        let _ = tell.send(scope.finish(&model));
    });
    let finished = told.recv_timeout(PATIENCE).expect("nobody waits for a device that is gone");
    let lost: Vec<u64> = finished
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Notice(notice) if matches!(notice.kind, NoticeKind::StepLost { .. }) => Some(notice.step),
            _ => None,
        })
        .collect();
    let run = gradscope::Run::open(finished.folder.expect("a folder")).expect("a run");
    let mut steps = Vec::new();
    run.each_record(|record| steps.push(record.step)).expect("its records");
    assert_eq!(steps, [0, 1, 2, 3, 4], "what came before is kept");
    assert_eq!(run.manifest().lost_count, 3);
    assert_eq!(lost, [5, 6, 7]);
}
