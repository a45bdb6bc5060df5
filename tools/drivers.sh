#!/bin/sh
# drivers.sh [short]: the GPU tests on each Vulkan driver that is here, with the validation layers, which must have nothing to say, and
# with the shaders as other adapters get them: bounds-checked, and with one and with many buffers a dispatch. `short` is a part of it.
set -eu

swiftshader=${GRADSCOPE_SWIFTSHADER:-/usr/lib/chromium/vk_swiftshader_icd.json}
if [ ! -e "$swiftshader" ]; then
    echo "gradscope: there is no SwiftShader; Debian's chromium brings it, or GRADSCOPE_SWIFTSHADER names its ICD file" >&2
    exit 1
fi
layer=VK_LAYER_KHRONOS_validation
if ! ls /usr/share/vulkan/explicit_layer.d/*validation*.json >/dev/null 2>&1; then
    sh tools/install.sh 'Vulkan validation layer' vulkan-validationlayers vulkan-validation-layers vulkan-validation-layers
fi
settings=$(mktemp -d)
trap 'rm -rf "$settings"' EXIT
cat >"$settings/vk_layer_settings.txt" <<EOF
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = error,warn,perf,info
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
khronos_validation.log_filename = $settings/messages
EOF

# One test program at a time: each starts the layers' messages anew. The layers say that they are there when an instance is made, and that a cache of theirs is not; anything else is a finding.
validated() {
    rm -f "$settings/messages"
    VK_LAYER_SETTINGS_PATH="$settings" VK_INSTANCE_LAYERS=$layer cargo test --release --workspace "$@"
    if ! grep -q 'Khronos Validation Layer Active' "$settings/messages"; then
        echo "gradscope: the validation layers did not run" >&2
        exit 1
    fi
    if grep -E '^[A-Za-z0-9_-]+\((ERROR|WARN|PERF)' "$settings/messages"; then
        echo "gradscope: the validation layers have something to say" >&2
        exit 1
    fi
}

on_swiftshader() { (
    export VK_DRIVER_FILES="$swiftshader"
    "$@"
); }

# With bounds checks or without, and so many buffers a dispatch: one is the default on software, adapters bind up to 24.
shaders() {
    form=$1 pages=$2
    shift 2
    GRADSCOPE_TEST_SHADERS=$form GRADSCOPE_TEST_PAGES=$pages cargo test --release --workspace --test suite -- "$@"
}

if [ "${1:-}" = short ]; then
    validated --test suite -- sums:: lifecycle:: histogram:: segment_reduce::
    on_swiftshader validated --test suite -- sums::poison sums::few layouts::
    shaders checked 24 sums::random moments:: cosine:: updates:: average:: groups::
    exit 0
fi
for test in suite in_place device_lost; do
    validated --test $test
    on_swiftshader validated --test $test
done
for pages in 1 24; do
    shaders checked $pages sums:: moments:: cosine:: updates:: average:: groups:: property:: fuzz:: load::
done
shaders unchecked 24 sums:: moments:: cosine:: updates:: average:: groups:: property:: fuzz:: load::
on_swiftshader cargo test --release --workspace --test suite -- --ignored load::
