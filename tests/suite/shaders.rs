//! Every shader as composed: valid, translatable for every platform, and laid out as Rust believes.

use gradscope::internals::{STRUCT_BYTES, compose_for_tests};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn modules() -> Vec<(String, naga::Module)> {
    let composed = [1, 4, 24].into_iter().flat_map(|pages| {
        let (shaders, _) = compose_for_tests(pages);
        shaders.into_iter().map(move |(name, wgsl)| (format!("{name} with {pages} pages"), wgsl))
    });
    composed
        .map(|(name, wgsl)| {
            let module =
                naga::front::wgsl::parse_str(&wgsl).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&wgsl)));
            (name, module)
        })
        .collect()
}

#[test]
fn shaders_translate_to_every_platform() {
    for (name, module) in modules() {
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

#[test]
fn shared_memory_fits_the_default_limit() {
    for (name, module) in modules() {
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("types have layouts");
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, v)| layouter[v.ty].size).sum();
        assert!(bytes <= 16_384, "{name}: {bytes} bytes of shared memory; WebGPU promises 16384");
    }
}

#[test]
fn layouts_are_those_of_rust() {
    let (_, words) = compose_for_tests(1);
    let mut seen = Vec::new();
    for (name, module) in modules() {
        for (_, ty) in module.types.iter() {
            let (Some(struct_name), naga::TypeInner::Struct { members, span }) = (ty.name.as_deref(), &ty.inner) else {
                continue;
            };
            if let Some((_, bytes)) = STRUCT_BYTES.iter().find(|(rust, _)| *rust == struct_name) {
                assert_eq!(*span as usize, *bytes, "{name}: struct {struct_name}");
                seen.push(struct_name.to_owned());
            }
            if struct_name == "Lane" {
                let fields: Vec<String> =
                    members.iter().map(|member| member.name.clone().unwrap_or_default().to_uppercase()).collect();
                assert_eq!(fields, words, "{name}: the fields of Lane are the words of a record, in order");
                seen.push(struct_name.to_owned());
            }
        }
    }
    for expected in STRUCT_BYTES.iter().map(|(name, _)| *name).chain(["Lane"]) {
        assert!(seen.iter().any(|name| name == expected), "no shader has the struct {expected}");
    }
}
