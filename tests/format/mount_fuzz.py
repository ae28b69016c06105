#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Mounts damaged filesystems in a test kernel and uses them.

    tests/format/mount_fuzz.py DEVICE ROUNDS [SEED]

As root, with toyfs loaded; DEVICE is overwritten. Each round damages some words of the metadata of a small
filesystem, makes the checksums good again (mostly), mounts it, reads and changes what it can, and unmounts it.
Then come images that are made to keep the kernel busy, or to count beyond what it can count.
Anything may fail with an error, EUCLEAN most likely. What must not happen is for others to notice: a complaint of
the kernel, a hang, or a mount that cannot be undone. Prints how many rounds got how far.
"""
import ctypes
import errno
import os
import random
import struct
import subprocess
import sys
import tempfile

BLOCK = 4096
BLOCKS = 2560
SUPER = 1024
MS_RDONLY = 1
libc = ctypes.CDLL(None, use_errno=True)


def crc_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


TABLE = crc_table()


def crc(state, data):
    for byte in data:
        state = state >> 8 ^ TABLE[(state ^ byte) & 255]
    return state


def call(name, *args):
    if getattr(libc, name)(*args) != 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


def mount(device, where, flags=0):
    call("mount", device.encode(), where.encode(), b"toyfs", flags, None)


def umount(where):
    call("umount2", where.encode(), 0)


def populate(root):
    """Something of everything: a file with an extent chain, directories of several blocks, ..."""
    os.makedirs(f"{root}/dir/deep")
    for i in range(150):
        with open(f"{root}/dir/{i:0{5 + i % 40}}", "wb") as f:
            f.write(b"x" * i)
    with open(f"{root}/holes", "wb") as f:
        for i in range(200):
            f.seek(i * 2 * BLOCK)
            f.write(b"y")
            if i % 20 == 0:
                f.flush()
                os.fsync(f.fileno())
    with open(f"{root}/plain", "wb") as f:
        f.write(b"z" * 100000)


class Image:
    """An image, and where the structures of it are."""

    def __init__(self, data):
        self.good = data
        u64 = struct.Struct("<Q").unpack_from
        sb = data[SUPER:]
        self.inode_bitmap, self.block_bitmap, self.inode_table, self.journal, self.orphans = (
            u64(sb, at)[0] * BLOCK for at in (56, 72, 88, 104, 216))
        self.seed = crc(0xFFFFFFFF, sb[168:184])
        self.inodes, self.chains, self.dirs = [], [], []
        for ino in range(1, u64(sb, 48)[0]):
            at = self.inode_table + ino * 256
            if data[self.inode_bitmap + ino // 8] >> ino % 8 & 1 and data[at : at + 4] == b"TFIN":
                self.inodes.append(at)
        for at in range(u64(sb, 120)[0] * BLOCK, len(data), BLOCK):
            if data[at : at + 4] == b"TFEX":
                self.chains.append(at)
            if data[at : at + 4] == b"TFDR":
                self.dirs.append(at)
        assert self.chains and len(self.dirs) > 2 and len(self.inodes) > 100

    def damaged(self, rng):
        """A damaged copy."""
        data = bytearray(self.good)
        sealed = rng.random() < 0.9
        # The first inodes are the interesting ones: directories, and the file with the chain.
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            at, size, checksum, seed = rng.choice((
                (SUPER, 1024, 1020, 0xFFFFFFFF),
                (rng.choice(self.inodes[:4]), 256, 4, self.seed),
                (rng.choice(self.inodes[:4]), 256, 4, self.seed),
                (self.inodes[-1 - rng.randrange(2)], 256, 4, self.seed),
                (rng.choice(self.chains), BLOCK, 4, self.seed),
                (rng.choice(self.dirs), BLOCK, 4, self.seed),
                (rng.choice(self.dirs), BLOCK, 4, self.seed),
                (self.inode_bitmap, 32, None, 0),
                (self.block_bitmap, BLOCKS // 8, None, 0),
                (self.orphans, 32, None, 0),
                (self.journal, 256, None, 0),
            ))
            width = rng.choice((1, 2, 4, 8))
            limit = rng.choice((min(size, 220), size))
            where = at + rng.randrange(limit // width) * width
            value = rng.choice((0, 1, 2, 5, 1023, 1024, self.dirs[0] // BLOCK, self.chains[0] // BLOCK,
                                0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, 1 << 63, (1 << 64) - 1, rng.getrandbits(64)))
            data[where : where + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
            if checksum is not None and sealed:
                part = data[at : at + size]
                part[checksum : checksum + 4] = bytes(4)
                struct.pack_into("<I", data, at + checksum, crc(seed, part) ^ 0xFFFFFFFF)
        return data


def attempt(operation, *args):
    """Runs an operation that may fail with an error."""
    try:
        return operation(*args)
    except OSError as e:
        errors[e.errno] = errors.get(e.errno, 0) + 1
        return None


def use_file(path, rng):
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        fd = os.open(path, os.O_RDONLY)
    try:
        attempt(os.pread, fd, 1 << 16, rng.choice((0, 4096 * 40, 1 << 40)))
        attempt(os.pwrite, fd, b"new" * 3000, rng.choice((0, 4000, 4096 * 41, 4096 * 500, 1 << 33)))
        attempt(os.ftruncate, fd, rng.choice((0, 1, 4096 * 50, 1 << 35)))
        if rng.random() < 0.2:
            attempt(os.fsync, fd)
    finally:
        os.close(fd)


def use(root, rng):
    """Reads and changes everything that can be found, up to a limit."""
    todo, seen = [root], 0
    while todo and seen < 60:
        path = todo.pop(rng.randrange(len(todo)))
        names = attempt(os.listdir, path)
        if names is None:
            continue
        seen += 1
        rng.shuffle(names)
        for name in names[:20]:
            child = f"{path}/{os.fsdecode(name)}"
            st = attempt(os.lstat, child)
            if st is None:
                pass
            elif st.st_mode & 0o170000 == 0o040000:
                if child.count("/") < 12:
                    todo.append(child)
            else:
                attempt(use_file, child, rng)
            what = rng.randrange(8)
            if what == 0:
                attempt(os.unlink, child)
            elif what == 1:
                attempt(os.rename, child, f"{root}/moved{rng.randrange(3)}")
            elif what == 2:
                attempt(os.rmdir, child)
        for i in range(3):
            attempt(os.mkdir, f"{path}/new{i}")
            attempt(lambda: os.close(os.open(f"{path}/{'n' * 200}{i}", os.O_CREAT | os.O_WRONLY)))
    attempt(os.statvfs, root)


def sealed(part, checksum, seed):
    part[checksum : checksum + 4] = bytes(4)
    struct.pack_into("<I", part, checksum, crc(seed, part) ^ 0xFFFFFFFF)
    return part


def hostile(device, root):
    """Images that break no rule, or only one, and are hard to swallow."""
    blocks, count = 40000, 30000
    subprocess.run(["mkfs.toyfs", "-q", "-f", "-N", "256", device, str(blocks)], check=True)
    mount(device, root)
    os.makedirs(f"{root}/dir/sub")
    with open(f"{root}/dir/file", "w") as f:
        f.write("x")
    ino = os.stat(f"{root}/dir").st_ino
    umount(root)
    with open(device, "r+b", buffering=0) as dev:
        sb = os.pread(dev.fileno(), 1024, SUPER)
        seed = crc(0xFFFFFFFF, sb[168:184])
        at = struct.unpack_from("<Q", sb, 88)[0] * BLOCK + ino * 256
        data = struct.unpack_from("<Q", sb, 120)[0]
        good = os.pread(dev.fileno(), 256, at)
    first = struct.unpack_from("<Q", good, 168)[0]

    def write(*parts):
        with open(device, "r+b", buffering=0) as dev:
            for where, what in parts:
                os.pwrite(dev.fileno(), what, where)
            os.fsync(dev.fileno())

    def inode(*fields):
        raw = bytearray(good)
        for form, offset, value in fields:
            struct.pack_into(form, raw, offset, value)
        return at, sealed(raw, 4, seed)

    def expect(what, error, operation, *args):
        try:
            operation(*args)
            got = 0
        except OSError as e:
            got = e.errno
        assert got == error, f"{what}: {got}"

    # Link counts, of which one more is none.
    for nlink, wanted in (0xFFFFFFFF, errno.EUCLEAN), (0x80000000, errno.EUCLEAN), (0x7FFFFFFF, errno.EMLINK):
        write(inode(("<I", 28, nlink)))
        mount(device, root)
        expect(f"{nlink} links", wanted, os.mkdir, f"{root}/dir/new")
        umount(root)
    # Sizes of a directory: more blocks than one may have, than it has, than the device has.
    for size in 1 << 40, ((1 << 16) + 1) * BLOCK, (1 << 16) * BLOCK:
        write(inode(("<Q", 40, size)))
        mount(device, root)
        expect(f"directory of {size} bytes", errno.EUCLEAN, os.stat, f"{root}/dir/none")
        umount(root)
    write(inode(("<Q", 48, blocks + 1), ("<I", 108, 1)))
    mount(device, root)
    expect("more blocks than the device has", errno.EUCLEAN, os.stat, f"{root}/dir")
    umount(root)
    # A directory of very many extents, all of them the same block.
    extents = [struct.pack("<QQII", i, first, 1, 0) for i in range(count)]
    chain = data + 100
    parts, rest = [], extents[4:]
    length = -(-len(rest) // 169)
    for seq in range(length):
        piece = rest[seq * 169 : (seq + 1) * 169]
        raw = bytearray(BLOCK)
        following = chain + seq + 1 if seq + 1 < length else 0
        struct.pack_into("<4sIQQII", raw, 0, b"TFEX", 0, ino, following, len(piece), seq)
        raw[32 : 32 + 24 * len(piece)] = b"".join(piece)
        parts.append(((chain + seq) * BLOCK, sealed(raw, 4, seed)))
    raw = bytearray(inode(("<Q", 40, count * BLOCK), ("<Q", 48, count + length), ("<I", 108, count),
                          ("<Q", 112, chain), ("<I", 120, length))[1])
    raw[160:256] = b"".join(extents[:4])
    write(*parts, (at, sealed(raw, 4, seed)))
    mount(device, root)
    assert os.stat(f"{root}/dir/file").st_size == 1
    # A lookup reads all of it; one that is killed ends at once.
    expect("lookup", errno.ENOENT, os.stat, f"{root}/dir/none")
    children = [subprocess.Popen(["stat", *(f"{root}/dir/none{j}-{i}" for i in range(200))],
                                 stderr=subprocess.DEVNULL) for j in range(2)]
    for child in children:
        child.kill()
        child.wait(timeout=60)
    attempt(os.mkdir, f"{root}/dir/new")
    umount(root)


def main():
    device, rounds = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    root = tempfile.mkdtemp()
    subprocess.run(["mkfs.toyfs", "-q", "-f", "-N", "256", device, str(BLOCKS)], check=True)
    mount(device, root)
    populate(root)
    umount(root)
    subprocess.run(["fsck.toyfs", "-n", device], check=True)
    with open(device, "rb", buffering=0) as dev:
        image = Image(dev.read(BLOCKS * BLOCK))
    mounted = 0
    for number in range(rounds):
        rng = random.Random(f"{seed} {number}")
        print(f"round {number} of seed {seed}", file=sys.stderr)
        # Opened each time: nobody else may have it open for writing while it is mounted.
        with open(device, "r+b", buffering=0) as dev:
            dev.write(image.damaged(rng))
        try:
            try:
                mount(device, root)
            except OSError as e:
                if e.errno != errno.EROFS:
                    raise
                # A feature that only writers have to know.
                mount(device, root, MS_RDONLY)
        except OSError as e:
            assert e.errno in (errno.EUCLEAN, errno.EINVAL), e
            continue
        mounted += 1
        use(root, rng)
        umount(root)
        # However damaged it is now, the check of it must come to an end.
        status = subprocess.run(["fsck.toyfs", "-n", device], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, timeout=60).returncode
        assert status in (0, 4, 8), status
    hostile(device, root)
    os.rmdir(root)
    names = ", ".join(f"{errno.errorcode.get(e, e)} {n}" for e, n in sorted(errors.items()))
    print(f"mount fuzz: {rounds} rounds, {mounted} could be mounted; errors: {names}")


errors = {}
main()
