#!/bin/sh
# Installs the real peers that tests and benchmarks run against: Orthanc, DCMTK, dicom3tools,
# poppler, Prometheus, PostgreSQL, and systemd-nspawn, in which the tests run the systemd units.
# Skips what is already installed, and starts no service.
set -eu

packages=""
want() { # want PACKAGE COMMAND...: add the package unless one of the commands is there
    package=$1
    shift
    for command in "$@"; do
        if command -v "$command" >/dev/null 2>&1 || [ -x "$command" ]; then return; fi
    done
    packages="$packages $package"
}
want orthanc Orthanc /usr/sbin/Orthanc
want dcmtk dcmdump # pynetdicom has a storescp of its own
want dicom3tools dciodvfy
want poppler-utils pdftotext
want prometheus prometheus
want sqlite3 sqlite3
want systemd-container systemd-nspawn
want postgresql-15 /usr/lib/postgresql/15/bin/postgres initdb
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || packages="$packages orthanc-dicomweb"
[ -n "$packages" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else
    echo "The tests need these Debian packages:$packages" >&2
    echo "Install them (apt-get install --no-install-recommends$packages) and run again." >&2
    exit 1
fi

# Prevent the packages from starting services; the tests start what they need.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    made_policy=yes
fi
trap '[ -z "$made_policy" ] || $as_root rm -f "$policy"' EXIT
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages
