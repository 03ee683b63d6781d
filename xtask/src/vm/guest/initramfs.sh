#!/bin/busybox sh
# The machine's first steps: the disks, the files of this run onto the root (which forgets them), and on to its process 1.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for n in 0 1 2 3 4 5 6 7; do $B insmod /modules/$n.ko; done
n=0
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do
  n=$((n + 1)); [ $n -gt 200 ] && break
  $B usleep 50000
done
$B mount -t ext4 /dev/vda /root || $B poweroff -f
$B tar -x -f /dev/vdb -C /root || $B poweroff -f
for word in $($B cat /proc/cmdline); do
  case $word in minke.init=*) init=${word#minke.init=} ;; esac
done
$B umount /proc /sys
$B mount --move /dev /root/dev
exec $B switch_root /root "$init"
