#!/bin/sh
# Puts the node of this checkout in /opt/sij_node and its units in place; starts nothing.
# Run as root, again for an upgrade (see docs/operations.md).
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || { echo "Run this as root." >&2; exit 1; }

id sij-node >/dev/null 2>&1 || useradd --system --home-dir /var/lib/sij-node --shell /usr/sbin/nologin sij-node
[ -x /opt/sij_node/bin/python ] || "${PYTHON:-python3.11}" -m venv /opt/sij_node
/opt/sij_node/bin/pip install --quiet --upgrade -c constraints.txt .

install -d -o root -g sij-node -m 0750 /etc/sij-node
install -d -o sij-node -g sij-node -m 0700 /var/lib/sij-node
if [ ! -e /etc/sij-node/config.toml ]; then
    sed 's|^data_folder = .*|data_folder = "/var/lib/sij-node"|' config.toml >/etc/sij-node/config.toml
    chown root:sij-node /etc/sij-node/config.toml
    chmod 0640 /etc/sij-node/config.toml
fi
install -m 0644 deploy/systemd/*.service deploy/systemd/*.target /etc/systemd/system/
[ ! -d /run/systemd/system ] || systemctl daemon-reload
echo "Edit /etc/sij-node/config.toml, then:"
echo "  sudo -u sij-node /opt/sij_node/bin/sij-node doctor --config /etc/sij-node/config.toml"
echo "  systemctl enable --now sij-node-listener sij-node-web sij-node-worker@1 sij-node.target"
