#!/bin/sh
# Installs the viewer that the tests open results in: OHIF as its makers built it, from npm, into
# .cache/ohif, and Debian's Chromium to run it. Installs nothing that is there already.
set -eu

version=3.13.2
sha256=b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1
folder="$(cd "$(dirname "$0")/.." && pwd)/.cache/ohif"

packages=""
command -v chromium >/dev/null 2>&1 || packages="$packages chromium"
[ -e "$folder/$version/index.html" ] || command -v npm >/dev/null 2>&1 || packages="$packages npm"
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

[ ! -e "$folder/$version/index.html" ] || exit 0
mkdir -p "$folder"
arriving="$(mktemp -d "$folder/arriving.XXXXXX")"
trap 'rm -rf "$arriving"' EXIT
npm pack --silent --pack-destination "$arriving" "@ohif/app@$version" >/dev/null
echo "$sha256  $arriving/ohif-app-$version.tgz" | sha256sum --check --quiet
# Networks that run in the browser and the viewer of microscopes are most of it, and not needed.
tar -xzf "$arriving/ohif-app-$version.tgz" -C "$arriving" \
    --exclude=package/dist/ort --exclude=package/dist/dicom-microscopy-viewer package/dist
rm -rf "${folder:?}/$version"
mv "$arriving/package/dist" "$folder/$version"
