//! Every shader as composed: valid, translatable for every platform, and laid out as Rust believes.

use crate::checked_in;
use gradscope::Stats;
use gradscope::internals::{Form, STRUCT_BYTES, compose_for_tests};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

/// Every form a scope may be built with, and that of taps.
fn forms() -> Vec<Form> {
    let groups = [Stats::BASIC, Stats::DYNAMICS, Stats::PARAMS, Stats::DYNAMICS | Stats::PARAMS, Stats::FULL];
    let plain = groups.map(|groups| Form { groups, ..Form::default() });
    let cosine = Form { groups: Stats::FULL | Stats::COSINE, ..Form::default() };
    let tap = Form { groups: Stats::DYNAMICS, tap: true };
    plain.into_iter().chain([cosine, tap]).collect()
}

fn sources() -> Vec<(String, Form, String)> {
    let mut sources = Vec::new();
    for form in forms() {
        for pages in [1, 4, 8] {
            for (name, wgsl) in compose_for_tests(form, pages).0 {
                sources.push((format!("{name} for {form:?} with {pages} pages"), form, wgsl));
            }
        }
    }
    sources
}

fn modules() -> Vec<(String, Form, naga::Module)> {
    let module = |(name, form, wgsl): (String, Form, String)| {
        let module =
            naga::front::wgsl::parse_str(&wgsl).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&wgsl)));
        (name, form, module)
    };
    sources().into_iter().map(module).collect()
}

#[test]
fn shaders_translate_to_every_platform() {
    for (name, _, module) in modules() {
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {e:?}"));
        spv::write_vec(&module, &info, &spv::Options::default(), None)
            .unwrap_or_else(|e| panic!("{name}: SPIR-V: {e}"));
        let options = msl::Options { fake_missing_bindings: true, ..Default::default() };
        msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|e| panic!("{name}: MSL: {e}"));
        let mut text = String::new();
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{name}: HLSL: {e}"));
    }
}

/// Dawn's front end is a second reading of the language, uniformity included. It is asked where it is installed: as
/// `tint`, or as what `GRADSCOPE_TINT` names, which then has to be there.
#[test]
fn shaders_pass_tint_where_it_is_installed() {
    let named = std::env::var_os("GRADSCOPE_TINT");
    let tint = named.clone().unwrap_or_else(|| "tint".into());
    if named.is_none() && Command::new(&tint).arg("--help").output().is_err() {
        return eprintln!("there is no tint here");
    }
    let dir = tempfile::tempdir().unwrap();
    let asked = |wgsl: &str| {
        let file = dir.path().join("shader.wgsl");
        std::fs::write(&file, wgsl).unwrap();
        let done = Command::new(&tint).args(["--format", "wgsl"]).arg(&file).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    assert!(asked("fn f() { let x: f32 = 1.5; }").0 && !asked("fn f() { let x: u32 = 1.5; }").0, "{tint:?} is no tint");
    let mut seen = HashSet::new();
    for (name, _, wgsl) in sources() {
        if seen.insert(wgsl.clone()) {
            let (passed, words) = asked(&wgsl);
            assert!(passed, "{name}: {words}");
        }
    }
}

#[test]
fn composed_shaders_are_checked_in() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/shaders"));
    for (set, groups) in [("basic", Stats::BASIC), ("full", Stats::FULL)] {
        let (shaders, _) = compose_for_tests(Form { groups, tap: false }, 1);
        let (_, wgsl) = shaders.into_iter().find(|(name, _)| *name == "grad_reduce").unwrap();
        checked_in::assert_same(&folder.join(format!("grad_reduce-{set}.wgsl")), &wgsl);
    }
}

/// What is not asked for is not paid for: the card reads a gradient and moves two bits of state, whatever else exists.
#[test]
fn the_card_binds_nothing_of_other_groups() {
    let (shaders, words) = compose_for_tests(Form::default(), 1);
    assert_eq!(words.len(), 17, "{words:?}");
    let (_, wgsl) = shaders.iter().find(|(name, _)| *name == "grad_reduce").unwrap();
    let module = naga::front::wgsl::parse_str(wgsl).unwrap();
    let bound = module.global_variables.iter().filter(|(_, v)| v.binding.is_some());
    let names: Vec<&str> = bound.filter_map(|(_, variable)| variable.name.as_deref()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for name in ["dispatch", "chunks", "spans", "records", "state", "gradient_0"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert_eq!(Form::default().state_bytes_for_tests(), 8, "two bits an element");
}

#[test]
fn shared_memory_fits_the_default_limit() {
    for (name, _, module) in modules() {
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("types have layouts");
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, v)| layouter[v.ty].size).sum();
        assert!(bytes <= 16_384, "{name}: {bytes} bytes of shared memory; WebGPU promises 16384");
    }
}

#[test]
fn layouts_are_those_of_rust() {
    let mut seen = Vec::new();
    for (name, form, module) in modules() {
        for (_, ty) in module.types.iter() {
            let (Some(struct_name), naga::TypeInner::Struct { span, .. }) = (ty.name.as_deref(), &ty.inner) else {
                continue;
            };
            if let Some((_, bytes)) = STRUCT_BYTES.iter().find(|(rust, _)| *rust == struct_name) {
                assert_eq!(*span as usize, *bytes, "{name}: struct {struct_name}");
                seen.push(struct_name.to_owned());
            }
            if struct_name == "Planes" {
                assert_eq!(u64::from(*span), form.state_bytes_for_tests(), "{name}: planes of a bit an element");
                seen.push(struct_name.to_owned());
            }
        }
    }
    for expected in STRUCT_BYTES.iter().map(|(name, _)| *name).chain(["Planes"]) {
        assert!(seen.iter().any(|name| name == expected), "no shader has the struct {expected}");
    }
}
