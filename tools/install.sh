#!/bin/sh
# install.sh WHAT APT DNF PACMAN: installs WHAT, a package of each manager's name, through the one that is here and where this user may.
# That it could not is told, and no failure: what needs it says so itself.
set -eu

what=$1
if command -v apt-get >/dev/null; then
    refresh='apt-get update -q' install="apt-get install -qy --no-install-recommends $2"
elif command -v dnf >/dev/null; then
    refresh=true install="dnf install -qy $3"
elif command -v pacman >/dev/null; then
    refresh=true install="pacman -S --noconfirm $4"
else
    echo "gradscope: there is no $what here, and no package manager that this script knows" >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    echo "gradscope: there is no $what here. To get one: sudo $install" >&2
    exit 0
fi
echo "gradscope: there is no $what here; installing one: $install" >&2
{ $as_root $refresh && $as_root $install; } >&2 || echo "gradscope: that failed; carrying on without a $what" >&2
