# Makes a root of its own out of the machine's, and is the first process there. Arguments: the
# unpacked packages, an empty folder. Mounts and processes are this namespace's, and end with it.
tree=$1 lab=$2

mount -t tmpfs -o mode=755 lab "$lab"
cd "$lab"
layer() {
    mkdir -p "changed/$1" "work/$1"
    mount -t overlay -o "lowerdir=$2,upperdir=changed/$1,workdir=work/$1" lab "$3"
}
mkdir root
layer root / root
# Not the whole of the tree over the whole of /: no layer may lie within another.
layer usr "$tree/usr:/usr" root/usr
layer etc "$tree/etc:/etc" root/etc
# As they come: nothing of what the machine has set.
for dir in cni containers docker firewalld ufw; do
    rm -rf "root/etc/$dir"
    cp -a "$tree/etc/$dir" root/etc/
done

cd root
mount -t proc proc proc
mount -t sysfs sys sys
# Nothing on a machine that has it there already; others have it elsewhere or not at all.
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
mount -t tmpfs tmp tmp
mkdir run/lock
pivot_root . mnt
cd /
umount -l /mnt

# What configuring the packages would do.
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -sf xtables-nft-multi "/usr/sbin/$name"
done

trap 'exit 0' TERM
echo ready
sleep infinity &
wait
