#!/bin/sh
# The first program of a virtual machine: runs what the kernel's command line names, says how that
# went, and turns the machine off. PROXYTRACE-VM lines are what the host waits for.
export PATH=/bin:/go/bin HOME=/root RUST_BACKTRACE=0 LAB_LIMIT=400
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t securityfs securityfs /sys/kernel/security
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o size=80% tmpfs /tmp

for word in $(cat /proc/cmdline); do
    case $word in
    lab.variant=*) variant=${word#*=} ;;
    lab.backend=*) backend=${word#*=} ;;
    lab.kprobes=*) kprobes=${word#*=} ;;
    lab.wire=*) wire=${word#*=} ;;
    lab.run=*) scenarios=$(echo "${word#*=}" | tr , ' ') ;;
    esac
done

end() {
    echo "PROXYTRACE-VM: $*"
    poweroff -f
    # Nobody comes here; the kernel would panic.
    sleep 1000
}

# What this kernel has is what the table says.
has() {
    if [ -e "$1" ]; then echo true; else echo false; fi
}
[ "$(has /sys/kernel/btf/vmlinux)" = true ] || end "failed: no BTF"
[ "$(has /sys/bus/event_source/devices/uprobe)" = true ] || end "failed: no uprobes"
[ "$(has /sys/bus/event_source/devices/kprobe)" = "$kprobes" ] ||
    end "failed: kprobes are not as in the table: $kprobes"

# SCENARIO@WAY: what goes over sockets is seen in this way and not in the best.
check() {
    for scenario in $scenarios; do
        unset PROXYTRACE_WIRE
        expected=$wire
        case $scenario in
        *@*) export PROXYTRACE_WIRE="${scenario#*@}" expected="${scenario#*@}" ;;
        esac
        lab check --go /go --backend "$backend" --wire "$expected" "$@" "${scenario%@*}" ||
            end "failed: see above"
    done
    end passed
}

# The kernel is locked down as its command line says.
locked() {
    grep -q "\[$variant\]" /sys/kernel/security/lockdown || end "failed: it is not locked down"
}

# This proxytrace must refuse, with a text.
refuse() {
    "$@" -- true >/tmp/said 2>&1
    code=$?
    cat /tmp/said
    [ $code = 125 ] || end "failed: exit code $code and not 125"
    grep -q "$text" /tmp/said || end "failed: it does not say: $text"
}

case $variant in
plain) check ;;
integrity)
    locked
    check
    ;;
one-by-one)
    export PROXYTRACE_PERF=1
    check
    ;;
memlock)
    ulimit -l 64
    check
    ;;
confidentiality)
    locked
    text='the kernel is locked down (confidentiality)'
    refuse proxytrace
    end passed
    ;;
no-types)
    mount -t tmpfs tmpfs /sys/kernel/btf
    text='this kernel does not show its types'
    refuse proxytrace
    end passed
    ;;
no-capabilities)
    text='tracing needs privileges that this user does not have'
    refuse as-user proxytrace
    end passed
    ;;
administrator)
    # What it takes to lock as much as maps are.
    more=
    case $(cat /proc/sys/kernel/osrelease) in 5.*)
        ulimit -l 64
        HOME=$(mktemp -d)
        echo +bpf,+perfmon,+sys_admin >/capabilities
        text='before Linux 5.11 its maps are locked memory'
        refuse as-user-with-capabilities
        as-user-with-capabilities doctor >/tmp/said 2>&1
        grep -q "locked memory .*65536 bytes" /tmp/said || {
            cat /tmp/said
            end "failed: doctor does not say what is missing"
        }
        more=,+sys_resource
        ;;
    esac
    # With fewer it says what is missing, and the command runs.
    echo +bpf,+perfmon$more >/capabilities
    code=0
    HOME=$(mktemp -d) as-user-with-capabilities -- go version >/tmp/said 2>&1 || code=$?
    cat /tmp/said
    [ $code = 0 ] || end "failed: exit code $code"
    grep -q 'this kernel lets CAP_SYS_ADMIN alone put a probe in' /tmp/said ||
        end "failed: it does not say what is missing"
    echo +bpf,+perfmon,+sys_admin$more >/capabilities
    check --proxytrace /bin/as-user-with-capabilities
    ;;
systemd) . /system.sh ;;
capabilities)
    echo +bpf,+perfmon >/capabilities
    check --proxytrace /bin/as-user-with-capabilities
    ;;
*) end "failed: no such variant: $variant" ;;
esac
