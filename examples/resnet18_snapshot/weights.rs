//! Weights as PyTorch keeps them.

use crate::support::Outcome;
use burn::tensor::Device;
use burn_store::{ModuleSnapshot, ModuleStore, PyTorchToBurnAdapter, PytorchStore, SafetensorsStore};
use gradscope_models::{ResNet, ResNetConfig};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;

/// The network that the file has the weights of; without one, ResNet-18 with random ones.
pub fn model(file: Option<&Path>, key: Option<&str>, device: &Device) -> Outcome<ResNet> {
    let Some(file) = file else { return Ok(ResNetConfig::resnet18(1000).init(device)) };
    let is_safetensors = file.extension().is_some_and(|kind| kind == "safetensors");
    if is_safetensors && key.is_some() {
        return Err(format!("--key: {} has no parts to choose from", file.display()).into());
    }
    std::fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?;
    // A reader that meets what it has no answer to panics; what is said of it is said below.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let read = catch_unwind(AssertUnwindSafe(|| match is_safetensors {
        true => load(
            &mut SafetensorsStore::from_file(file).with_from_adapter(PyTorchToBurnAdapter).allow_partial(true),
            device,
        ),
        false => {
            let store = PytorchStore::from_file(file).allow_partial(true);
            load(&mut key.into_iter().fold(store, |store, key| store.with_top_level_key(key)), device)
        }
    }));
    set_hook(hook);
    let read = read.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Err(format!("it can't be read: {}", words.unwrap_or_default()))
    });
    read.map_err(|reason| format!("{}: {reason}", file.display()).into())
}

fn load<S: ModuleStore>(store: &mut S, device: &Device) -> Result<ResNet, String> {
    let mut shape = |name: &str| -> Result<Option<Vec<usize>>, String> {
        let found = store.get_tensor(name).map_err(|error| error.to_string())?;
        Ok(found.map(|tensor| tensor.shape.to_vec()))
    };
    let (stem, head, third) = (shape("conv1.weight")?, shape("fc.weight")?, shape("layer1.0.conv3.weight")?);
    let (Some([width, 3, 7, 7]), Some(&[class_count, _])) = (stem.as_deref(), head.as_deref()) else {
        return Err("it has no conv1.weight of (n, 3, 7, 7) and fc.weight of (classes, n): these are no weights of torchvision's \
                    ResNet (of a checkpoint that has more, --key names the part)"
            .into());
    };
    if !(1..=128).contains(width) || !(1..=100_000).contains(&class_count) {
        return Err(format!("a width of {width} and {class_count} classes are not believed"));
    }
    let config =
        if third.is_some() { ResNetConfig::resnet50(class_count) } else { ResNetConfig::resnet18(class_count) };
    let mut model = config.with_width(*width).init(device);
    let applied = model.load_from(store).map_err(|error| error.to_string())?;
    // Whether batch norm trains is no tensor of PyTorch's.
    let missing: Vec<&str> =
        applied.missing.iter().map(|(path, _)| path.as_str()).filter(|path| !path.ends_with(".training")).collect();
    // How many batches batch norm has seen is nothing to burn.
    let unused: Vec<&String> = applied.unused.iter().filter(|name| !name.ends_with("num_batches_tracked")).collect();
    match (missing.first(), unused.first()) {
        (Some(first), _) => Err(format!("{} of the network's tensors are missing, {first} the first", missing.len())),
        (None, Some(first)) => Err(format!(
            "{} of its tensors are of another network than ResNet-18 or ResNet-50, {first} the first",
            unused.len()
        )),
        (None, None) => Ok(model),
    }
}
