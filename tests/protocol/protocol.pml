/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol of a direct write and a page fault (Documentation/direct-io-protocol.rst), for SPIN: tasks that write
 * directly, fault, store, write through the cache and map memory, two files of one page each, and everything that
 * they lock or wait for. tests/protocol/run checks it, and that it finds what goes wrong when a step is taken out (-D...).
 *
 * Checked: nobody waits for ever (no invalid end state); nobody goes round for ever (no cycle without progress, for tasks
 * that are scheduled fairly); when a direct write has returned, what the cache holds is not older (assertions).
 *
 * What is left out: signals, errors of the device, several pages of a file, the order of memory (the lock's own model,
 * rust/model, has that).
 *
 * A lock is taken in one step if it is free. A rwsem keeps new readers out once a writer waits, as the kernel's does. The
 * two-state lock does what rust/lock/core.rs does: doors, and hand-over to the other state; its grace may end at
 * any time, so a waiter may shut the door as soon as it waits.
 */

#define FILES	2
#define NONE	255

#ifndef TASKS
#define TASKS	2
#endif

/* The states of the two-state lock, of which each file has one. */
#define ADD	0
#define BLOCK	1
#define S(f, s)	(2 * (f) + (s))

typedef rwsem { byte readers; bool writer; byte waiting };
rwsem mmap;			/* mmap_lock, of the one address space */
rwsem inode[FILES];		/* i_rwsem */

byte held[2 * FILES];		/* holds, by file and state */
bool shut[2 * FILES];		/* doors */
bit phase[FILES];		/* the last state that was held */
byte want[TASKS + 1] = NONE;	/* what each task waits for */
bool granted[TASKS + 1];

byte ticket[FILES], turn[FILES];	/* the folio lock of the page, which is handed over in turn */
bool added[FILES];		/* in the cache, but not read yet */
bool present[FILES];		/* in the cache, with this: */
bit cached[FILES];
bool dirty[FILES];
bit device[FILES];		/* what is on the device */

byte marked[TASKS + 1] = NONE;	/* the marker of each task */
bool blocking[TASKS + 1];

inline down_read(s) { atomic { !s.writer && s.waiting == 0 -> s.readers++ } }
inline up_read(s) { d_step { assert(s.readers > 0); s.readers-- } }
inline down_write(s)
{
	s.waiting++;
	atomic { !s.writer && s.readers == 0 -> s.writer = true; s.waiting-- }
}
inline up_write(s) { s.writer = false }

/* Whether somebody waits for that. */
#if TASKS == 2
#define waits(w)	(want[1] == w || want[2] == w)
#elif TASKS == 3
#define waits(w)	(want[1] == w || want[2] == w || want[3] == w)
#else
#define waits(w)	(want[1] == w || want[2] == w || want[3] == w || want[4] == w)
#endif

/* As admits() in core.rs: while it is held, if the door is open; while it is not, if nobody waits. */
#define admits(f, s)	((held[S(f, 0)] + held[S(f, 1)] > 0) -> (held[S(f, s)] > 0 && !shut[S(f, s)]) :	\
			 (!waits(S(f, 0)) && !waits(S(f, 1))))

inline two_state_lock(f, s)
{
	atomic {
		if
		:: admits(f, s) -> held[S(f, s)]++; phase[f] = s; granted[_pid] = true
		:: else -> want[_pid] = S(f, s)
		fi
	}
	do
	:: atomic { granted[_pid] -> granted[_pid] = false; break }
#ifndef UNFAIR
	/* The grace is over. */
	:: atomic { !granted[_pid] && !shut[S(f, 1 - s)] -> shut[S(f, 1 - s)] = true }
#endif
	od
}
inline two_state_try(f, s, got)
{
	d_step {
		got = admits(f, s);
		if
		:: got -> held[S(f, s)]++; phase[f] = s
		:: else
		fi
	}
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
			:: who > TASKS -> break
			:: who <= TASKS && want[who] == S(f, next) ->
				want[who] = NONE; granted[who] = true; held[S(f, next)]++; who++
			:: else -> who++
			od;
			who = 0;
			shut[S(f, 1 - next)] = false;
			phase[f] = next;
			next = 0
		:: else
		fi
	}
}

inline lock_folio(f)
{
	atomic { mine = ticket[f]; ticket[f] = (ticket[f] + 1) % 8 }
	atomic { turn[f] == mine -> mine = 0 }
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

/* filemap_fault() and read_folio(): brings the page of file f in. Called, and left, with mmap_lock held for reading. */
inline fault(f)
{
	refused = false;
	if
	:: marked[_pid] == f ->
		/* A fault under Block would wait for itself. */
		assert(!blocking[_pid]);
		refused = true
	:: else
	fi;
	if
	:: refused
	:: !refused && present[f]
	:: !refused && !present[f] ->
#ifndef MMAP_LOCK_KEPT
		/* The first round waits with mmap_lock dropped, the second, should there be one, with it held. */
		up_read(mmap);
#endif
#if defined(NO_GATE) || defined(GATE_DIRTYING)
		lock_folio(f);
		fill(f);
		unlock_folio(f);
#else
#ifdef SLEEP_WITH_FOLIO
		lock_folio(f);
		two_state_lock(f, ADD);
#else
#ifdef STARTS_OVER
		/*
		 * As ->read_folio: the folio is in the cache, locked, and not read yet. To wait for Add it is unlocked, and if it
		 * has gone then the caller starts over, without the hold: a newcomer again.
		 */
		do
		:: lock_folio(f);
		   added[f] = true;
		   two_state_try(f, ADD, got);
		   if
		   :: got -> break
		   :: else ->
			unlock_folio(f);
			two_state_lock(f, ADD);
			lock_folio(f);
			if
			:: added[f] || present[f] -> break
			:: else -> unlock_folio(f); two_state_unlock(f, ADD)
			fi
		   fi
		od;
		added[f] = false;
#else
		two_state_try(f, ADD, got);
		if
		:: got
		:: else -> two_state_lock(f, ADD)
		fi;
		lock_folio(f);
#endif
#endif
		fill(f);
		unlock_folio(f);
		two_state_unlock(f, ADD);
#endif
#ifndef MMAP_LOCK_KEPT
		down_read(mmap)
#endif
	fi
}
/* With the folio locked. The read takes the device a while. */
inline fill(f)
{
	if
	:: present[f]
	:: else ->
#ifdef LOOP
		/* File 1 is on a loop device on file 0, whose worker reads that; this task waits for it. */
		if
		:: f == 1 -> down_read(inode[0]); up_read(inode[0])
		:: else
		fi;
#endif
		value = device[f];
		atomic { cached[f] = value; present[f] = true; dirty[f] = false; value = 0 }
	fi
}

/* write_cache_pages() and invalidate_inode_pages2(), with the page of file f. */
inline invalidate(f)
{
	lock_folio(f);
	atomic {
		if
		:: present[f] && dirty[f] -> device[f] = cached[f]; dirty[f] = false
		:: else
		fi;
		present[f] = false;
		added[f] = false
	}
	unlock_folio(f)
}

/* A direct write to file f, of a page of file b that is mapped. */
inline direct_write(f, b)
{
#ifdef EXCLUSIVE
	down_write(inode[f]);
#else
	down_read(inode[f]);
#endif
	marked[_pid] = f;
#ifndef PIN_UNDER_BLOCK
	down_read(mmap);
	fault(b);
	up_read(mmap);
#endif
	if
#ifndef PIN_UNDER_BLOCK
	:: refused || b == f			/* refused, or a pinned page is the page */
#endif
#ifdef PIN_UNDER_BLOCK
	:: true ->
#else
	:: else ->
#endif
		two_state_lock(f, BLOCK);
		blocking[_pid] = true;
#ifdef PIN_UNDER_BLOCK
		down_read(mmap);
		fault(b);
		up_read(mmap);
#endif
		invalidate(f);
		/* Submitted; complete when the device has it. */
#ifdef BLOCK_DROPPED_EARLY
		blocking[_pid] = false;
		two_state_unlock(f, BLOCK);
#endif
		device[f] = 1 - device[f];
#ifdef GATE_DIRTYING
		/* What was there before may have been brought in, but not been made dirty. It is dropped once more. */
		assert(!present[f] || !dirty[f]);
		invalidate(f);
		/* Others may have written, and not come to that yet. */
		assert(!present[f] || cached[f] == device[f] || held[S(f, BLOCK)] > 1);
#else
		/* Nobody has brought in what was there before, nor made it dirty. */
		assert(!present[f]);
#endif
#ifndef BLOCK_DROPPED_EARLY
		blocking[_pid] = false;
		two_state_unlock(f, BLOCK)
#endif
	fi;
	marked[_pid] = NONE;
#ifdef EXCLUSIVE
	up_write(inode[f])
#else
	up_read(inode[f])
#endif
}

/*
 * The strategy without a marker, selfdio=retry: fault the buffer in, shut the cache out, and start over if the buffer has
 * gone meanwhile.
 */
inline retry(f, b)
{
	down_read(inode[f]);
	do
	:: true ->
		down_read(mmap);
		fault(b);
		up_read(mmap);
		two_state_lock(f, BLOCK);
		invalidate(f);
		if
		:: present[b] -> device[f] = 1 - device[f]; two_state_unlock(f, BLOCK); break
		:: else -> two_state_unlock(f, BLOCK)
		fi
	od;
	up_read(inode[f])
}

/* A buffered write to file f, of a page of file b that is mapped. */
inline buffered_write(f, b)
{
	down_write(inode[f]);
	down_read(mmap);
	fault(b);
	up_read(mmap);
	two_state_lock(f, ADD);
	lock_folio(f);
	fill(f);
	/* Copied with faults disabled. */
	dirty[f] = true;
	unlock_folio(f);
	two_state_unlock(f, ADD);
	up_write(inode[f])
}

/* A load of the page of file f. */
inline load(f)
{
	down_read(mmap);
	fault(f);
	/* Whoever wrote it directly has returned, or holds Block, or has yet to write. */
	assert(!refused && (!present[f] || dirty[f] || cached[f] == device[f] || held[S(f, BLOCK)] > 0));
	up_read(mmap)
}

/* A store: page_mkwrite waits with mmap_lock held. */
inline store(f)
{
	down_read(mmap);
	fault(f);
	two_state_lock(f, ADD);
	lock_folio(f);
	if
	:: present[f] -> dirty[f] = true
	:: else			/* it has gone: the instruction is started again */
	fi;
	unlock_folio(f);
	two_state_unlock(f, ADD);
	up_read(mmap)
}

/* mmap(2) or munmap(2). */
inline map()
{
	down_write(mmap);
	up_write(mmap)
}

#define DIRECT		0
#define LOAD		1
#define STORE		2
#define BUFFERED	3
#define MAP		4
#define RETRY		5

/* Does the same again and again; maps once. */
proctype task(byte what; byte f; byte b)
{
	bool refused, got;
	bit value, next;
	byte mine, who;

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
		:: what == DIRECT -> direct_write(f, b)
		:: what == LOAD -> load(f)
		:: what == STORE -> store(f)
		:: what == BUFFERED -> buffered_write(f, b)
		:: what == RETRY -> retry(f, b)
		fi
	:: what == MAP -> break
#ifdef STOPS
	/* Who has enough stops: then those who wait for ever are all that is left, and no others hide them. */
	:: what != MAP -> break
#endif
	od
}

init { atomic { run task(T1); run task(T2);
#if TASKS > 2
	run task(T3);
#endif
#if TASKS > 3
	run task(T4);
#endif
} }
