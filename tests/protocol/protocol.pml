/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol of a direct write and the page cache (Documentation/direct-io-protocol.rst), for SPIN: tasks that write and
 * read directly, load, store, write through the cache, cut the file and map memory, two files of one page each, and
 * everything that they lock or wait for. tests/protocol/run checks it, and that it finds what goes wrong when a step is
 * taken out (-D...).
 *
 * Checked: nobody waits for ever (no invalid end state); nobody goes round for ever (no cycle without progress, for tasks
 * that are scheduled fairly); when a write has returned, what the cache holds is not older, nor is what is loaded
 * (assertions). A dirty page is not dropped; that it keeps no old data, which would be written over what is new, is the
 * same assertion.
 *
 * A lock is taken in one step if it is free. A rwsem keeps new readers out once a writer waits, as the kernel's does. The
 * two-state lock does what rust/lock/core.rs does: doors, and hand-over to the other state; its grace may end at
 * any time, so a waiter may shut the door as soon as it waits.
 *
 * Of the data of a page there is one value, which a direct write replaces; stores and buffered writes make the page dirty,
 * and leave that value alone, as if they were to other bytes. The size and the map of a file are one bit: whether what is on
 * the device is found there, or zeroes are. Whoever has a page in hand has a reference to it, or has it mapped: the next
 * direct write takes it away from him nevertheless, and he finds that it has left the cache. A page counts as used
 * if it is still there when its finder has unlocked it, not when the instruction is done. An asynchronous write is
 * one whose task releases i_rwsem when it has submitted, and does nothing else until it is complete; a request of several
 * windows is one write after the other.
 *
 * What is left out: signals, errors of the device, several pages of a file, what a direct read makes dirty after it was
 * pinned, zeroes around what is written, requests that may not wait, the order of memory (the lock's own model,
 * rust/model, has that).
 */

#define FILES	2
#define ANON	2	/* instead of a file: memory of no file */
#define NONE	3

#ifndef TASKS
#define TASKS	2
#endif

/* With LOOP, file 1 is on a loop device on file 0, which has a task that does the I/O. */
#ifdef LOOP
#define ALL	(TASKS + 1)
#else
#define ALL	TASKS
#endif

/* So often is a buffer pinned because a page of it has gone: thrice, by the code. */
#ifndef PINS
#define PINS	2
#endif
/* As often has a reader lost a page that he then is known to want: thrice, by the code. */
#ifndef LOSSES
#define LOSSES	1
#endif

/* The states of the two-state lock, of which each file has one. */
#define ADD	0
#define BLOCK	1
#define S(f, s)	(2 * (f) + (s))

typedef rwsem { byte readers; bool writer; byte waiting };
rwsem inode[FILES];		/* i_rwsem */
#ifdef MAPS
rwsem mmap;			/* mmap_lock, of the one address space */
#endif
#ifdef CUTS
rwsem invalid[FILES];		/* invalidate_lock */
#endif

byte held[2 * FILES];		/* holds, by file and state */
bool shut[2 * FILES];		/* doors */
byte want[ALL + 1] = 255;	/* what each task waits for */
bool granted[ALL + 1];

byte ticket[FILES], turn[FILES];	/* the folio lock of the page, which is handed over in turn */

#define ZERO	2		/* data: 0, 1, or what is read where nothing was written */
bool present[FILES];		/* in the cache, with this: */
byte cached[FILES];
bool dirty[FILES];
byte device[FILES];		/* what is on the device */
#ifdef UNWRITTEN
bool noted[FILES];		/* and whether size and map say so */
#else
bool noted[FILES] = true;
#endif

byte flying[FILES];		/* i_dio_count */
byte extending[FILES];		/* of them, those that end behind the end of the file */
byte moving[FILES];		/* and have not changed it yet */
byte writing[FILES];		/* writes whose data is on its way, or there, and that have not returned */

byte hand[ALL + 1] = NONE;	/* the page that each task has in hand */
byte wants[ALL + 1] = NONE;	/* the page that each task is known to have lost, and wants */

/*
 * Within "atomic" others come in where the task has to wait, and only there. What is done with a lock held, and seen by
 * nobody else meanwhile, is one with taking the lock before, and with releasing it and others after: no order
 * of events is lost by that.
 */
inline down_read(s) { atomic { !s.writer && s.waiting == 0 -> s.readers++ } }
inline up_read(s) { d_step { assert(s.readers > 0); s.readers-- } }
inline down_write(s)
{
	if
	:: atomic { !s.writer && s.readers == 0 -> s.writer = true }
	:: atomic { s.writer || s.readers > 0 -> s.waiting++ };
	   atomic { !s.writer && s.readers == 0 -> s.writer = true; s.waiting-- }
	fi
}
inline up_write(s) { s.writer = false }

/* Of a lock that nobody takes for writing there is nothing to see. */
#ifdef MAPS
#define mmap_read_lock()	down_read(mmap)
#define mmap_read_unlock()	up_read(mmap)
#else
#define mmap_read_lock()	skip
#define mmap_read_unlock()	skip
#endif
#ifdef CUTS
#define invalidate_lock_shared(f)	down_read(invalid[f])
#define invalidate_unlock_shared(f)	up_read(invalid[f])
#else
#define invalidate_lock_shared(f)	skip
#define invalidate_unlock_shared(f)	skip
#endif

/* Whether that is so of one of the tasks. */
#if ALL == 1
#define any(a, x)	(a[1] == x)
#elif ALL == 2
#define any(a, x)	(a[1] == x || a[2] == x)
#elif ALL == 3
#define any(a, x)	(a[1] == x || a[2] == x || a[3] == x)
#else
#define any(a, x)	(a[1] == x || a[2] == x || a[3] == x || a[4] == x)
#endif
#define waits(w)	any(want, w)

/* As admits() in core.rs: while it is held, if the door is open; while it is not, if nobody waits. */
#define admits(f, s)	((held[S(f, 0)] + held[S(f, 1)] > 0) -> (held[S(f, s)] > 0 && !shut[S(f, s)]) :	\
			 (!waits(S(f, 0)) && !waits(S(f, 1))))

inline two_state_lock(f, s)
{
	if
	:: atomic { admits(f, s) -> held[S(f, s)]++ }
	:: atomic { !admits(f, s) -> want[_pid] = S(f, s) };
		do
		:: atomic { granted[_pid] -> granted[_pid] = false; break }
#ifndef UNFAIR
		/* The grace is over. */
		:: atomic { !granted[_pid] && !shut[S(f, 1 - s)] -> shut[S(f, 1 - s)] = true }
#endif
		od
	fi
}
/* The last one hands over to all who wait for the other state, or, if there is none, for the same. */
inline two_state_unlock(f, s)
{
	d_step {
		assert(held[S(f, s)] > 0 && held[S(f, 1 - s)] == 0);
		held[S(f, s)]--;
		if
		:: held[S(f, s)] == 0 && (waits(S(f, 0)) || waits(S(f, 1))) ->
			next = (waits(S(f, 1 - s)) -> 1 - s : s);
			who = 1;
			do
			:: who > ALL -> break
			:: who <= ALL && want[who] == S(f, next) ->
				want[who] = 255; granted[who] = true; held[S(f, next)]++; who++
			:: else -> who++
			od;
			who = 0;
			shut[S(f, 1 - next)] = false;
			next = 0
		:: else
		fi
	}
}

inline lock_folio(f)
{
	atomic {
		mine = ticket[f];
		ticket[f] = (ticket[f] + 1) % 8;
		turn[f] == mine -> mine = 0
	}
}
inline unlock_folio(f)
{
	d_step {
		turn[f] = (turn[f] + 1) % 8;
		if
		:: turn[f] == ticket[f] -> turn[f] = 0; ticket[f] = 0
		:: else
		fi
	}
}

#define on_device(f)	(noted[f] -> device[f] : ZERO)
#define other(d)	(d == 0 -> 1 : 0)
/* What is in the cache was on the device before a write that has returned. */
#define stale(f)	(present[f] && cached[f] != on_device(f) && writing[f] == 0)

#ifdef LOOP
/* What is asked of the loop device: to read, to write, or nothing; or that it has done so. */
#define DONE	2
byte request = NONE;
#endif

/* The device reads or writes a page of file f. It takes a while, and for file 1 it may take a direct request to file 0. */
inline io(f, write)
{
#ifdef LOOP
	if
	:: f == 1 ->
		atomic { request == NONE -> request = write };
		atomic { request == DONE -> request = NONE }
	:: else
	fi
#else
	skip
#endif
}

/* With the folio locked: the page is no longer in the cache, and whoever has it in hand will find that. In one step. */
inline drop(f)
{
	present[f] = false;
	cached[f] = 0;
	dirty[f] = false;
	who = 1;
	do
	:: who > ALL -> break
	:: who <= ALL && hand[who] == f -> hand[who] = NONE; who++
	:: else -> who++
	od;
	who = 0
}

/* filemap_write_and_wait_range() */
inline write_back(f)
{
	atomic {
		lock_folio(f);
		if
		:: present[f] && dirty[f] ->
			io(f, 1);
			d_step { device[f] = cached[f]; noted[f] = true; dirty[f] = false }
		:: else
		fi;
		unlock_folio(f)
	}
}
/* invalidate_inode_pages2_range(), which takes a page from whoever has it in hand, unless it is dirty. In an atomic step. */
inline invalidate(f)
{
	lock_folio(f);
	d_step {
		busy = present[f] && dirty[f];
		if
		:: present[f] && !busy -> drop(f)
		:: else
		fi
	}
	unlock_folio(f)
}
/* invalidate_mapping_pages(), which takes only what nobody has in hand. */
inline invalidate_unused(f)
{
	d_step {
		if
		:: turn[f] == ticket[f] && present[f] && !dirty[f] && !any(hand, f) -> drop(f)
		:: else
		fi
	}
}

/* With the folio locked: reads it. */
inline fill(f)
{
#ifdef NEVER
	/* File 1 is a FUSE file, or a range of userfaultfd, and nobody answers. */
	if
	:: f == 1 -> goto hangs
	:: else
	fi;
#endif
	io(f, 0);
	value = on_device(f);
	d_step { cached[f] = value; present[f] = true; dirty[f] = false; value = 0 }
}

/* Brought in once more by the same task: it has lost the page before. In an atomic step. */
inline note_loss(f)
{
#ifndef NO_WANTED
#ifdef MISSED_UNDER_BLOCK
	/* Only while somebody holds Block. */
	if
	:: held[S(f, BLOCK)] > 0 -> losses++
	:: else
	fi;
#else
	losses++;
#endif
	if
	:: losses > LOSSES -> wants[_pid] = f; losses = LOSSES
	:: else
	fi
#else
	skip
#endif
}
/* The task has come to use the page. */
inline got_through()
{
	losses = 0;
	wants[_pid] = NONE
}

/*
 * filemap_fault() and read_folio(): brings the page of file f in, and takes it in hand. Called, and left, with mmap_lock held
 * for reading. It may have gone again when this returns.
 */
inline fault(f)
{
	refused = false;
	do
	/* Mapped, or filemap_map_pages() maps it: even one that would be refused. */
	:: atomic { present[f] -> hand[_pid] = f; break }
	:: atomic { marked == f ->
		/* A fault under Block is a bug. */
		assert(!blocking);
		refused = true; break }
	:: atomic { !present[f] && marked != f -> note_loss(f);
#ifndef MMAP_LOCK_KEPT
		/* The first round waits with mmap_lock dropped, the second, should there be one, with it held. */
		if
		:: !tried -> mmap_read_unlock()
		:: else
		fi;
#endif
		invalidate_lock_shared(f);
		lock_folio(f) }
#ifdef SLEEP_WITH_FOLIO
		two_state_lock(f, ADD);
#endif
		if
		:: present[f]
		:: else -> fill(f)
		fi;
#ifdef SLEEP_WITH_FOLIO
		two_state_unlock(f, ADD);
#endif
		atomic {
			if
			:: tried -> hand[_pid] = f
			:: else
			fi;
			unlock_folio(f);
			invalidate_unlock_shared(f);
			if
			:: tried -> break
			:: else -> tried = true
			fi
		}
#ifndef MMAP_LOCK_KEPT
		mmap_read_lock()
#endif
	od;
	tried = false
}

/* page_mkwrite(), with mmap_lock held, and the page in hand. If it has gone then, so has the hand. */
inline make_dirty(f)
{
	invalidate_lock_shared(f);
#ifndef NO_GATE
	two_state_lock(f, ADD);
#endif
	atomic {
		lock_folio(f);
		d_step {
			if
			:: hand[_pid] == f -> dirty[f] = true
			:: else
#ifndef NO_WANTED
				-> wants[_pid] = f
#endif
			fi
		}
		unlock_folio(f);
#ifndef NO_GATE
		two_state_unlock(f, ADD);
#endif
		invalidate_unlock_shared(f)
	}
}

/* get_user_pages(): the buffer, to be read, or to be written to. */
inline pin(b, written)
{
	if
	:: b == ANON -> hand[_pid] = ANON; refused = false
	:: else ->
		mmap_read_lock();
		do
		:: true ->
			fault(b);
			if
			:: written && !refused -> make_dirty(b)
			:: else
			fi;
			if
			:: refused || hand[_pid] == b -> break
			:: else
			fi
		od;
		mmap_read_unlock()
	fi
}

/* Before anything is done under exclusive i_rwsem that depends on where the file ends. */
inline settle(f)
{
#ifndef NO_SETTLE
	extending[f] == 0 || flying[f] == 0;
#endif
	assert(moving[f] == 0)
}
inline lock_exclusive(f) { down_write(inode[f]); exclusive = true; settle(f) }
/* i_rwsem, exclusively if the write extends the file, or gives blocks to it, or, an append, may do so. */
inline lock_inode(f)
{
	if
	:: appends -> lock_exclusive(f)
	:: else ->
		atomic {
			down_read(inode[f]);
			if
			:: noted[f]
			:: else -> up_read(inode[f]); exclusive = true
			fi
		}
		if
		:: exclusive -> lock_exclusive(f)
		:: else
		fi
	fi
}
inline unlock_inode(f)
{
	atomic {
		if
		:: exclusive -> up_write(inode[f]); exclusive = false
		:: else -> up_read(inode[f])
		fi
	}
}

/* Through the page cache, with i_rwsem held, which is released. */
inline fall_back(f)
{
	if
	:: exclusive
	:: else -> up_read(inode[f]); lock_exclusive(f)
	fi;
#ifndef NO_GATE
	two_state_lock(f, ADD);
#endif
	atomic {
		lock_folio(f);
		d_step { cached[f] = other(on_device(f)); present[f] = true; dirty[f] = true; writing[f]++ }
		unlock_folio(f);
#ifndef NO_GATE
		two_state_unlock(f, ADD)
#endif
	}
	write_back(f);
	atomic { invalidate_unused(f); writing[f]--; assert(!stale(f)); unlock_inode(f) }
}

#ifdef WHILE_ENDS
/* It may have been spared for long enough. */
#define may_drop(f)	true
#else
#define may_drop(f)	!any(wants, f)
#endif

/* With i_rwsem held, which is released, and the buffer pinned. */
inline write_range(f, b)
{
	two_state_lock(f, BLOCK);
	blocking = true;
#ifdef PIN_UNDER_BLOCK
	pin(b, false);
#endif
	if
	:: may_drop(f) ->
		write_back(f);
		atomic {
			invalidate(f);
			if
			:: busy
			:: else ->
				flying[f]++;
				if
				:: !noted[f] -> extending[f]++; moving[f]++; moves = true
				:: else
				fi;
				/* Submitted. */
				if
				:: later -> unlock_inode(f)
				:: else
				fi
			fi
		}
	:: any(wants, f) -> busy = true
	fi;
	if
	:: busy ->
		busy = false;
		blocking = false;
		two_state_unlock(f, BLOCK);
		fall_back(f)
	:: else ->
		atomic { io(f, 1); device[f] = other(on_device(f)); writing[f]++ }
#ifdef BLOCK_DROPPED_EARLY
		two_state_unlock(f, BLOCK);
#endif
#ifdef NOTED_LATE
		atomic { invalidate(f) };
#endif
		note(f);
		atomic {
#if !defined(NO_SECOND_DROP) && !defined(NOTED_LATE)
			invalidate(f);
#endif
			writing[f]--;
			assert(!stale(f));
			flying[f]--;
#ifndef BLOCK_DROPPED_EARLY
			two_state_unlock(f, BLOCK);
#endif
			if
			:: moves -> extending[f]--; moves = false
			:: else
			fi;
			if
			:: later
			:: else -> unlock_inode(f)
			fi;
			busy = false;
			blocking = false
		}
	fi
}
/* What the write has done to size and map. */
inline note(f)
{
	if
	:: moves -> d_step { noted[f] = true; moving[f]-- }
	:: else -> assert(noted[f])
	fi
}

/* A direct write to file f, of a page of file b that is mapped, or of other memory. */
inline direct_write(f, b)
{
	do
	:: true ->
		/* Where an append goes is not known yet, and selfdio=retry has no use for a marker. */
		marked = (appends || retries -> NONE : f);
#ifdef PIN_UNDER_INODE
		lock_inode(f);
#endif
#ifndef PIN_UNDER_BLOCK
		pin(b, false);
		got_through();
#endif
		if
		:: refused ->
#ifdef PIN_UNDER_INODE
			unlock_inode(f);
#endif
			break
		:: else
		fi;
#ifndef PIN_UNDER_INODE
		lock_inode(f);
#endif
		if
		/* A pinned page is the page: an error, or through the cache. */
		:: b == f && hand[_pid] == f ->
			if
#ifdef RETRIES
			:: retries ->
				two_state_lock(f, BLOCK);
				write_back(f);
				atomic { invalidate(f); two_state_unlock(f, BLOCK); unlock_inode(f) }
#endif
			:: !retries ->
#ifdef SELFDIO_BUFFERED
				fall_back(f);
#else
				unlock_inode(f);
#endif
				break
			fi
#ifndef PIN_UNDER_BLOCK
		/* It has left its cache since: which that was, nobody can tell. */
		:: hand[_pid] == NONE && pins + 1 < PINS -> pins++; unlock_inode(f)
		:: hand[_pid] == NONE && pins + 1 == PINS || hand[_pid] != NONE && b != f ->
#else
		:: else ->
#endif
			write_range(f, b);
			break
		fi
	od;
	atomic { pins = 0; refused = false; hand[_pid] = NONE; marked = NONE }
}

/* A direct read of file f, into a page of file b that is mapped, or into other memory. */
inline direct_read(f, b)
{
	pin(b, true);
	got_through();
	read_range(f);
	hand[_pid] = NONE
}
inline read_range(f)
{
	down_read(inode[f]);
	write_back(f);
	flying[f]++;
	io(f, 0);
	atomic { flying[f]--; up_read(inode[f]) }
}

/* A buffered write to file f, of a page of file b that is mapped, or of other memory. */
inline buffered_write(f, b)
{
	lock_exclusive(f);
	do
	:: true ->
		pin(b, false);
#ifndef NO_GATE
		two_state_lock(f, ADD);
#endif
		lock_folio(f);
		if
		:: present[f]
		:: else -> fill(f)
		fi;
		atomic {
			/* Copied with faults disabled: only what is there. */
			if
			:: hand[_pid] == b -> dirty[f] = true
			:: else -> note_loss(b)
			fi;
			unlock_folio(f);
#ifndef NO_GATE
			two_state_unlock(f, ADD);
#endif
			if
			:: hand[_pid] == b -> break
			:: else
			fi
		}
	od;
	atomic { hand[_pid] = NONE; got_through(); unlock_inode(f) }
}

/* A load of the page of file f. */
inline load(f)
{
	mmap_read_lock();
	do
	:: true ->
		fault(f);
		atomic {
			assert(!refused);
			if
			:: hand[_pid] == f -> assert(!stale(f)); break
			:: else
			fi
		}
	od;
	atomic { hand[_pid] = NONE; got_through(); mmap_read_unlock() }
}

/* A store. If the page has gone, the instruction is started again. */
inline store(f)
{
	do
	:: true ->
		mmap_read_lock();
		fault(f);
		make_dirty(f);
		mmap_read_unlock();
		atomic {
			if
			:: hand[_pid] == f -> break
			:: else
			fi
		}
	od;
	atomic { hand[_pid] = NONE; got_through() }
}

#ifdef CUTS
/* Truncation, and the like. */
inline cut(f)
{
	down_write(inode[f]);
#ifndef NO_DIO_WAIT
	flying[f] == 0;
#endif
	down_write(invalid[f]);
	/* What is left of the last block is zeroed, should the file not end with a block. */
	if
	:: true ->
		two_state_lock(f, ADD);
		lock_folio(f);
		if
		:: present[f]
		:: else -> fill(f)
		fi;
		atomic { dirty[f] = true; unlock_folio(f); two_state_unlock(f, ADD) }
	:: true
	fi;
	atomic {
		lock_folio(f);
		d_step { drop(f); noted[f] = false }
		unlock_folio(f);
		up_write(invalid[f]);
		up_write(inode[f])
	}
}
#endif

/* mmap(2) or munmap(2). */
inline map()
{
#ifdef MAPS
	down_write(mmap);
	up_write(mmap)
#else
	skip
#endif
}

#define DIRECT		0	/* a direct write */
#define ASYNC		1	/* one that is left in flight */
#define APPEND		2
#define RETRY		3	/* with selfdio=retry */
#define READ		4	/* a direct read */
#define LOAD		5
#define STORE		6
#define BUFFERED	7
#define CUT		8
#define MAP		9

/* Does the same again and again; maps once. WRITES and so on: there are tasks that do so. */
proctype task(byte what; byte f; byte b)
{
	byte marked = NONE;	/* its marker */
	bool blocking;
	bool refused, tried, busy, exclusive, moves, later, appends, retries;
	bit next;
	byte mine, who, value, losses, pins;

	later = (what == ASYNC);
	appends = (what == APPEND);
	retries = (what == RETRY);
	if
	:: what == MAP -> map()
	:: else
	fi;
	do
	:: what != MAP ->
		if
		:: _pid == 1 ->
progress:		skip
		:: else
		fi;
		if
#ifdef WRITES
		:: what <= RETRY -> direct_write(f, b)
#endif
#ifdef READS
		:: what == READ -> direct_read(f, b)
#endif
#ifdef LOADS
		:: what == LOAD -> load(f)
#endif
#ifdef STORES
		:: what == STORE -> store(f)
#endif
#ifdef BUFFEREDS
		:: what == BUFFERED -> buffered_write(f, b)
#endif
#ifdef CUTS
		:: what == CUT -> cut(f)
#endif
		fi
	:: what == MAP -> break
#ifdef STOPS
	/* Who has enough stops: then those who wait for ever are all that is left, and no others hide them. */
	:: what != MAP -> break
#endif
	od;
hangs:	skip	/* with all that it holds */
}

#ifdef LOOP
/* The loop device's: what is asked of file 1 is done, directly, to file 0. The kernel's memory needs no pin. */
proctype worker()
{
	byte marked = NONE;	/* its marker */
	bool blocking;
	bool refused, tried, busy, exclusive, moves, later, appends, retries;
	bit next;
	byte mine, who, value, losses, pins;

end:	do
	:: request == 0 -> read_range(0); request = DONE
	:: request == 1 -> lock_inode(0); write_range(0, ANON); request = DONE
	od
}
#endif

init { atomic { run task(T1);
#if TASKS > 1
	run task(T2);
#endif
#if TASKS > 2
	run task(T3);
#endif
#if TASKS > 3
	run task(T4);
#endif
#ifdef LOOP
	run worker();
#endif
} }
