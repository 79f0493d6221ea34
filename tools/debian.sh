# For tools/fetch_micropython, tools/fetch_peers, tools/fetch_python and tools/build_board, which read this file: apt with
# one source, Debian trixie, in a folder of its own, so that nothing is installed on the machine and an older Debian can
# use it. The mirror is the machine's own; apt checks the signature, which covers the SHA-256 of every file. The hint of a
# failure is the second argument of `fail`, or $hint.

suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# This machine's release, if it is a Debian.
codename=$(. /etc/os-release 2>/dev/null && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || codename=
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() {
    say "$1"
    say "hint: ${2:-$hint}"
    exit 1
}

# use_debian deb|deb-src: makes the temporary folder $work, which goes when the script ends, and fetches the lists.
use_debian() {
    [ -n "$codename" ] || fail "this machine is not a Debian release, so there is no Debian mirror to take $suite from"
    [ -r "$keyring" ] || fail "$keyring is missing" "apt-get install debian-archive-keyring"
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$codename" '$2 == suite && $3 == "main" { print $1; exit }')
    [ -n "$mirror" ] || fail "apt has no source for $codename main to take the mirror's address from"

    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/new"
    printf '%s [signed-by=%s] %s %s main\n' "$1" "$keyring" "$mirror" "$suite" >"$work/sources.list"
    : >"$work/status"
    apt update --error-on=any ||
        fail "the Debian mirror did not answer, or its signature is not good" "check the network and run this again"
}

apt() {
    apt-get --quiet=2 -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status" -o Dir::Cache="$work" \
        -o Dir::Cache::Archives="$work/archives" -o APT::Sandbox::User=root -o APT::Default-Release= \
        -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# take_packages NAME...: unpacks packages, libc6 among them, in $work/new. $loader and $library are then the places there
# of what starts their programs, and of their libraries.
take_packages() {
    (cd "$work/archives" && apt download "$@") ||
        fail "a package could not be fetched" "check the network and run this again"
    for package in "$work"/archives/*.deb; do
        dpkg-deb --extract "$package" "$work/new"
    done
    loader=$(cd "$work/new" && find usr/lib* -name 'ld-linux*.so.*' | head -n 1)
    library=$(cd "$work/new" && dirname "$(find usr/lib -name libc.so.6 | head -n 1)")
}
