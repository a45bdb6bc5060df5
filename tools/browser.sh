#!/bin/sh
# Sees to a Chromium for the dashboard's tests on Linux. Elsewhere Chrome or Chromium has to be there, or GRADSCOPE_BROWSER name one.
set -eu

[ -z "${GRADSCOPE_BROWSER:-}" ] || exit 0
for name in chromium chromium-browser google-chrome chrome; do
    ! command -v "$name" >/dev/null || exit 0
done
[ "$(uname -s)" = Linux ] || exit 0
sh tools/install.sh 'browser for the tests of the dashboard' chromium chromium chromium
