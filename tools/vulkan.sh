#!/bin/sh
# Sees to a Vulkan driver on Linux: Mesa's software one where there is none. Elsewhere there is nothing to do.
set -eu

[ "$(uname -s)" = Linux ] || exit 0

has_loader() { ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; }
has_driver() {
    [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || return 0
    for manifest in /usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json; do
        [ ! -e "$manifest" ] || return 0
    done
    return 1
}
PATH="$PATH:/sbin:/usr/sbin"
if has_loader && has_driver; then
    exit 0
fi

# Without one the program still runs, on the CPU, and says so.
sh tools/install.sh 'Vulkan driver' 'mesa-vulkan-drivers libvulkan1' 'mesa-vulkan-drivers vulkan-loader' 'vulkan-swrast vulkan-icd-loader'
