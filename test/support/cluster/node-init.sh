#!/usr/bin/env bash
# node-init.sh NODE LAB-FOLDER CGROUP: process 1 of a lab node, in PID, mount, UTS, cgroup and network namespaces of its own. What
# programs on the node write to the machine's folders stays in the node: /run is new, the others are overlays whose upper layer is
# memory. Of the machine's cgroups it sees its own: kubelet would look into those of the other nodes' pods, and wait for answers.
set -euo pipefail
node=$1 lab=$2 cgroup=$3

if [ "${4-}" != in-cgroup ]; then
  for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if [ -e "$tree/$cgroup/cgroup.procs" ]; then echo 0 > "$tree/$cgroup/cgroup.procs"; fi
  done
  exec unshare --cgroup "$0" "$node" "$lab" "$cgroup" in-cgroup
fi

hostname "$node"

# With cgroup v1 one tree per set of controllers, which its mount options name; with v2 one tree in all.
trees=$(awk '$3 == "cgroup" { print $2, $4 }' /proc/mounts)
if [ -z "$trees" ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while read -r path options; do
    controllers=$(tr , '\n' <<< "$options" | grep -vE '^(rw|ro|nosuid|nodev|noexec|relatime|xattr|clone_children|release_agent=.*)$' | paste -sd,)
    mkdir -p "$path"
    mount -t cgroup -o "$controllers" cgroup "$path"
  done <<< "$trees"
fi
# Daemons have a leaf of their own: with cgroup v2 a group that has both processes and managed children is not allowed.
for procs in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
  if [ -e "$procs" ]; then
    leaf=$(dirname "$procs")/system
    mkdir -p "$leaf"
    for file in cpuset.cpus cpuset.mems; do if [ -z "$(cat "$leaf/$file" 2> /dev/null || echo none)" ]; then cat "$leaf/../$file" > "$leaf/$file"; fi; done
    echo 0 > "$leaf/cgroup.procs"
  fi
done

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
