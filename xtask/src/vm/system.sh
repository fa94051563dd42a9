# Part of init.sh: a system of Debian's becomes the root, and systemd the first program there, which
# starts the unit of the lab. In memory of its own, as the first root is none that can be left.
busybox mkdir /system
mount -t tmpfs -o size=80% tmpfs /system
busybox tar -x -f /system.tar -C /system || end "failed: the system cannot be unpacked"
busybox rm /system.tar
busybox mv /go /system/usr/local/go
busybox cp /bin/lab /bin/busybox /system/usr/local/bin/
busybox mv /proxytrace.deb /system/root/
busybox cp /lab.service /system/etc/systemd/system/
wants=/system/etc/systemd/system/multi-user.target.wants
busybox mkdir -p $wants
busybox ln -s ../lab.service $wants/
# Without a name of its own a system is taken for one that starts for the first time, on which
# systemd enables what there is.
tr -d - </proc/sys/kernel/random/uuid >/system/etc/machine-id
echo LAB_BACKEND="$backend" >/system/etc/default/lab
busybox umount /tmp
exec busybox switch_root /system /sbin/init
