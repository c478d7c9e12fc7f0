# What `edgekit doctor` asks a board. POSIX sh, read-only, needs nothing installed. Prints lines of "key<TAB>value".
# Sent to the board over the connection and run by its /bin/sh; every answer is optional.
# An argument is another folder to read files in than /, with what some board has there.
root=${1-}
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/opt/vc/bin; export PATH
# Builtins wherever they do: starting a program is the slow part on a small board, and on an emulated one.
newline='
'
say() { if [ -n "$2" ]; then printf '%s\t%s\n' "$1" "${2%%"$newline"*}"; fi; }
first() { for f in "$@"; do if [ -r "$f" ]; then IFS= read -r line <"$f" || [ -n "$line" ] || continue; printf '%s' "$line"; return 0; fi; done; }
text() { for f in "$@"; do if [ -r "$f" ]; then tr '\000' ' ' <"$f"; return 0; fi; done; }

say probe 1
[ -z "$root" ] || PATH=$root/usr/bin:$PATH
say model "$(text "$root/proc/device-tree/model" "$root/sys/firmware/devicetree/base/model")"
say compatible "$(text "$root/proc/device-tree/compatible" "$root/sys/firmware/devicetree/base/compatible")"
say cpu_parts "$(sed -n 's/^CPU part[[:space:]]*: //p' "$root/proc/cpuinfo" 2>/dev/null | sort | uniq -c | tr '\n' ';')"
# Features once for each kind of core.
tab=$(printf '\t')
sed -n "s/^Model[[:space:]]*: /cpu_model$tab/p; s/^Revision[[:space:]]*: /revision$tab/p; s/^Features[[:space:]]*: /cpu_features$tab/p" \
    "$root/proc/cpuinfo" 2>/dev/null | sort -u
say cores "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
say machine "$(uname -m)"
say kernel "$(uname -sr)"
say userland_bits "$(getconf LONG_BIT 2>/dev/null)"
if [ -r "$root/etc/os-release" ]; then
    . "$root/etc/os-release"
    say os_id "$ID"
    say os_codename "$VERSION_CODENAME"
    say os_name "$PRETTY_NAME"
fi
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
say user "$(id -un 2>/dev/null)"
say groups "$(id -Gn 2>/dev/null)"
say home "$HOME"
say home_writable "$([ -w "$HOME" ] && echo yes || echo no)"
python3 -c '
import importlib.metadata as m, importlib.util as u, platform
print("python", platform.python_version(), sep="\t")
if u.find_spec("venv"): print("python_venv", "yes", sep="\t")
for module, name in ("numpy", "numpy"), ("PIL", "Pillow"), ("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"):
    if u.find_spec(module):
        try: version = m.version(name)
        except m.PackageNotFoundError: version = "unknown"
        print("has_" + module, version, sep="\t")
' 2>/dev/null || say python "$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
say weight_cache_kib "$(du -sk "$HOME/.edgekit/cache/weights" 2>/dev/null | cut -f1)"
say deployed "$(readlink "$HOME/.edgekit/current" 2>/dev/null)"
# What the deployed release runs on: its wheels lie unpacked, each with a folder NAME-VERSION.dist-info.
for found in "$HOME"/.edgekit/current/env/wheels/ai_edge_litert-*.dist-info "$HOME"/.edgekit/current/env/wheels/tflite_runtime-*.dist-info; do
    if [ -d "$found" ]; then found=${found##*/}; say runtime "${found%.dist-info}"; fi
done
while read -r key value _; do
    case "$key" in
        MemTotal:) say memory_total_kib "$value" ;;
        MemAvailable:) say memory_available_kib "$value" ;;
        SwapFree:) say swap_free_kib "$value" ;;
    esac
done <"$root/proc/meminfo"
df -Pk "$HOME" 2>/dev/null | {
    read -r _
    read -r device _ _ free _
    say disk_free_kib "$free"
    say disk_device "$device"
}
# All clusters, in the way that edgekit benchmark reads them: the policies, or the cores where a kernel has none.
cpu=$root/sys/devices/system/cpu
set -- "$cpu"/cpufreq/policy*
[ -d "$1" ] || set -- "$cpu"/cpu[0-9]*/cpufreq
for policy in "$@"; do
    [ -d "$policy" ] || continue
    cpus=$(first "$policy/related_cpus")
    core=${policy%/cpufreq}; core=${core##*/cpu}
    [ -n "$cpus" ] || case "$core" in *[!0-9]*) ;; *) cpus=$core ;; esac
    governor=$(first "$policy/scaling_governor") now=$(first "$policy/scaling_cur_freq") most=$(first "$policy/cpuinfo_max_freq")
    midr=$(first "$cpu/cpu${cpus%% *}/regs/identification/midr_el1")
    say governor "$governor"
    say cluster "${now:--} ${most:--} ${governor:--} ${midr:--} $cpus"
done
for zone in "$root"/sys/class/thermal/thermal_zone*; do
    [ -r "$zone/temp" ] && say temperature "$(first "$zone/type") $(first "$zone/temp")"
done
flags=$(first "$root"/sys/devices/platform/soc*/soc*:firmware/get_throttled)
[ -z "$flags" ] || say throttled "throttled=0x${flags#0x}"
vcgencmd=$(command -v vcgencmd)
if [ -n "$vcgencmd" ]; then
    say vcgencmd "$vcgencmd"
    said=$(vcgencmd get_throttled 2>&1 </dev/null); code=$?
    case "$said" in
        throttled=0x*) [ -n "$flags" ] || say throttled "$said" ;;
        *) say vcgencmd_failed "exit code $code: ${said:-no answer}" ;;
    esac
fi
say vcio "$([ -e "$root/dev/vcio" ] && echo yes)"
if [ -e "$root/.dockerenv" ]; then say container docker
elif [ -e "$root/run/.containerenv" ]; then say container podman
elif [ -r "$root/run/systemd/container" ]; then say container "$(first "$root/run/systemd/container")"
else say container "$(tr '\000' '\n' 2>/dev/null <"$root/proc/1/environ" | sed -n 's/^container=//p')"
fi 2>/dev/null
say clock_synchronized "$(timedatectl show -p NTPSynchronized --value 2>/dev/null)"
say systemd "$([ -d /run/systemd/system ] && echo yes)"
say sudo "$(sudo -n true 2>/dev/null && echo yes)"
access() { if [ ! -e "$root$1" ]; then echo absent; elif [ -w "$root$1" ]; then echo writable; else echo denied; fi; }
for device in "$root"/sys/bus/usb/devices/*; do
    [ -r "$device/idVendor" ] || continue
    id="$(first "$device/idVendor"):$(first "$device/idProduct")"
    case "$id" in
        1a6e:089a | 18d1:9302)
            node=$(printf '/dev/bus/usb/%03d/%03d' "$(first "$device/busnum")" "$(first "$device/devnum")")
            say edgetpu_usb "$id $(first "$device/speed") $node $(access "$node")" ;;
    esac
done
for device in "$root"/sys/bus/pci/devices/*; do
    [ -r "$device/vendor" ] || continue
    vendor=$(first "$device/vendor") id=$(first "$device/device")
    driver=; [ -L "$device/driver" ] && driver=$(readlink "$device/driver") && driver=${driver##*/}
    case "$vendor:$id" in
        0x1ac1:0x089a)
            say edgetpu_pci "$vendor:$id $driver"
            say gasket "$(dpkg-query -W -f '${Version}' gasket-dkms 2>/dev/null)" ;;
        0x1e60:*) say accelerator "PCI ${vendor#0x}:${id#0x} $driver" ;;
    esac
done
for sensor in "$root"/sys/bus/i2c/devices/*/name; do
    [ "$(first "$sensor")" = imx500 ] && say accelerator "I2C imx500"
done
for node in "$root"/dev/apex_*; do
    [ -e "$node" ] && say apex "${node#"$root"} $(access "${node#"$root"}")"
done
for node in "$root"/dev/hailo[0-9]*; do
    [ -e "$node" ] && say hailo "${node#"$root"} $(access "${node#"$root"}")"
done
say apex_temperature "$(first "$root/sys/class/apex/apex_0/temp")"
for library in $(ldconfig -p 2>/dev/null | sed -n 's/.*libedgetpu\.so\.1.*=> //p'); do say libedgetpu "$library"; done
say done 1
