# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What tests/run, tests/try and .ci/run share: making a bare Debian ready, and building.
# It knows nothing of coordd but where its source is.

# What is needed to build, and what the tests need beside it. Names of Debian packages.
# shellcheck disable=SC2034 # used by those who read this file
BUILD_PACKAGES=(gcc libc6-dev meson ninja-build pkgconf python3 libjansson-dev)
# shellcheck disable=SC2034
TEST_PACKAGES=(check g++ spin libsystemd-dev)

undo_mounts=()

say() {
        printf '== %s\n' "$*"
}

die() {
        printf '%s: %s\n' "${0##*/}" "$*" >&2
        exit 1
}

have() {
        command -v "$1" >/dev/null 2>&1
}

can_be_root() {
        [ "$(id -u)" = 0 ] || have sudo
}

as_root() {
        if [ "$(id -u)" = 0 ]; then
                "$@"
        elif have sudo; then
                sudo "$@"
        else
                die "this needs root, and there is no sudo: $*"
        fi
}

# mount_here TYPE DIR [OPTIONS]: until undo_host.
mount_here() {
        can_be_root || return
        as_root mkdir -p "$2" && as_root mount -t "$1" -o "${3:-defaults}" "$1" "$2" || return
        undo_mounts=("$2" "${undo_mounts[@]}")
}

# A chroot often has none of them: the C library, apt and every look at another process need /proc,
# shared memory belongs on a tmpfs, and job control is tested on a terminal of its own.
prepare_host() {
        [ -e /proc/self/stat ] || mount_here proc /proc ||
                die "/proc is not mounted, and mounting it failed: mount -t proc proc /proc"
        [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] ||
                mount_here tmpfs /dev/shm mode=1777,nosuid,nodev ||
                echo "no tmpfs on /dev/shm, going on without it" >&2
        [ -e /dev/pts/ptmx ] || mount_here devpts /dev/pts mode=620,ptmxmode=666 ||
                echo "no terminals in /dev/pts, going on without them" >&2
}

# Unmount what was mounted here, the last one first.
undo_host() {
        local dir

        for dir in "${undo_mounts[@]}"; do
                as_root umount "$dir" 2>/dev/null || as_root umount -l "$dir" || true
        done
        undo_mounts=()
}

# Install what is missing of the packages named; ask the network for nothing when all are there.
need_packages() {
        local package missing=()

        if ! have dpkg-query; then
                echo "not a Debian: taking it that there are: $*" >&2
                return 0
        fi
        for package in "$@"; do
                dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
                        missing+=("$package")
        done
        [ ${#missing[@]} -gt 0 ] || return 0

        say "installing ${missing[*]}"
        can_be_root || die "missing, and neither root nor sudo to install them: ${missing[*]}"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update ||
                echo "apt-get update failed, trying with the lists that are there" >&2
        as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
                apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 \
                install "${missing[@]}" </dev/null ||
                die "could not install: ${missing[*]}"
}

# The source directory that a build directory was configured from; empty if it is none.
configured_source() {
        python3 - "$1/meson-info/meson-info.json" 2>/dev/null <<'EOF' || true
import json, sys
print(json.load(open(sys.argv[1]))["directories"]["source"])
EOF
}

# configure TOP BUILD [OPTION...]: a build directory that was moved here from elsewhere, or that this
# meson can't read, is made anew.
configure() {
        local top=$1 build=$2
        shift 2

        if [ -d "$build" ] && [ ! -d "$build/meson-private" ] && [ -n "$(ls -A "$build")" ]; then
                die "$build is no build directory, and not empty: name another"
        fi
        if [ -f "$build/build.ninja" ] && [ "$(configured_source "$build")" = "$top" ]; then
                meson setup --reconfigure "$@" "$build" "$top" && return 0
        fi
        if [ -d "$build/meson-private" ]; then
                say "making $build anew"
                rm -rf "$build"
        fi
        meson setup "$@" "$build" "$top"
}
