#!/bin/busybox sh
# /init of a machine's first file system.  The kernel's command line says lab.root=DEVICE.
busybox=/bin/busybox
for kind in proc sys; do $busybox mount -t ${kind}fs $kind /$kind 2>/dev/null || $busybox mount -t $kind $kind /$kind; done
$busybox mount -t devtmpfs dev /dev
for module in /modules/*; do $busybox insmod "$module" 2>/dev/null; done
for word in $($busybox cat /proc/cmdline); do
  case $word in lab.root=*) device=${word#lab.root=} ;; esac
done
tries=0
while [ ! -b "$device" ] && [ $tries -lt 300 ]; do
  $busybox sleep 0.2
  tries=$((tries + 1))
done
$busybox mount -t ext4 "$device" /root || { echo "no root file system on $device"; $busybox poweroff -f; }
$busybox cp -a /lab/. /root/
for place in proc sys dev; do $busybox mount --move /$place /root/$place; done
exec $busybox switch_root /root /sbin/lab-init
