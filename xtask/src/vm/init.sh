#!/bin/busybox sh
# Process 1 of the test machine: makes the file systems and devices, runs the tests one after
# another, and turns the machine off. What it says of them goes to the serial console.

/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
while read -r module; do
    insmod "$module" || echo "vm: no $module"
done </tests/modules
ip link set lo up
ulimit -n 4096
echo "vm: up $(uname -r) $(cut -d ' ' -f 1 /proc/uptime)"

# The file's name, then the program and its arguments.
run() {
    name=$1
    shift
    echo "vm: begin $name"
    "$@" </dev/null 2>&1
    echo "vm: end $name $?"
}

. /tests/environment
. /tests/run
echo "vm: done $(cut -d ' ' -f 1 /proc/uptime)"
poweroff -f
