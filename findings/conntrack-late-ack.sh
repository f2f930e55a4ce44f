#!/bin/bash
# What conntrack calls an ACK whose SYN it did not see. It knows nothing of the connection:
# NEW. A connection of the same addresses and ports has just ended: that depends on where its
# numbers lie beside the old ones. One of them ahead: INVALID; both behind: ESTABLISHED, for it
# may be an old packet that was on its way for long.
#
# Guess before it was run: NEW in all cases, for an entry in TIME_WAIT makes way, as it does
# for a SYN.
# Seen with: Linux 6.18, nftables 1.0.6-2+deb12u2 (Debian 12).
# What follows for syn-guard: it has such entries expire (syn-guard-ebpf/src/conntrack.rs).
#
# Needs root, apt and python3. All happens in network namespaces of its own.
set -eu
work=$(mktemp -d)
server=late-ack-s-$$ client=late-ack-c-$$ listener=
clean() {
    [ -z "$listener" ] || kill "$listener" 2>/dev/null || true
    ip netns del "$server" 2>/dev/null || true
    ip netns del "$client" 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT

cd "$work"
apt-get -q -o APT::Sandbox::User=root download \
    nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 >/dev/null
for package in *.deb; do dpkg-deb -x "$package" unpacked; done
export LD_LIBRARY_PATH=$work/unpacked/usr/lib/$(uname -m)-linux-gnu
nft() { ip netns exec "$server" "$work/unpacked/usr/sbin/nft" "$@"; }

ip netns add "$server"
ip netns add "$client"
ip link add v0 netns "$server" type veth peer name v1 netns "$client"
ip -n "$server" addr add 198.18.0.1/24 dev v0
ip -n "$client" addr add 198.18.0.2/24 dev v1
ip -n "$server" link set v0 up
ip -n "$client" link set v1 up
nft 'table ip t {
    counter new { }
    counter invalid { }
    counter established { }
    chain i {
        type filter hook input priority 0
        ip dscp != 5 return
        ct state new counter name new
        ct state invalid counter name invalid
        ct state established counter name established
    }
}'
ip netns exec "$server" python3 -c '
import socket
s = socket.create_server(("198.18.0.1", 8080))
while True:
    c, _ = s.accept()
    c.recv(1)
    c.close()
' &
listener=$!

cat > late.py <<'P'
import socket, struct, sys, time

PORT, AHEAD, ACK_AHEAD = int(sys.argv[1]), sys.argv[2], sys.argv[3]
FAR = {"ahead": 0x20000000, "behind": -0x20000000}

def connect():
    """Connects and ends; the initial numbers of both sides, from the wire."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    wire.bind(("v1", 0))
    for _ in range(50):
        s = socket.socket()
        s.bind(("198.18.0.2", PORT))
        try:
            s.connect(("198.18.0.1", 8080))
            break
        except ConnectionRefusedError:
            s.close()
            time.sleep(0.1)
    s.close()
    wire.settimeout(5)
    while True:
        frame = wire.recv(2048)
        source, _, sequence, acknowledged, _, flags = struct.unpack("!HHIIBB", frame[34:48])
        if source == 8080 and flags & 0x3f == 0x12:
            return acknowledged, sequence

def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff

def ack(sequence, acknowledged):
    head = struct.pack("!HHIIBBHHH", PORT, 8080, sequence & 0xffffffff,
                       acknowledged & 0xffffffff, 5 << 4, 16, 1000, 0, 0)
    pseudo = socket.inet_aton("198.18.0.2") + socket.inet_aton("198.18.0.1")
    total = checksum(pseudo + struct.pack("!HH", 6, len(head)) + head)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)
    # Told from other packets by its DSCP.
    raw.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 5 << 2)
    raw.sendto(head[:16] + struct.pack("!H", total) + head[18:], ("198.18.0.1", 0))

if AHEAD == "none":
    ack(1, 1)
else:
    client, server = connect()
    time.sleep(1)
    ack(client + FAR[AHEAD], server + FAR[ACK_AHEAD])
time.sleep(0.5)
P
count() { nft list counter ip t "$1" | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
seen=
port=40000
for numbers in "none none" "ahead ahead" "ahead behind" "behind ahead" "behind behind"; do
    port=$((port + 1))
    nft 'reset counters' >/dev/null
    # shellcheck disable=SC2086 # two words
    ip netns exec "$client" python3 late.py "$port" $numbers
    for state in new invalid established; do
        [ "$(count "$state")" -eq 0 ] || seen="$seen${seen:+; }$numbers: $state"
    done
done
echo "$(uname -r), nftables 1.0.6, sequence and acknowledgement number: $seen"
expected="none none: new; ahead ahead: invalid; ahead behind: invalid; behind ahead: invalid"
expected="$expected; behind behind: established"
[ "$seen" = "$expected" ] || { echo "changed: it was $expected"; exit 1; }
