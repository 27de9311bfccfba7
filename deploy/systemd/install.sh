#!/bin/sh
# Installs this checkout in /opt/sij_node, the systemd units, and sij-node in /usr/local/bin; starts
# nothing. Run as root; run again to upgrade (see docs/operations.md).
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || { echo "Run this as root." >&2; exit 1; }

id sij-node >/dev/null 2>&1 || useradd --system --home-dir /var/lib/sij-node --shell /usr/sbin/nologin sij-node
[ -x /opt/sij_node/bin/python ] || "${PYTHON:-/usr/bin/python3.11}" -m venv /opt/sij_node
# The units cannot read home folders, nor their user root's.
case $(readlink -f /opt/sij_node/bin/python) in
    /home/* | /root/*)
        echo "/opt/sij_node was created with a Python in a home folder, which the node cannot read." >&2
        echo "Remove /opt/sij_node and run this with PYTHON=/usr/bin/python3.11." >&2
        exit 1 ;;
esac
/opt/sij_node/bin/pip install --quiet --upgrade -c constraints.txt .

install -d -o root -g sij-node -m 0750 /etc/sij-node
install -d -o sij-node -g sij-node -m 0700 /var/lib/sij-node
if [ ! -e /etc/sij-node/config.toml ]; then
    sed 's|^data_folder = .*|data_folder = "/var/lib/sij-node"|' config.toml >/etc/sij-node/config.toml
    chown root:sij-node /etc/sij-node/config.toml
    chmod 0640 /etc/sij-node/config.toml
fi
install -m 0755 deploy/systemd/sij-node /usr/local/bin/sij-node
install -m 0644 deploy/systemd/*.service deploy/systemd/*.target /etc/systemd/system/
[ ! -d /run/systemd/system ] || systemctl daemon-reload
echo "Edit /etc/sij-node/config.toml, then:"
echo "  sudo sij-node doctor"
echo "  sudo systemctl enable --now sij-node.target sij-node-listener sij-node-web sij-node-worker@1"
