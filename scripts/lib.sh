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

TOP=$(realpath "${BASH_SOURCE[0]%/*}/..")
CACHE=$(realpath -m "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}")/toyfs
SUITE=trixie
JOBS=$(nproc)
export TOP CACHE

mkdir -p "$CACHE"/{lock,log,mnt}

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

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
	setpriv --pdeathsig KILL bash -c '
		while sleep 15; do
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

# need_host: what the host must have.
need_host() {
	local command package missing=()
	while read -r command package; do
		case $command in '' | '#'*) continue ;; esac
		command -v "$command" >/dev/null || missing+=("$package")
	done <"$TOP/scripts/packages.host"
	if [ "$(id -u)" != 0 ]; then
		# Without root, a range of user ids of one's own stands in for those of the tree.
		command -v newuidmap >/dev/null || missing+=(uidmap)
		((${#missing[@]} == 0)) || die "missing on this host: ${missing[*]}
As root: apt-get install ${missing[*]}"
		grep -q "^$(id -un):" /etc/subuid || die "$(id -un) has no range of user ids in /etc/subuid.
As root: usermod --add-subuids 500000-565535 --add-subgids 500000-565535 $(id -un)"
	fi
	((${#missing[@]})) || return 0
	export DEBIAN_FRONTEND=noninteractive
	step "installing on the host: ${missing[*]}" "$CACHE/log/host.log" '' \
		sh -c 'apt-get update && exec apt-get install -y --no-install-recommends "$@"' sh "${missing[@]}"
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

# assemble: a root file system in $ROOT: the tree's folders read-only, everything else empty and in memory.
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
				mount --bind "$entry" "$ROOT/${entry##*/}"
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
		CARGO_HTTP_CAINFO CARGO_NET_OFFLINE KBUILD_VERBOSE V RUST_BACKTRACE "${!LOOM_@}" "${!CARGO_REGISTRIES_@}" \
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
	mmdebstrap --variant=minbase --aptopt="$1.conf" \
		--include="$(words "$TOP/scripts/packages.tree" | paste -sd,)" "$SUITE" "$1" "$1.list"
}
