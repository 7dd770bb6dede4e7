# To be sourced: what the scripts for virtual machines have in common.

# Disks, boxes and logs: large, and outside the checkout, so that several checkouts share them.
VM_CACHE=${PBS_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pbs-gateway/vm}
mkdir -p "$VM_CACHE"

fail() { printf "%s: %s\n" "${0##*/}" "$*" >&2; exit "${status:-1}"; }
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Runs a command whose output matters only when it fails.
quietly() {
  local log
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    rm -f "$log"
    fail "this failed: $*"
  fi
  rm -f "$log"
}

# Where Vagrant keeps the key pair that every box starts with.
vagrant_keys() {
  local directory
  for directory in /usr/share/vagrant/keys /usr/share/rubygems-integration/all/gems/vagrant-*/keys /opt/vagrant/embedded/gems/gems/vagrant-*/keys; do
    if [ -f "$directory/vagrant.pub" ]; then echo "$directory"; return; fi
  done
  fail "Vagrant's own key pair was not found; run scripts/setup-vm first"
}
