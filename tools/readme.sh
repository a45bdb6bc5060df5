#!/bin/sh
# readme.sh [clone]: runs every command that README.md shows, as it stands there, in this checkout, or in a fresh clone of it that shares what
# is built. `make test` is left to whoever runs this. What serves a page is ended once the page has come.
set -eu
cd "$(dirname "$0")/.."
if [ "${1:-}" = clone ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    git clone -q . "$scratch/gradscope"
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}" sh "$scratch/gradscope/tools/readme.sh"
    exit
fi
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"

log=$(mktemp)
server=
trap 'rm -f "$log" "$log.commands"; [ -z "$server" ] || kill -- "-$server" 2>/dev/null || true' EXIT

serve() {
    setsid sh -c "exec $1" >"$log" 2>&1 &
    server=$!
    url=
    for _ in $(seq 600); do
        url=$(sed -n 's,.*\(http://127\.0\.0\.1:[0-9]*/\).*,\1,p' "$log" | head -1)
        [ -z "$url" ] || break
        sleep 0.2
    done
    page=$(curl -fsS "$url") || { cat "$log" >&2; return 1; }
    kill -- "-$server"
    wait "$server" || true
    server=
    case $page in *'<title>gradscope'*) ;; *) echo "$url is not the dashboard's page" >&2; return 1 ;; esac
}

count=0
sed -n '/^```sh$/,/^```$/p' README.md | grep -v '^```' >"$log.commands"
while IFS= read -r command <&3; do
    echo "== $command"
    case $command in
    '' | 'make test') continue ;;
    *' watch '*) serve "$command" ;;
    *) sh -c "$command" ;;
    esac
    count=$((count + 1))
done 3<"$log.commands"
[ "$count" -ge 10 ] || { echo "README.md shows $count commands: are they still marked as sh?" >&2; exit 1; }
echo "$count commands of README.md ran"
