#!/bin/sh
# /sbin/lab-init: process 1 of a machine.  Brings up the network and keeps the SSH server going.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=0666,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for word in $(cat /proc/cmdline); do
  case $word in
    lab.address=*) address=${word#lab.address=} ;;
    lab.name=*) hostname "${word#lab.name=}" ;;
  esac
done
ip link set lo up
device=
while [ -z "$device" ]; do
  device=$(ls /sys/class/net | grep -v '^lo$' | head -n 1)
  [ -n "$device" ] || sleep 0.2
done
ip addr add "$address/24" dev "$device"
ip link set "$device" up
echo "lab: $device has $address after $(cut -d ' ' -f 1 /proc/uptime) s"
while :; do /usr/sbin/sshd -D -e -f /etc/ssh/lab_config; sleep 1; done
