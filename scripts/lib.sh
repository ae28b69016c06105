# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts share: where things are kept, how progress is shown, how the toolchain tree is entered.

set -euo pipefail
unset MAKEFLAGS MFLAGS MAKELEVEL CDPATH
umask 022
PATH=$PATH:/usr/sbin:/sbin

# A script that another one called ends with it, whatever ended that one.
if [ -n "${TOYFS_NESTED:-}" ] && [ "$TOYFS_NESTED" != $$ ] && [ -z "${BASH_EXECUTION_STRING:-}" ]; then
	export TOYFS_NESTED=$$
	exec setpriv --pdeathsig TERM "$0" "$@"
fi
export TOYFS_NESTED=$$

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

TOP=$(realpath "${BASH_SOURCE[0]%/*}/..")
CACHE=$(realpath -m "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}")/toyfs
SUITE=trixie
SERIES=${TOYFS_SERIES:-7.3}
JOBS=$(nproc)
export TOP CACHE

# Make takes these for its own, in the names of files as well.
case $TOP/$CACHE in
*[[:space:]:\#%\$\\\'\"\`\;\&\|\<\>\(\)\*\?\[\]]*)
	die "Kbuild cannot work with spaces, colons and the like in names of folders. Move the checkout ($TOP), or name another cache in XDG_CACHE_HOME ($CACHE)." ;;
esac

# What may be about a kernel and tools of somebody else's only (dkms calls it, for one) sets `cacheless`, and makes no cache.
[ -n "${cacheless:-}" ] || mkdir -p "$CACHE"/{lock,log,mnt} 2>/dev/null ||
	die "$CACHE cannot be made: name a folder in XDG_CACHE_HOME that can be written to"

# hash: the first 12 hexadecimal digits of what stands on stdin.
hash() { sha256sum | cut -c1-12; }

# locked NAME COMMAND...: COMMAND, alone among all who use NAME in this cache.
locked() {
	local fd name=$1
	shift
	exec {fd}>"$CACHE/lock/$name"
	flock -n "$fd" || { say "waiting for another run to finish with: $name"; flock "$fd"; }
	"$@"
	exec {fd}>&-
}

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# step WHAT LOG COUNT COMMAND...: runs COMMAND with its output in LOG, a line when it starts and ends, and one every
# 15 s between. COUNT, when not empty, is a command whose output says how far it is. A failure shows the end of LOG.
step() {
	local what=$1 log=$2 count=$3 begin=$SECONDS rc=0 ticker
	shift 3
	say "$what ..."
	# (Nobody writes to that pipe. A program that sleeps would outlive the shell, and keep the locks that it was given.)
	setpriv --pdeathsig KILL bash -c '
		exec {pipe}<> <(:)
		until read -rt 15 -u $pipe || [ $? -le 128 ]; do
			printf "  %s: %d:%02d%s\n" "$0" $((SECONDS / 60)) $((SECONDS % 60)) "${1:+, $(eval "$1" 2>/dev/null)}"
		done' "$what" "$count" </dev/null >&2 &
	ticker=$!
	"$@" </dev/null >"$log" 2>&1 &
	ends_with_us $! TERM || rc=$?
	kill "$ticker"
	wait "$ticker" 2>/dev/null ||:
	if [ "$rc" = 0 ]; then
		say "  $what: done in $(clock $((SECONDS - begin)))"
	else
		say "  $what: FAILED after $(clock $((SECONDS - begin))); the end of $log:"
		tail -n 30 "$log" >&2
	fi
	return "$rc"
}

# words FILE: the words of FILE without its comments.
words() { sed 's/#.*//' "$1" | xargs -n 1; }

# The names under which the cache keeps things say what went into them.
tree_dir() {
	echo "$CACHE/toolchain-$({ echo 1 "$SUITE"; words "$TOP/scripts/packages.tree" | sort; } | hash)"
}

out_dir() { # ARCH CONFIG
	echo "$CACHE/out-$(echo "$TOP" | hash)/$1-$2"
}

# kernel_id KDIR: changes when that kernel is built anew.
kernel_id() { echo "$1 $(stat -c %Y "$1/Module.symvers" 2>/dev/null) $(cat "$1/complete" 2>/dev/null)"; }

# state_of DIR: changes when somebody works on the source in DIR: git's commit and what differs from it; without git,
# names, sizes and times of all files.
state_of() {
	if [ "$(git -C "$1" rev-parse --show-toplevel 2>/dev/null)" = "$1" ] && git -C "$1" rev-parse -q --verify HEAD >/dev/null; then
		{
			git -C "$1" rev-parse HEAD
			git -C "$1" diff --no-ext-diff --binary HEAD
			git -C "$1" ls-files -z --others --exclude-standard | (cd "$1" && xargs -0r sha256sum)
		} | hash
	else
		find "$1" -name .git -prune -o -type f -printf '%P %s %T@\n' | LC_ALL=C sort | hash
	fi
}

# old: what is in the cache and no checkout uses. A checkout names itself and its kernels in its output folders.
old() {
	local entry at used=() kdir
	used=("$(tree_dir)" "$(newest_source)")
	for entry in "$CACHE"/out-*; do
		[ -e "$entry" ] || continue
		# (Those of other versions of these scripts name nothing; they last for 30 days.)
		at=$(cat "$entry/checkout" 2>/dev/null ||:)
		if [ -n "$at" ]; then
			[ -e "$at/scripts/lib.sh" ] || { echo "$entry"; continue; }
		else
			[ -n "$(find "$entry" -maxdepth 1 -mtime -30 -print -quit)" ] || { echo "$entry"; continue; }
		fi
		used+=("$(cat "$entry/tree" 2>/dev/null ||:)")
		for at in "$entry"/*/kernel; do
			[ ! -e "$at" ] || { kdir=$(cut -d ' ' -f 1 "$at"); used+=("$kdir" "$(readlink -f "$kdir/source" ||:)"); }
		done
	done
	# Nobody names these; who uses one touches it.
	find "$CACHE" -maxdepth 1 \( -name 'beside-*' -o -name 'xfstests-*' -o -name 'peers-*' \) -mtime +30
	for entry in "$CACHE"/{kernel-*,toolchain-*,source-*,new-*,log/*}; do
		[ -e "$entry" ] || continue
		case $entry in
		# Still being built, or not yet used by a module.
		"$CACHE"/log/* | "$CACHE"/kernel-* | "$CACHE"/new-*) [ -z "$(find "$entry" -maxdepth 1 -mtime -1 -print -quit)" ] || continue ;;
		esac
		printf '%s\n' "${used[@]}" | grep -qxF "$entry" || echo "$entry"
	done
}

newest_source() { find "$CACHE" -maxdepth 1 -name "source-$SERIES.*" | sort -V | tail -n 1; }

# mention_old: one line about what `scripts/clean --old` would remove, if that is much.
mention_old() {
	local found size
	mapfile -t found < <(old)
	((${#found[@]})) || return 0
	size=$(du -scm "${found[@]}" 2>/dev/null | tail -n 1 | cut -f 1)
	[ "$size" -lt 100 ] ||
		say "$CACHE: $size MiB of ${#found[@]} old builds that no checkout uses; scripts/clean --old removes them, make distclean everything"
}

# need_room MIB WHAT: WHAT is about to take MIB MiB of the cache.
need_room() {
	local free
	free=$(df -Pk "$CACHE" | awk 'NR == 2 { print int($4 / 1024) }')
	[ "$free" -ge "$1" ] || die "$2 takes $1 MiB, and $CACHE has $free free: make room (scripts/clean --old removes what no checkout uses), or name another place in XDG_CACHE_HOME"
}

# debian_keys: the keys of the Debian archive, where apt does not trust them anyway.
debian_keys() {
	local keys
	if [ -n "${TOYFS_KEYRING:-}" ]; then
		[ -r "$TOYFS_KEYRING" ] || die "TOYFS_KEYRING: no file $TOYFS_KEYRING"
		realpath "$TOYFS_KEYRING"
		return
	fi
	! compgen -G "/etc/apt/trusted.gpg.d/debian-archive-*" >/dev/null || return 0
	for keys in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
		[ ! -r "$keys" ] || { echo "$keys"; return; }
	done
	return 1
}

# apt ARGS...: apt-get, when nobody else is using it. (It has an option to wait, which "update" does not heed.)
apt() {
	local rc i said
	for ((i = 0; i < ${TOYFS_APT_WAIT:-300}; i += 5)); do
		rc=0
		said=$(LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=60 "$@" 2>&1 </dev/null) || rc=$?
		printf '%s\n' "$said"
		[ "$rc" != 0 ] && grep -qE 'Could not get lock|Unable to (acquire|lock)' <<<"$said" || return "$rc"
		[ "$i" != 0 ] || say "waiting for another apt to finish: $(grep -oEm 1 'held by process.*' <<<"$said" ||:)"
		sleep "$((i < 5 ? 1 : 5))"
	done
	say "another program keeps apt's lock: try again when it has ended"
	return "$rc"
}

apt_update_install() { apt update && apt install -y --no-install-recommends "$@"; }

# need_host: what the host must have.
need_host() {
	local command package missing=()
	while read -r command package; do
		case $command in '' | '#'*) continue ;; esac
		command -v "$command" >/dev/null || missing+=("$package")
	done <"$TOP/scripts/packages.host"
	debian_keys >/dev/null || missing+=(debian-archive-keyring)
	if [ "$(id -u)" != 0 ]; then
		# Without root, a range of user ids of one's own stands in for those of the tree.
		command -v newuidmap >/dev/null || missing+=(uidmap)
		((${#missing[@]} == 0)) || die "missing on this host: ${missing[*]}
As root: apt-get install ${missing[*]}"
		grep -q "^$(id -un):" /etc/subuid || die "$(id -un) has no range of user ids in /etc/subuid.
As root: usermod --add-subuids 500000-565535 --add-subgids 500000-565535 $(id -un)"
	fi
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null || die "missing on this host, which has no apt-get to install it: ${missing[*]}"
	step "installing on the host: ${missing[*]}" "$CACHE/log/host.log" "tail -n 1 '$CACHE/log/host.log' | cut -c1-80" \
		apt_update_install "${missing[@]}" ||
		die "this host lacks: ${missing[*]}. As root: apt-get update && apt-get install ${missing[*]}"
}

# need_namespaces: what private() does must be allowed here.
need_namespaces() {
	local user=("$@") said
	[ -z "${TOYFS_NAMESPACES:-}" ] || return 0
	# shellcheck disable=SC2016
	said=$(unshare "${user[@]}" --mount --pid --fork --kill-child --propagation private sh -c '
		mount -t tmpfs toyfs "$1" && mkdir "$1/proc" && mount -t proc proc "$1/proc"' sh "$CACHE/mnt" 2>&1) || {
		said=$(tail -n 1 <<<"$said")
		if [ "$(id -u)" = 0 ]; then
			die "no namespaces and mounts here ($said): a container needs --privileged, or run this outside of it"
		elif [ "$(cat "/proc/sys/kernel/apparmor_restrict_unprivileged_userns" 2>/dev/null)" = 1 ]; then
			die "AppArmor forbids user namespaces ($said). Run this as root; or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
		else
			die "no user namespaces here ($said): run this as root"
		fi
	}
	export TOYFS_NAMESPACES=y
}

# ends_with_us PID: PID, which leads the work, goes when we are told to go, and its status is ours.
ends_with_us() {
	local rc=0
	# shellcheck disable=SC2064
	trap "kill -$2 $1 2>/dev/null; exit 130" INT TERM HUP
	wait "$1" || rc=$?
	trap - INT TERM HUP
	return "$rc"
}

# private COMMAND...: COMMAND as root in mount and process namespaces of its own. Whatever it mounts and starts goes
# with it, also when we are killed.
private() {
	local user=()
	[ "$(id -u)" = 0 ] || user=(--user --map-root-user --map-auto)
	need_namespaces "${user[@]}"
	setpriv --pdeathsig KILL unshare "${user[@]}" --mount --pid --fork --kill-child --propagation private \
		bash -c '. "$0/scripts/lib.sh"; "$@"' "$TOP" "$@" <&0 &
	ends_with_us $! KILL
}

# remove PATH...: also when it holds files of the ids that stand in for the tree's.
remove() { private rm -rf --one-file-system "$@"; }

# ---- Below: only called inside private ----

# bind SOURCE [ro]: makes SOURCE visible in the root under construction, at its own path.
bind() {
	local at=$ROOT$1
	if [ -d "$1" ]; then
		mkdir -p "$at" 2>/dev/null
	else
		mkdir -p "${at%/*}" && touch "$at"
	fi 2>/dev/null || [ -e "$at" ] || die "$1: cannot be shown inside the tree, which has its own ${1%/*}"
	mount --bind "$1" "$at"
	[ "${2:-}" != ro ] || mount -o remount,bind,ro "$at"
}

# assemble: a root file system in $ROOT: the tree's folders read-only, with those of $TOYFS_BESIDE (scripts/beside) laid
# over them, everything else empty and in memory.
assemble() {
	local tree entry
	tree=$(tree_dir)
	ROOT=$CACHE/mnt
	mount -t tmpfs -o mode=755,size=90% toyfs "$ROOT"
	for entry in "$tree"/*; do
		case ${entry##*/} in
		proc | sys | dev | tmp | run | root | home | mnt | opt | work) mkdir "$ROOT/${entry##*/}" ;;
		*)
			if [ -L "$entry" ]; then
				cp -P "$entry" "$ROOT"
			else
				mkdir "$ROOT/${entry##*/}"
				if [ -n "${TOYFS_BESIDE:-}" ] && [ -d "$TOYFS_BESIDE/${entry##*/}" ]; then
					mount -t overlay -o "lowerdir=$TOYFS_BESIDE/${entry##*/}:$entry" toyfs "$ROOT/${entry##*/}" ||
						die "no overlay of $TOYFS_BESIDE and the tree can be mounted here"
				else
					mount --bind "$entry" "$ROOT/${entry##*/}"
				fi
				mount -o remount,bind,ro "$ROOT/${entry##*/}"
			fi
			;;
		esac
	done
	chmod 1777 "$ROOT/tmp"
	mount -t proc proc "$ROOT/proc"
	mount --rbind /dev "$ROOT/dev"
	mount -t tmpfs tmpfs "$ROOT/var/tmp"
	mount -t tmpfs tmpfs "$ROOT/var/lib/apt"
	mount -t tmpfs tmpfs "$ROOT/var/cache"
	# Name service and certificates are the host's: it may have an authority and a resolver of its own.
	for entry in /etc/resolv.conf /etc/hosts /etc/ssl/certs; do
		[ ! -e "$entry" ] || [ ! -e "$ROOT$entry" ] || mount --bind "$(realpath "$entry")" "$ROOT$entry"
	done
}

# within DIR COMMAND...: COMMAND in DIR of the assembled root, with a small environment.
within() {
	local dir=$1 keep=() name
	shift
	for name in TERM COLUMNS LINES {http,https,no,all}_proxy {HTTP,HTTPS,NO,ALL}_PROXY SSL_CERT_FILE SSL_CERT_DIR \
		CARGO_HTTP_CAINFO CARGO_NET_OFFLINE KBUILD_VERBOSE V RUST_BACKTRACE PREEMPTIONS "${!LOOM_@}" "${!CARGO_REGISTRIES_@}" \
		"${!CARGO_SOURCE_@}" "${!CARGO_REGISTRY_@}"; do
		[ -z "${!name:-}" ] || keep+=("$name=${!name}")
	done
	# shellcheck disable=SC2016
	exec env -i "${keep[@]}" HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		CARGO_HOME="$CACHE/cargo" chroot "$ROOT" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$dir" "$@"
}

# in_tree [--rw] COMMAND...: COMMAND in the current directory of the tree, the checkout read-only unless --rw.
in_tree() {
	local mode=ro extra dir
	[ "$1" != --rw ] || { mode=''; shift; }
	assemble
	bind "$CACHE"
	bind "$TOP" $mode
	for extra in ${TOYFS_BIND:-}; do bind "$extra" $mode; done
	dir=$PWD
	[ -d "$ROOT$dir" ] || dir=/
	within "$dir" "$@"
}

# build_tree DIR: fills DIR. In a namespace of its own, so that a killed run leaves no mount.
build_tree() {
	local keys
	keys=$(debian_keys)
	mmdebstrap --variant=minbase --aptopt="$1.conf" ${keys:+--keyring="$keys"} \
		--include="$(words "$TOP/scripts/packages.tree" | paste -sd,)" "$SUITE" "$1" "$1.list"
}
