#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/memory.sh kmemleak|kasan [TEST...]: is memory lost, or used after it was freed? Those tests of tests/run in which
# requests complete later, fail, or are under way when their task dies, the file system is unmounted or the module goes,
# in a kernel that looks for just that. That kernel must also notice deliberate mistakes (rust/faulty.rs). Runs on the
# host. The last line counts.

export LC_ALL=C
top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
leaks=/sys/kernel/debug/kmemleak

# In the guest: how many objects nobody refers to any more, since the last time. (What is younger than 5 s is not reported.)
lost()
{
	sleep 6
	echo scan >$leaks && echo scan >$leaks && cat $leaks >/tmp/leaks && echo clear >$leaks || return
	# What was allocated while the kernel booted was not by us, and the last pointer to some of it comes and goes.
	count=$(grep -A1 '^unreferenced object' /tmp/leaks | grep '^  comm ' | grep -vc '^  comm "swapper/' ||:)
}

case $1 in
--guest)
	shift
	# When to look is said here, not by the kernel's own clock.
	echo scan=off >$leaks || { echo "no kmemleak in this kernel"; exit 1; }
	lost || exit
	insmod "${TOYFS_KO%/*}/faulty.ko" fault=1 && rmmod faulty && lost || exit
	# One or the other address may still lie somewhere.
	if [ "$count" -gt 8 ]; then echo "PASS lost memory is noticed: $count of 16 objects"
	else echo "FAIL lost memory is noticed: $count of 16 objects"; fi
	"$@"
	lost || exit
	if [ "$count" = 0 ]; then echo "PASS no memory was lost"
	else echo "FAIL $count objects were lost"; head -n 100 /tmp/leaks; fi
	exit 0 ;;
# With one CPU: user-mode Linux starts others in a way of which RCU complains when kmemleak is on.
kmemleak) vm=(--cpus 1 --append kmemleak=on --expect-splat 'kmemleak: [0-9]+ new suspected') around=("$0" --guest) ;;
kasan) vm=(--config kasan) around=() ;;
*) echo "usage: $0 kmemleak|kasan [TEST...]" >&2; exit 2 ;;
esac
what=$1
shift
[ $# -gt 0 ] || case $what in
kmemleak) set -- 020 042 044 065 ;;
kasan) set -- 001 016 018 042 044 060 065 066 068 070 074 076 081 ;;
esac

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
. "$top/scripts/tally.sh"

# notices NAME FAULT COMPLAINT
notices()
{
	# shellcheck disable=SC2016
	tally "$1" "$top/scripts/vm" --arch um "${vm[@]}" --expect-splat "$3" -- sh -c \
		'insmod "${TOYFS_KO%/*}/faulty.ko" fault="$1" && rmmod faulty' sh "$2"
}

# Another kernel in its place has found nothing good.
refused()
{
	KDIR=$("$top/scripts/kernel" um debug) "$top/scripts/vm" --arch um --config kasan --no-build -- true >"$log" 2>&1
	[ $? = 99 ] && grep -q 'no KASAN' "$log" && return
	cat "$log"
	return 1
}

if [ "$what" = kasan ]; then
	notices "memory that was freed is noticed" 2 'BUG: KASAN: slab-use-after-free in .*faulty'
	notices "memory beside an array is noticed" 3 'BUG: KASAN: slab-out-of-bounds in .*faulty'
	tally "a kernel without KASAN is noticed" refused
fi
# Either makes the kernel several times slower.
"$top/scripts/vm" --arch um "${vm[@]}" --timeout 900 -- env TIME_FACTOR=2 "${around[@]}" "$top/tests/run" "$@" 2>&1 | tee "$log" |
	grep -v '^[0-9]* passed, '
ret=${PIPESTATUS[0]}
count() { grep -c "^$1 " "$log"; }
ran=$(count PASS) passed=$((passed + ran)) failed=$((failed + $(count FAIL))) skipped=$((skipped + $(count SKIP)))
[ "$what" = kasan ] || ran=$((ran - $(grep -cE '^PASS (lost memory is noticed|no memory was lost)' "$log")))
came_to_its_end()
{
	[ "$ret" = 0 ] && [ "$ran" -gt 0 ] && { [ "$what" = kasan ] || grep -qE '^(PASS no memory was|FAIL .* were) lost' "$log"; } && return
	echo "status $ret, $ran tests passed; the end of what was printed:"
	tail -n 40 "$log"
	return 1
}
tally "it came to its end, and the kernel complained of nothing else" came_to_its_end
tallied
