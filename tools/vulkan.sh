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

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    as_root=none
fi
if command -v apt-get >/dev/null; then
    refresh='apt-get update -q' install='apt-get install -qy --no-install-recommends mesa-vulkan-drivers libvulkan1'
elif command -v dnf >/dev/null; then
    refresh=true install='dnf install -qy mesa-vulkan-drivers vulkan-loader'
elif command -v pacman >/dev/null; then
    refresh=true install='pacman -S --noconfirm vulkan-swrast vulkan-icd-loader'
else
    echo "gradscope: no Vulkan driver here, and no package manager that this script knows; install Mesa's Vulkan drivers" >&2
    exit 0
fi
if [ "$as_root" = none ]; then
    echo "gradscope: no Vulkan driver here. To get a software one: sudo $install" >&2
    exit 0
fi
echo "gradscope: no Vulkan driver here; installing Mesa's: $install" >&2
# Without one the program still runs, on the CPU, and says so.
{ $as_root $refresh && $as_root $install; } >&2 ||
    echo "gradscope: that failed; carrying on without a Vulkan driver" >&2
