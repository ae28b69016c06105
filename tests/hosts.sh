#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/hosts.sh: on a machine that lacks something, the scripts say in a line what to do. What is not like here is made
# up: other programs come first in PATH, other files are mounted over ours, in namespaces of their own. The last line counts.

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/scripts/tally.sh"
set +e
unset TOYFS_MIRROR TOYFS_KEYRING TOYFS_NESTED TOYFS_NAMESPACES KSRC KDIR
dir=$(mktemp -d /tmp/toyfs-hosts.XXXXXX)
trap 'rm -rf "$dir"' EXIT
export dir
cache=${XDG_CACHE_HOME:-}
shown=$dir/out top=$TOP unshare=$(command -v unshare)

# fresh: a host with an empty cache, an apt that has a Debian mirror, and a mmdebstrap that only says how it was called.
fresh()
{
	rm -rf "$dir"/*
	mkdir -p "$dir"/{bin,cache/toyfs,empty}
	export XDG_CACHE_HOME=$dir/cache
	program mmdebstrap 'echo "$@" >$dir/mmdebstrap; cp "${@: -1}" $dir/list; exit 1'
	program apt-get 'case $* in *indextargets*) echo "http://deb.example/debian trixie" ;; *) exit 1 ;; esac'
}

program() { printf '#!/bin/bash\n%s\n' "$2" >"$dir/bin/$1"; chmod +x "$dir/bin/$1"; }

# A cache that has the tree, though an empty one, and the kernel's source.
with_tree() { mkdir -p "$(CACHE=$dir/cache/toyfs tree_dir)" "$dir/cache/toyfs/source-$SERIES.1"; }

somebody() { program id 'case $1 in -u) echo 1000 ;; *) echo somebody ;; esac'; program newuidmap ''; }

# says WHAT PATTERN LINES COMMAND...: COMMAND fails within 30 s, with PATTERN on its last line, in at most LINES lines,
# and without a word of the shell's. $before runs in the same mount namespace first.
says()
{
	local what=$1 pattern=$2 lines=$3 rc=0

	shift 3
	PATH=$dir/bin:${path:-$PATH} "$unshare" "${user[@]}" --mount --propagation private bash -c '
		eval "$1" || exit 99; shift; exec timeout 30 "$@"' sh "${before:-:}" "$@" >"$dir/out" 2>&1 </dev/null || rc=$?
	before=''
	tally "$what" said $rc "$pattern" "$lines"
}

said() # STATUS PATTERN LINES
{
	[ "$1" -ge 1 ] && [ "$1" -lt 99 ] && tail -n 1 "$dir/out" | grep -qE -- "$2" &&
		[ "$(wc -l <"$dir/out")" -le "$3" ] && ! grep -qE 'unbound|: line [0-9]+:|syntax' "$dir/out" && return
	echo "status $1, expected: $2"
	return 1
}

user=()
[ "$(id -u)" = 0 ] || user=(--user --map-root-user)

# --- The packages ---
fresh
program apt-get 'case $* in *Origin*) ;; *indextargets*) echo "http://archive.ubuntu.com/ubuntu noble" ;; *) exit 1 ;; esac'
says "apt without a Debian mirror" "set TOYFS_MIRROR=" 1 scripts/toolchain true
says "the same, asked for a kernel" "set TOYFS_MIRROR=" 1 scripts/kernel um debug

fresh
before='mount --bind $dir/empty /etc/apt/trusted.gpg.d; mount --bind $dir/empty /usr/share/keyrings'
says "no keys of the Debian archive" "this host lacks: debian-archive-keyring. As root: apt-get update && apt-get install debian-arch" 9 \
	scripts/toolchain true
touch "$dir/empty/debian-archive-keyring.gpg"
before='mount --bind $dir/empty /usr/share/keyrings; mount -t tmpfs none /etc/apt/trusted.gpg.d'
says "keys that apt does not trust by itself (stops in our mmdebstrap)" . 9 scripts/toolchain true
tally "mmdebstrap was given them" grep -q -- "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg" "$dir/mmdebstrap"
touch "$dir/keys"
says "TOYFS_KEYRING, TOYFS_MIRROR (stops in our mmdebstrap)" . 9 \
	env TOYFS_KEYRING="$dir/keys" TOYFS_MIRROR=http://mirror.example/debian scripts/toolchain true
grep -q -- "--keyring=$dir/keys" "$dir/mmdebstrap" && grep -q '^deb http://mirror.example/debian trixie main' "$dir/list"
tally "mmdebstrap was given both" [ $? = 0 ]
says "TOYFS_KEYRING that is not there" "TOYFS_KEYRING: no file" 1 env TOYFS_KEYRING="$dir/none" scripts/toolchain true

fresh
program apt-get 'case $* in *indextargets*) [ ! -e $dir/lists ] || echo "http://deb.example/debian trixie" ;;
	*update) touch $dir/lists ;; *) exit 1 ;; esac'
says "apt without lists (stops in our mmdebstrap)" . 9 scripts/toolchain true
tally "it was updated first" grep -q '^deb http://deb.example/debian trixie main' "$dir/list"
rm -f "$dir/lists"
somebody
before='mount --bind <(echo somebody:500000:65536) /etc/subuid 2>/dev/null || { echo somebody:500000:65536 >$dir/subuid; mount --bind $dir/subuid /etc/subuid; }'
says "apt without lists, not as root" "As root: apt-get update; or set TOYFS_MIRROR" 1 scripts/toolchain true

# A machine without mmdebstrap.
fresh
mkdir "$dir/usr"
ln -s /usr/bin/* "$dir/usr"
rm -f "$dir"/usr/mmdebstrap "$dir/bin/mmdebstrap"
path=$dir/usr
locked='echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (unattended-upgr)"; exit 100'
program apt-get "$locked"
for command in "scripts/toolchain true" "scripts/kernel um debug"; do
	# shellcheck disable=SC2086
	says "apt in use for longer than we wait: $command" "this host lacks: mmdebstrap. As root:" 12 env TOYFS_APT_WAIT=3 $command
	tally "it said what holds it up" grep -q "another program keeps apt's lock" "$dir/out"
done
program apt-get "case \$* in *indextargets*) echo 'http://deb.example/debian trixie'; exit ;; esac
	[ -e \$dir/tried ] || { touch \$dir/tried; $locked; }
	case \$* in *install*) printf '#!/bin/bash\necho \"\$@\" >\$dir/mmdebstrap; exit 1' >\$dir/bin/mmdebstrap; chmod +x \$dir/bin/mmdebstrap ;; esac"
says "apt in use for a while (stops in our mmdebstrap)" . 15 scripts/toolchain true
tally "it waited, and went on" [ -s "$dir/mmdebstrap" ]
path=

# --- Somebody's xfstests ---
fresh
says "make xfstests without a checkout" "^make: " 2 make xfstests
tally "it said what it wants" grep -q "make xfstests XFSTESTS=DIR" "$dir/out"
says "xfstests in a folder that has none" "empty is no checkout of xfstests" 1 scripts/xfstests "$dir/empty"
mkdir -p "$dir/x/tests/generic"
program check ''
cp "$dir/bin/check" "$dir/x"
says "xfstests with an unknown strategy" "SELFDIO is buffered or error" 1 env SELFDIO=no scripts/xfstests "$dir/x"
says "xfstests with half an hour" "HOURS and MINUTES are whole numbers" 1 env HOURS=0.5 scripts/xfstests "$dir/x"

# --- Namespaces ---
fresh
with_tree
program unshare 'echo "unshare: unshare failed: Operation not permitted" >&2; exit 1'
says "a container without namespaces" "a container needs --privileged" 1 scripts/toolchain true
somebody
says "no user namespaces" "run this as root" 1 scripts/toolchain true
before='mount -t tmpfs none /proc/sys/kernel && echo 1 >/proc/sys/kernel/apparmor_restrict_unprivileged_userns'
says "AppArmor forbids user namespaces" "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0" 1 scripts/toolchain true

# --- Room ---
small='mount -t tmpfs -o size=64m none $dir/cache'
fresh
before=$small
says "no room for the tree" "the toolchain tree takes [0-9]+ MiB, and .* has 6[0-9] free: make room" 1 scripts/toolchain true
before=$small
says "no room for the source" "source takes [0-9]+ MiB, and .* has 6[0-9] free: make room" 1 scripts/kernel um debug
before="$small; $(declare -f with_tree tree_dir hash words); with_tree"
export SUITE SERIES TOP
says "no room for a kernel" "the kernel um debug takes [0-9]+ MiB, and .* has 6[0-9] free: make room" 1 scripts/kernel um debug
before="$small; $(declare -f with_tree tree_dir hash words); with_tree"
says "no room for a part of it" "the kernel x86_64 release, as far as .* takes [0-9]+ MiB, and .* has 6[0-9] free: make room" 1 \
	scripts/kernel --prepared x86_64 release
before='mount -t tmpfs -o ro none $dir/cache'
says "a cache that cannot be written to" "name a folder in XDG_CACHE_HOME" 2 scripts/toolchain true

# --- Names of folders ---
for name in "a b" a:b 'a#b' "a'b"; do
	fresh
	mkdir "$dir/$name"
	cp -r "$top"/{scripts,Makefile} "$dir/$name"
	cd "$dir/$name" || exit
	says "checkout in '$name'" "Kbuild cannot work with spaces" 1 scripts/vm -- true
	says "make check in '$name'" "^make: |^check: 0 passed, 1 failed, 0 skipped$" 4 make check
	tally "its summary" grep -qx 'check: 0 passed, 1 failed, 0 skipped' "$dir/out"
	says "make demo in '$name'" "^make: |^demo: FAIL" 4 make demo
	cd "$top" || exit
	says "cache in '$name'" "Kbuild cannot work with spaces" 1 env XDG_CACHE_HOME="$dir/$name" scripts/vm -- true
done

# --- Kernels that cannot carry the module ---
fresh
k=$dir/k
mkdir -p "$k"
says "KDIR that is no kernel" "no kernel build directory" 1 scripts/preflight "$k"
touch "$k/Makefile"
says "KDIR that was not built" "not configured and built" 1 scripts/preflight "$k"
mkdir -p "$k/include/config"
touch "$k/Module.symvers"
printf 'CONFIG_%s=y\n' MODULES FS_IOMAP JBD2 >"$k/include/config/auto.conf"
says "a kernel without Rust" "scripts/config -e RUST && make olddefconfig" 2 scripts/preflight "$k"
says "make modules for it" "^make: " 3 make KDIR="$k" modules
tally "it said why" grep -q "this kernel has no CONFIG_RUST" "$dir/out"
printf 'CONFIG_%s=y\n' MODULES FS_IOMAP JBD2 RUST >"$k/include/config/auto.conf"
echo 'CONFIG_RUSTC_VERSION_TEXT="rustc 1.85.1"' >>"$k/include/config/auto.conf"
program rustc 'echo "rustc 1.85.1"'
program bindgen ''
says "headers without the Rust metadata" "out: build the kernel from its source.* scripts/metadata" 2 scripts/preflight "$k"
mkdir "$k/rust"
touch "$k/rust/libkernel.rmeta"
rm "$k/Module.symvers"
says "a kernel that was not built to its end" "has no Module.symvers" 1 scripts/preflight "$k"
touch "$k/Module.symvers"
program rustc 'echo "rustc 1.99.0"'
says "another compiler" "point RUSTC at that one" 2 scripts/preflight "$k"
program rustc 'echo "rustc 1.85.1"'
says "LLVM=1 for a kernel built with gcc" "without LLVM=1" 1 env LLVM=1 scripts/preflight "$k"
printf 'CONFIG_%s=y\n' MODULES JBD2 RUST 'RUSTC_VERSION_TEXT="rustc 1.85.1"' | sed 's/"=y$/"/' >"$k/include/config/auto.conf"
says "a kernel without iomap" "CONFIG_BLOCK brings it" 1 scripts/preflight "$k"
printf 'CONFIG_%s=y\n' MODULES FS_IOMAP RUST 'RUSTC_VERSION_TEXT="rustc 1.85.1"' | sed 's/"=y$/"/' >"$k/include/config/auto.conf"
says "a kernel without jbd2" "no CONFIG_JBD2; CONFIG_EXT4_FS" 1 scripts/preflight "$k"
says "make KDIR= without a home" "^make: " 3 env -u HOME XDG_CACHE_HOME="$dir/none" make KDIR="$k" modules
tally "it made no cache" [ ! -e "$dir/none" ]

# --- Headers of a distribution ---
# A compiler that makes one symbol of the kernel's crates; the kernel that runs has that of $1.
headers() {
	fresh
	k=$dir/k
	mkdir -p "$k/scripts" "$dir/src/rust" "$dir/lib/rustlib/src/rust/library"
	touch "$dir/src/rust/Makefile"
	printf 'CONFIG_%s=y\n' RUST CC_IS_GCC >"$k/.config"
	printf '0\tkmalloc\tvmlinux\tEXPORT_SYMBOL\n0\t%s\tvmlinux\tEXPORT_SYMBOL_GPL\n0\t_Rdriver\tdriver\tEXPORT_SYMBOL_GPL\n' "$1" \
		>"$k/Module.symvers"
	for tool in flex bison bc perl python3 bindgen gcc; do program $tool ''; done
	program rustc 'echo $dir/lib/..'
	program make 'for at; do case $at in O=*) o=${at#O=} ;; esac; done
		case $* in *modules_prepare*) mkdir $o/rust $o/scripts && echo "EXPORT_SYMBOL_RUST_GPL(_Rnew);" >$o/rust/exports_kernel_generated.h &&
			touch $o/rust/lib{kernel.rmeta,macros.so} $o/scripts/target.json ;;
		*) [ ! -e $dir/other ] || echo CONFIG_OTHER=y >>$o/.config ;; esac'
	before='mount -t tmpfs none /usr/include && mkdir /usr/include/openssl && touch /usr/include/{libelf.h,openssl/opensslv.h}'
}
headers _Rold
says "Rust metadata from another source" "2 symbols are not the same in that kernel" 6 scripts/metadata "$dir/src" "$k"
tally "nothing was put there" [ ! -e "$k/rust" ]
headers _Rnew
touch "$dir/other"
says "Rust metadata of another configuration" "the kernel would be another one" 4 scripts/metadata "$dir/src" "$k"
headers _Rnew
rm -r "$dir/lib"
says "no source of Rust's library" "On Debian: apt-get install rust-src$" 2 scripts/metadata "$dir/src" "$k"
headers _Rnew
PATH=$dir/bin:$PATH "$unshare" "${user[@]}" --mount --propagation private bash -c "$before; exec scripts/metadata $dir/src $k" >"$dir/out" 2>&1 &&
	[ -e "$k/rust/libkernel.rmeta" ] && [ -e "$k/rust/libmacros.so" ] && [ -e "$k/scripts/target.json" ]
tally "Rust metadata of the same kernel is put there" [ $? = 0 ]
before=''
echo >"$k/.config"
says "headers of a kernel without Rust" "has no Rust in it" 1 scripts/metadata "$dir/src" "$k"
says "no headers" "it lacks .config or Module.symvers" 1 scripts/metadata "$dir/src" "$dir/empty"

# --- dkms ---
fresh
k=$dir/k
mkdir -p "$k/rust" "$k/include/config"
dkms_conf() (
	kernel_source_dir=$k
	. "$top/dkms.conf"
	[[ 7.3.4-amd64 =~ $BUILD_EXCLUSIVE_KERNEL ]] && echo -n "builds: "
	[[ 7.30.1 =~ $BUILD_EXCLUSIVE_KERNEL ]] && echo -n "builds for another series: "
	echo "${MAKE[0]}, ${BUILT_MODULE_NAME[*]}"
)
modules=$(sed -n 's/^obj-m [:+]= //p' "$top/Kbuild" | xargs | sed 's/\.o\>//g')
dkms_conf >"$dir/out" 2>&1
tally "dkms passes over headers without the metadata" [ "$(cat "$dir/out")" = "make KDIR=$k, $modules" ]
touch "$k/rust/libkernel.rmeta"
dkms_conf >"$dir/out" 2>&1
tally "dkms builds all modules that are not for tests" [ "$(cat "$dir/out")" = "builds: make KDIR=$k, $modules" ]
echo CONFIG_CC_IS_CLANG=y >"$k/include/config/auto.conf"
dkms_conf >"$dir/out" 2>&1
tally "dkms builds with clang where the kernel was" [ "$(cat "$dir/out")" = "builds: make KDIR=$k LLVM=1, $modules" ]

# --- Installation ---
fresh
k=$dir/k
mkdir -p "$k"
says "make install KDIR= before the build" "^make: " 2 make KDIR="$k" MO="$dir/empty" DESTDIR="$dir/root" install
tally "it said what comes first" grep -q "^install: no mkfs.toyfs in $dir/empty. First: make KDIR=$k MO=$dir/empty$" "$dir/out"
for tool in mkfs fsck dump; do program $tool.toyfs 'echo "version GLIBC_2.99 not found" >&2; exit 1'; done
says "make install KDIR= of programs that do not run here" "^make: " 2 make KDIR="$k" MO="$dir/bin" PREFIX="$dir/root" install
tally "it said what helps" grep -q "was built for another machine (version GLIBC_2.99 not found): make install without KDIR=" "$dir/out"
for tool in mkfs fsck dump; do program $tool.toyfs ''; done
touch "$dir/file"
says "make install to where nothing can be written" "^make: " 3 make KDIR="$k" MO="$dir/bin" PREFIX="$dir/file" install
tally "it said what helps" grep -q "cannot be made: as root, or with DESTDIR=" "$dir/out"

# --- A kernel source that somebody works on ---
eval "$(sed -n '/^state_of()/,/^}/p' "$top/scripts/kernel")"
for kind in plain git; do
	fresh
	k=$dir/k
	mkdir "$k"
	echo 1 >"$k/a.c"
	echo 1 >"$k/b.c"
	[ $kind = plain ] || {
		git -C "$k" init -q && git -C "$k" add a.c &&
			git -C "$k" -c user.name=x -c user.email=x@example.org commit -qm x
	} >"$dir/out" 2>&1
	a=$(state_of "$k") b=$(state_of "$k")
	echo 2 >"$k/a.c"
	c=$(state_of "$k")
	echo 2 >"$k/b.c"
	d=$(state_of "$k")
	echo "$a $b $c $d" >"$dir/out"
	[ -n "$a" ] && [ "$a" = "$b" ] && [ "$a" != "$c" ] && [ "$c" != "$d" ]
	tally "a changed kernel source is noticed ($kind)" [ $? = 0 ]
done

# --- What nobody uses any more ---
fresh
c=$dir/cache/toyfs
mkdir -p "$c"/{kernel-um-debug-{used,old,new},toolchain-old,source-$SERIES.{1,2,3},out-gone/um-debug,out-here/um-debug,out-unknown} "$dir/here/scripts"
touch "$dir/here/scripts/lib.sh"
ln -s "$c/source-$SERIES.1" "$c/kernel-um-debug-used/source"
echo "$dir/gone" >"$c/out-gone/checkout"
echo "$dir/here" >"$c/out-here/checkout"
echo "$c/kernel-um-debug-used 1" >"$c/out-here/um-debug/kernel"
echo "$c/kernel-um-debug-old 1" >"$c/out-gone/um-debug/kernel"
dd if=/dev/zero of="$c/toolchain-old/big" bs=1M count=101 status=none
touch -d '3 days ago' "$c"/kernel-um-debug-{used,old}
scripts/clean >"$dir/out" 2>&1
tally "old builds are mentioned" grep -qE '^.*: 10[0-9] MiB of 4 old builds that no checkout uses; scripts/clean --old removes them' "$dir/out"
scripts/clean --old >>"$dir/out" 2>&1
ls "$c" >>"$dir/out"
[ "$(cd "$c" && echo kernel-* out-* source-* toolchain-*)" = \
	"kernel-um-debug-new kernel-um-debug-used out-here out-unknown source-$SERIES.1 source-$SERIES.3 toolchain-*" ]
tally "scripts/clean --old removes them and nothing else" [ $? = 0 ]

# --- Where git does not know the files ---
fresh
export XDG_CACHE_HOME=$cache
[ -n "$cache" ] || unset XDG_CACHE_HOME
mkdir "$dir/copy"
tar -C "$top" -c --exclude=./.git . | tar -C "$dir/copy" -x
cd "$dir/copy" || exit
lint() # WHAT SUMMARY
{
	PATH=$dir/bin:$PATH scripts/check --step lint >"$dir/out" 2>&1 </dev/null
	tally "$1: $2" [ "$(tail -n 1 "$dir/out")" = "$2" ]
}
lint "lint of a tarball" "9 passed, 0 failed, 0 skipped"
# The tools, and nothing that needs a kernel.
installed() { # FILES
	(cd "$dir/root" && find . ! -type d | sort | xargs) >"$dir/found"
	{ cat "$dir/found"; scripts/clean; } >>"$dir/out" 2>&1
	[ "$(cat "$dir/found")" = "$1" ]
}
make DESTDIR="$dir/root" install >"$dir/out" 2>&1 &&
	"$dir/root/usr/sbin/mkfs.toyfs" -q "$dir/image" 8M && "$dir/root/usr/sbin/fsck.toyfs" -q "$dir/image" &&
	installed "./usr/sbin/dump.toyfs ./usr/sbin/fsck.toyfs ./usr/sbin/mkfs.toyfs ./usr/share/man/man5/toyfs.5 ./usr/share/man/man8/dump.toyfs.8 ./usr/share/man/man8/fsck.toyfs.8 ./usr/share/man/man8/mkfs.toyfs.8"
tally "make install" [ $? = 0 ]
make DESTDIR="$dir/root" uninstall >"$dir/out" 2>&1 && installed ""
tally "make uninstall" [ $? = 0 ]
echo "gitdir: $dir/gone" >.git
echo >unlicensed.c
echo 'fn f() { unsafe { g() } }' >>rust/toyfs/mod.rs
echo 'use crate::toyfs;' >>rust/vfs/mod.rs
sed -i 's/^ /  /' tests/mutants/unfair.patch
printf '#!/bin/bash\n# SPDX-License-Identifier: GPL-2.0\nif [ $x = ]]; then\n' >scripts/broken
lint "lint of a worktree without its repository, all wrong" "0 passed, 9 failed, 0 skipped"
rm -f scripts/broken
program git 'exit 1'
lint "lint when git does nothing" "0 passed, 9 failed, 0 skipped"

# --- What the full check says at its end ---
made_up() { sed -i "s/^step_$1() .*/step_$1() { $2; }/" scripts/check; } # STEP COMMANDS
made_up splat 'skip this "none here"; tally bad eval "echo because; false"; tally good true; tallied'
made_up hosts 'tally good true'
made_up format 'kill -TERM $PPID; sleep 9'
scripts/check splat hosts >"$dir/out" 2>&1 </dev/null
tally "what failed and what was skipped is said again" [ "$(sed '1,/^== in short$/d' "$dir/out")" = \
"  splat: SKIP this: none here
  splat: FAIL bad
  splat:     because
  hosts: FAIL hosts: it did not say what it tested (status 0)
failed: splat hosts
check: 1 passed, 2 failed, 1 skipped" ]
for step in none format; do
	# (This shell would say that it was killed.)
	{ timeout 60 scripts/check splat $step hosts >"$dir/out" </dev/null; } 2>/dev/null
	tally "a check that does not come to its end ($step) counts" [ "$(tail -n 1 "$dir/out")" = "check: 1 passed, 2 failed, 1 skipped" ]
done
cd "$top" || exit

tallied
