#!/usr/bin/env bash
# node-init.sh NODE LAB-FOLDER: process 1 of a lab node, in PID, mount, UTS and network namespaces of its own. What programs on the
# node write to the machine's folders stays in the node: /run is new, the others are overlays whose upper layer is memory.
set -euo pipefail
node=$1 lab=$2
hostname "$node"

# Before it is hidden the lab's folder is held elsewhere.
mount --bind "$lab" /mnt
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$lab" /run/lock
mount --bind /mnt "$lab"
umount /mnt
for folder in /etc /opt /usr/local /var/lib /var/log; do
  layers=/run/.layers$folder
  mkdir -p "$layers/upper" "$layers/work"
  mount -t overlay -o "lowerdir=$folder,upperdir=$layers/upper,workdir=$layers/work" overlay "$folder"
done
rm -f /etc/resolv.conf
printf 'nameserver 127.0.0.1\n' > /etc/resolv.conf
printf '127.0.0.1 localhost %s\n' "$node" > /etc/hosts
# As on a systemd machine: volumes with mount propagation need it. The machine itself sees none of these mounts.
mount --make-rshared /

touch "$lab/$node.ready"
# bash collects the ended processes that others leave to it; the name is how the lab finds this process.
exec -a onehop-lab-node bash -c 'while :; do sleep 1000000 & wait $!; done' "$lab/$node"
