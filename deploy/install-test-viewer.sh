#!/bin/sh
# Installs the viewers of the tests: Debian's Chromium, and from npm the OHIF release build into
# .cache/ohif and the accessibility checker axe into .cache/axe. Skips what is already installed.
set -eu

cache="$(cd "$(dirname "$0")/.." && pwd)/.cache"
ohif=3.13.2
ohif_sha256=b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1
axe=4.14.1
axe_sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745

has_all() { [ -e "$cache/ohif/$ohif/index.html" ] && [ -e "$cache/axe/$axe/axe.min.js" ]; }

packages=""
command -v chromium >/dev/null 2>&1 || packages="$packages chromium"
has_all || command -v npm >/dev/null 2>&1 || packages="$packages npm"
if [ -n "$packages" ]; then
    if [ "$(id -u)" -eq 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else
        echo "The tests need these Debian packages:$packages" >&2
        echo "Install them (apt-get install --no-install-recommends$packages) and run again." >&2
        exit 1
    fi
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages
fi

! has_all || exit 0
mkdir -p "$cache"
arriving="$(mktemp -d "$cache/arriving.XXXXXX")"
trap 'rm -rf "$arriving"' EXIT
fetch() { # fetch PACKAGE VERSION SHA256 FOLDER [TAR OPTION...]: FOLDER of the package, checked
    npm pack --silent --pack-destination "$arriving" "$1@$2" >/dev/null
    mv "$arriving"/*.tgz "$arriving/package.tar"
    echo "$3  $arriving/package.tar" | sha256sum --check --quiet
    folder=$4
    shift 4
    tar -xzf "$arriving/package.tar" -C "$arriving" "$@" "$folder"
    rm "$arriving/package.tar"
}

if [ ! -e "$cache/ohif/$ohif/index.html" ]; then
    # In-browser networks and the microscopy viewer make up most of it and are not needed.
    fetch @ohif/app "$ohif" "$ohif_sha256" package/dist \
        --exclude=package/dist/ort --exclude=package/dist/dicom-microscopy-viewer
    mkdir -p "$cache/ohif"
    rm -rf "${cache:?}/ohif/$ohif"
    mv "$arriving/package/dist" "$cache/ohif/$ohif"
fi
if [ ! -e "$cache/axe/$axe/axe.min.js" ]; then
    fetch axe-core "$axe" "$axe_sha256" package/axe.min.js
    mkdir -p "$cache/axe/$axe"
    mv "$arriving/package/axe.min.js" "$cache/axe/$axe/axe.min.js"
fi
