#!/bin/sh
# inside.sh ROOT LOWER UPPER HW NAME: in namespaces of its own (mounts, host name, processes,
# network), becomes the SSH server of one emulated board.
set -eu
root=$1 lower=$2 upper=$3 hw=$4 name=$5
hostname "$name"
mount -t overlay -o "lowerdir=$lower,upperdir=$upper/files,workdir=$upper/work" overlay "$root"
mount -t proc proc "$root/proc"
for file in cpuinfo meminfo; do mount --bind "$hw/$file" "$root/proc/$file"; done
mount --bind "$hw/sys" "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
while read -r device major minor; do
  mknod -m 666 "$root/dev/$device" c "$major" "$minor"
done <<devices
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
devices
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0 1 2; do ln -s "/proc/self/fd/$number" "$root/dev/std$number"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/sshd" "$root/run/lock" "$root/run/board"
mount --bind "$hw/state" "$root/run/board"
for tool in "$hw"/tools/*; do [ ! -e "$tool" ] || cp "$tool" "$root/usr/bin/"; done
# Sensors of absent units: a pipe with a writer and nothing in it.
for pipe in "$hw"/sys/devices/virtual/thermal/*/temp; do
  [ ! -p "$pipe" ] || sleep infinity <>"$pipe" &
done
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  chroot "$root" /usr/sbin/sshd -D -e -f /etc/ssh/lab_config
