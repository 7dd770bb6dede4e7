# To be sourced after common.sh: one virtual machine under qemu's own emulation, in a network namespace of its own, reached by ssh.
# Uses: $run (a directory for this run), $SUITE.

readonly VM_SSH_PORT=2222
VM_NAMESPACE="" VM_PID=""

# make_namespace: where the machines, and everything that talks to them, run. Nothing of it meets this machine's own network.
make_namespace() {
  VM_NAMESPACE=pbs-vm-$$
  ip netns add "$VM_NAMESPACE"
  ip -n "$VM_NAMESPACE" link set lo up
}

remove_namespace() {
  if [ -n "$VM_NAMESPACE" ]; then ip netns delete "$VM_NAMESPACE" 2>/dev/null || true; VM_NAMESPACE=""; fi
}

inside() { ip netns exec "$VM_NAMESPACE" "$@"; }

# start_machine KERNEL [QEMU OPTIONS...]: boots the box with one of its kernels; changes to the disk are thrown away at the end.
start_machine() {
  local kernel=$1 box=$VM_CACHE/$SUITE
  shift
  rm -f "$run/disk.qcow2"
  qemu-img create -q -f qcow2 -F qcow2 -b "$box/box.img" "$run/disk.qcow2"
  # Without a shell in between: the process to end is qemu itself.
  (exec setsid ip netns exec "$VM_NAMESPACE" nice -n 10 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "$VM_CPUS" -m "$VM_MEMORY" -display none -no-reboot \
    -kernel "$box/kernels/vmlinuz-$kernel" -initrd "$box/kernels/initrd-$kernel" \
    -append "root=LABEL=pbs ro net.ifnames=0 console=ttyS0,115200 mitigations=off" \
    -drive "file=$run/disk.qcow2,if=virtio,cache=unsafe" \
    -netdev "user,id=way-in,hostfwd=tcp:127.0.0.1:$VM_SSH_PORT-:22" -device virtio-net-pci,netdev=way-in \
    -device virtio-rng-pci -serial "file:$run/console-$kernel.log" -monitor none "$@") </dev/null >"$run/qemu.log" 2>&1 &
  VM_PID=$!
}

stop_machine() {
  [ -n "$VM_PID" ] || return 0
  in_machine 10 sudo poweroff >/dev/null 2>&1 || true
  local i
  for ((i = 0; i < 20; i++)); do kill -0 "$VM_PID" 2>/dev/null || break; sleep 1; done
  kill "$VM_PID" 2>/dev/null || true
  wait "$VM_PID" 2>/dev/null || true
  VM_PID=""
}

# in_machine SECONDS COMMAND...: runs a command there, in time.
in_machine() {
  local limit=$1
  shift
  inside timeout "$limit" ssh -q -i "$run/key" -p $VM_SSH_PORT -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=60 \
    -o BatchMode=yes vagrant@127.0.0.1 "$@" </dev/null
}

into_machine() {
  inside scp -q -i "$run/key" -P $VM_SSH_PORT -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes "$1" "vagrant@127.0.0.1:$2"
}

# await_machine SECONDS: until it answers to ssh.
await_machine() {
  local until=$((SECONDS + $1))
  until in_machine 60 true; do
    kill -0 "$VM_PID" 2>/dev/null || { cat "$run/qemu.log" >&2; fail "qemu has ended"; }
    [ $SECONDS -lt $until ] || { tail -n 30 "$run"/console-*.log >&2; fail "the machine did not come up within $1 s"; }
    sleep 2
  done
}
