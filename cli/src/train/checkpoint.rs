//! Checkpoints: model, optimizer and step, in the run folder.

use anyhow::{Context, Result, anyhow, ensure};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use flate2::CrcReader;
use gradscope::Run;
use gradscope::store::files;
use serde::{Deserialize, Serialize};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const FOLDER: &str = "checkpoints";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const STATE: &str = "state.json";
/// How many are kept: the last, and the one before it.
const KEPT_COUNT: usize = 2;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct State {
    /// Steps done, and so the number of the next one.
    pub step: u64,
}

/// What stands beside model and optimizer.
#[derive(Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    state: State,
    /// CRC-32 of the two files.
    checksums: [u32; 2],
}

fn checksum(path: &Path) -> std::io::Result<u32> {
    let mut sum = CrcReader::new(fs::File::open(path)?);
    std::io::copy(&mut sum, &mut std::io::sink())?;
    Ok(sum.crc().sum())
}

/// Saves a checkpoint, whole or not at all, and removes the oldest.
pub fn save<M: Module>(run: &Path, state: State, model: &M, optimizer: &ModuleOptimizer) -> Result<()> {
    let folder = run.join(FOLDER);
    let partial = folder.join("partial");
    let place = folder.join(format!("step-{:010}", state.step));
    let in_words = |what: &str| format!("checkpoint {}: {what}", place.display());
    ensure!(Run::is_at(run), "{}", in_words("the run folder is gone"));
    let _ = fs::remove_dir_all(&partial);
    files::create_folder(&folder).with_context(|| in_words("its folder"))?;
    fs::create_dir_all(&partial).with_context(|| in_words("its folder"))?;
    model.clone().save_file(partial.join(MODEL)).map_err(|error| anyhow!("{}: {error}", in_words("the model")))?;
    optimizer.save(partial.join(OPTIMIZER)).map_err(|error| anyhow!("{}: {error}", in_words("the optimizer")))?;
    let checksums = [checksum(&partial.join(MODEL)), checksum(&partial.join(OPTIMIZER))];
    let [model, optimizer] = checksums.map(|sum| sum.with_context(|| in_words("its files")));
    let note = Note { state, checksums: [model?, optimizer?] };
    fs::write(partial.join(STATE), serde_json::to_vec(&note)?).with_context(|| in_words("its state"))?;
    let _ = fs::remove_dir_all(&place);
    fs::rename(&partial, &place).with_context(|| in_words("its place"))?;
    let mut all = list(run);
    all.sort();
    for old in &all[..all.len().saturating_sub(KEPT_COUNT)] {
        let _ = fs::remove_dir_all(old);
    }
    Ok(())
}

fn list(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join(FOLDER)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join(STATE).exists()).collect()
}

/// A checkpoint to go on from.
pub struct Checkpoint {
    folder: PathBuf,
    pub state: State,
    checksums: [u32; 2],
}

impl Checkpoint {
    /// The last one of a run.
    pub fn last(run: &Path) -> Result<Self> {
        let folder = list(run).into_iter().max().with_context(|| {
            format!(
                "--resume {}: it has no checkpoint: it was stopped before its first one (`--checkpoint-every`), or ran without a record; start anew",
                run.display()
            )
        })?;
        let path = folder.join(STATE);
        let note = fs::read(&path).map_err(anyhow::Error::from).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let Note { state, checksums } =
            note.with_context(|| format!("{}: remove that checkpoint to go on from the one before", path.display()))?;
        Ok(Self { folder, state, checksums })
    }

    /// Puts the checkpoint's values in.
    pub fn load<M: Module>(&self, model: M, optimizer: ModuleOptimizer) -> Result<(M, ModuleOptimizer)> {
        let [model_sum, optimizer_sum] = self.checksums;
        let model = self.read(MODEL, model_sum, |path| model.try_load_file(path).map_err(|error| error.to_string()))?;
        let optimizer =
            self.read(OPTIMIZER, optimizer_sum, |path| optimizer.load(path).map_err(|error| error.to_string()))?;
        Ok((model, optimizer))
    }

    /// What `load` makes of a file, if it is the one that was saved: burn's readers panic over some that are damaged, and make other
    /// values of others.
    fn read<T>(&self, file: &str, sum: u32, load: impl FnOnce(&Path) -> Result<T, String>) -> Result<T> {
        let path = self.folder.join(file);
        let damaged = || Err("it is not as it was saved".into());
        let loaded = match checksum(&path) {
            Err(error) => Err(error.to_string()),
            Ok(found) if found != sum => damaged(),
            Ok(_) => catch_unwind(AssertUnwindSafe(|| load(&path))).unwrap_or_else(|_| damaged()),
        };
        loaded.map_err(|error| {
            anyhow!("{}: {error}; remove that checkpoint to go on from the one before", path.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::damage::{damaged, each_case};
    use burn::nn::LinearConfig;
    use burn::optim::AdamConfig;
    use burn::tensor::Tensor;
    use gradscope::{Device, DeviceChoice};

    #[test]
    fn damaged_checkpoints_are_refused() {
        let device = Device::open(DeviceChoice::Cpu).unwrap();
        let training = device.burn().clone().autodiff();
        let model = LinearConfig::new(6, 5).init(&training);
        let mut optimizer = AdamConfig::new().init();
        let gradients = model.forward(Tensor::<2>::ones([2, 6], &training)).sum().backward();
        let gradients = burn::optim::GradientsParams::from_grads(gradients, &model);
        let model = optimizer.step(1e-3, model, gradients);
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join("run.json"), "{}").unwrap();
        save(run.path(), State { step: 7 }, &model, &optimizer).unwrap();
        let files = [MODEL, OPTIMIZER, STATE].map(|file| {
            let path = list(run.path())[0].join(file);
            (fs::read(&path).unwrap(), path)
        });
        let load =
            || Checkpoint::last(run.path())?.load(LinearConfig::new(6, 5).init(&training), AdamConfig::new().init());
        load().unwrap();
        each_case(500, |random| {
            let place = random.below(files.len());
            let (whole, path) = &files[place];
            let hit = damaged(whole, random);
            fs::write(path, &hit).unwrap();
            match load() {
                Err(error) => {
                    let words = format!("{error:#}");
                    assert!(words.contains("remove that checkpoint") && words.contains("step-"), "{words}");
                }
                // The note has no checksum of its own: its number may be another one.
                Ok(_) => assert!(hit == *whole || place == 2),
            }
            fs::write(path, whole).unwrap();
        });
    }
}
