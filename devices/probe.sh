# What `edgekit doctor` asks a board. POSIX sh, read-only, needs nothing installed. Prints lines of "key<TAB>value".
# Sent to the board over the connection and run by its /bin/sh; every answer is optional.
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/opt/vc/bin; export PATH
# Builtins wherever they do: starting a program is the slow part on a small board, and on an emulated one.
newline='
'
say() { if [ -n "$2" ]; then printf '%s\t%s\n' "$1" "${2%%"$newline"*}"; fi; }
first() { for f in "$@"; do if [ -r "$f" ]; then IFS= read -r line <"$f" || [ -n "$line" ] || continue; printf '%s' "$line"; return 0; fi; done; }
text() { for f in "$@"; do if [ -r "$f" ]; then tr '\000' ' ' <"$f"; return 0; fi; done; }

say probe 1
say model "$(text /proc/device-tree/model /sys/firmware/devicetree/base/model)"
say compatible "$(text /proc/device-tree/compatible /sys/firmware/devicetree/base/compatible)"
say cpu_model "$(sed -n 's/^Model[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null)"
say cpu_parts "$(sed -n 's/^CPU part[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | sort | uniq -c | tr '\n' ';')"
say cpu_features "$(sed -n 's/^Features[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null)"
say cores "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
say machine "$(uname -m)"
say kernel "$(uname -sr)"
say userland_bits "$(getconf LONG_BIT 2>/dev/null)"
if [ -r /etc/os-release ]; then
    . /etc/os-release
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
say deployed "$(readlink "$HOME/.edgekit/current" 2>/dev/null)"
while read -r key value _; do
    case "$key" in
        MemTotal:) say memory_total_kib "$value" ;;
        MemAvailable:) say memory_available_kib "$value" ;;
        SwapFree:) say swap_free_kib "$value" ;;
    esac
done </proc/meminfo
df -Pk "$HOME" 2>/dev/null | {
    read -r _
    read -r device _ _ free _
    say disk_free_kib "$free"
    say disk_device "$device"
}
say governor "$(first /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)"
say clock_khz "$(first /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq)"
say clock_max_khz "$(first /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq)"
for zone in /sys/class/thermal/thermal_zone*; do
    [ -r "$zone/temp" ] && say temperature "$(first "$zone/type") $(first "$zone/temp")"
done
say throttled "$(vcgencmd get_throttled 2>/dev/null)"
say vcgencmd "$(command -v vcgencmd)"
say clock_synchronized "$(timedatectl show -p NTPSynchronized --value 2>/dev/null)"
say systemd "$([ -d /run/systemd/system ] && echo yes)"
say sudo "$(sudo -n true 2>/dev/null && echo yes)"
for device in /sys/bus/usb/devices/*; do
    [ -r "$device/idVendor" ] || continue
    id="$(first "$device/idVendor"):$(first "$device/idProduct")"
    case "$id" in
        1a6e:089a | 18d1:9302)
            node=$(printf '/dev/bus/usb/%03d/%03d' "$(first "$device/busnum")" "$(first "$device/devnum")")
            say edgetpu_usb "$id $(first "$device/speed") $node $([ -w "$node" ] && echo writable || echo denied)" ;;
    esac
done
for device in /sys/bus/pci/devices/*; do
    [ -r "$device/vendor" ] || continue
    id="$(first "$device/vendor"):$(first "$device/device")"
    [ "$id" = "0x1ac1:0x089a" ] && say edgetpu_pci "$id $([ -e "$device/driver" ] && basename "$(readlink "$device/driver")")"
done
for node in /dev/apex_*; do
    [ -e "$node" ] && say apex "$node $([ -w "$node" ] && echo writable || echo denied)"
done
say apex_temperature "$(first /sys/class/apex/apex_0/temp)"
for library in $(ldconfig -p 2>/dev/null | sed -n 's/.*libedgetpu\.so\.1.*=> //p'); do say libedgetpu "$library"; done
say done 1
