//! Random bits, lengths, shapes, strides and offsets: shader, twin and oracle agree on all of them.
//!
//! `GRADSCOPE_FUZZ_CASES` says how many, `GRADSCOPE_FUZZ_FIRST` which comes first (`make fuzz`: others every time). A case
//! that fails names itself.

use crate::fixture::{Random, Values, check_records, check_weights, device, random_weights, variant};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use gradscope::{Event, Notice, NoticeKind, Scope, Stats};

const STEP_COUNT: usize = 3;

/// Runs `case` for as many numbers as are asked for, and says which one fails.
fn each_case(default_count: u64, mut case: impl FnMut(&mut Random, &str)) {
    let asked = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    let first = asked("GRADSCOPE_FUZZ_FIRST").unwrap_or(0);
    let count = asked("GRADSCOPE_FUZZ_CASES").unwrap_or(default_count);
    for number in first..first + count {
        let name = format!("GRADSCOPE_FUZZ_FIRST={number} GRADSCOPE_FUZZ_CASES=1");
        case(&mut Random::new(number.wrapping_mul(0x2545_f491_4f6c_dd1d)), &name);
    }
}

#[test]
fn any_bits_at_any_lengths() {
    each_case(4, |random, name| {
        eprintln!("{name}");
        let lens: Vec<usize> = (0..1 + random.below(4)).map(|_| random.len(17)).collect();
        let steps: Vec<Values> = (0..STEP_COUNT)
            .map(|_| {
                let kind = random.below(4);
                let value = |random: &mut Random| match kind {
                    0 | 1 => f32::from_bits(random.bits()),
                    2 => random.poison(),
                    _ => random.gradient(),
                };
                let values = |len: &usize| (random.below(8) > 0).then(|| (0..*len).map(|_| value(random)).collect());
                lens.iter().map(values).collect()
            })
            .collect();
        check_weights(&device(), |builder| builder, &lens, &steps, &random_weights(&lens, STEP_COUNT));
    });
}

#[derive(Module, Debug)]
struct Kernel {
    weight: Param<Tensor<4>>,
}

/// How a tensor lies: cut out of a larger one whose dimensions stand in another order, some of them repeated.
#[derive(Clone, Debug)]
struct Lie {
    order: [usize; 4],
    before: [usize; 4],
    behind: [usize; 4],
    repeated: [bool; 4],
}

impl Lie {
    fn any(random: &mut Random) -> Self {
        let mut order = [0, 1, 2, 3];
        for place in (1..4).rev() {
            order.swap(place, random.below(place + 1));
        }
        let cut = random.below(3) == 0;
        let mut margin = || [(); 4].map(|()| if cut && random.below(2) == 0 { random.below(9) } else { 0 });
        let (before, behind) = (margin(), margin());
        let repeats = random.below(6) == 0;
        Self { order, before, behind, repeated: [(); 4].map(|()| repeats && random.below(3) == 0) }
    }

    /// A tensor of this shape, of values that `value` makes.
    fn tensor(&self, shape: [usize; 4], mut value: impl FnMut() -> f32, device: &burn::tensor::Device) -> Tensor<4> {
        let held = |dim: usize| if self.repeated[dim] { 1 } else { shape[dim] };
        let source = self.order.map(|dim| self.before[dim] + held(dim) + self.behind[dim]);
        let values: Vec<f32> = (0..source.iter().product()).map(|_| value()).collect();
        let mut back = [0; 4];
        self.order.iter().enumerate().for_each(|(place, &dim)| back[dim] = place as isize);
        let cut = [0, 1, 2, 3].map(|dim| self.before[dim]..self.before[dim] + held(dim));
        Tensor::<4>::from_data(TensorData::new(values, source), device).permute(back).slice(cut).expand(shape)
    }
}

fn values(tensor: &Tensor<4>) -> Vec<f32> {
    tensor.clone().into_data().try_to_vec().expect("f32")
}

#[test]
fn any_shape_however_it_lies() {
    let device = device();
    let (mut case_count, mut reset_count) = (0, 0);
    each_case(40, |random, name| {
        case_count += 1;
        let shape = [(); 4].map(|()| random.len(5));
        let [gradient_lie, weight_lie] = [(); 2].map(|()| Lie::any(random));
        let groups = [Stats::BASIC, Stats::DYNAMICS, Stats::FULL, Stats::FULL | Stats::COSINE | Stats::EMA];
        let groups = groups[random.below(groups.len())];
        eprintln!("{name}: {shape:?}, {groups}, gradient {gradient_lie:?}, weight {weight_lie:?}");
        let moves = random.below(3) == 0;
        let lay_weight = |random: &mut Random| {
            let lie = if moves { Lie::any(random) } else { weight_lie.clone() };
            lie.tensor(shape, || random.poison(), device.burn())
        };
        let mut model = Kernel { weight: Param::from_tensor(lay_weight(random)) };
        let builder = variant(Scope::builder(&device).stats(groups));
        let mut scope = builder.build(&model).expect("the model is observable");
        let (mut steps, mut weights) = (Vec::new(), Vec::new());
        for step in 0..STEP_COUNT {
            let gradient = gradient_lie.tensor(shape, || random.poison(), device.burn());
            steps.push(vec![Some(values(&gradient))]);
            weights.push(vec![values(&model.weight.val())]);
            let mut gradients = GradientsParams::new();
            gradients.register(model.weight.id, gradient);
            scope.step(step as u64).gradients(&model, &gradients).submit();
            model = Kernel { weight: Param::initialized(model.weight.id, lay_weight(random)) };
        }
        weights.push(vec![values(&model.weight.val())]);
        let events = scope.finish(&model).events;
        let mut records = Vec::new();
        for event in events {
            match event {
                Event::Record(record) => records.push(record),
                // Where a slice comes to lie is burn's choice, and not always the same.
                Event::Notice(Notice { kind: NoticeKind::HistoryReset { .. }, .. }) => {
                    reset_count += 1;
                    return;
                }
                Event::Notice(notice) if notice.kind.is_fault() => panic!("{notice}"),
                _ => {}
            }
        }
        check_records(&records, groups, &[shape.iter().product()], &steps, &weights);
    });
    assert!(reset_count <= 1 + case_count / 20, "{reset_count} of {case_count} cases were not compared");
}
