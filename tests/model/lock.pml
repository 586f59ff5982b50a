/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The word protocol of an exclusive lock: one gate word, a chain of robust cells, a queue lock.
 *
 *	spin -a lock.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * Three participants share a few rounds. Each takes the fast path or queues, may give up at any moment
 * of its wait, and may die before any step; the kernel then walks its robust lists, word by word, among
 * the steps of the others, and a fresh participant takes its place. Whoever finishes last makes one pass
 * more, which has to succeed and to leave the gate open.
 *
 * Checked: never two in the critical section; nobody sleeps for ever (a sleeper whom nobody is left to
 * wake is an invalid end state); the last pass gets the lock and leaves the gate 0; no crash loses more
 * than two cells.
 *
 * A step is one atomic operation on one shared word, together with what only its own process can see.
 * Reading a word and the compare-exchange that follows are one step here, for one that fails is a read
 * anew; so are the last look at a word and the kernel's own look before it puts a thread to sleep.
 *
 * The FAULT_ macros plant one mistake each, and every one of them must be found. See README.md.
 */

#ifndef ROUNDS
#define ROUNDS 4
#endif
#ifndef MAX_CRASHES
#define MAX_CRASHES 2
#endif
#define NPROC 3
#define NCELL 4

/* A word: whose (thread id of a keeper), and two flags. */
#define TID 15
#define W 16  /* FUTEX_WAITERS */
#define OD 32 /* FUTEX_OWNER_DIED */

/* Words 1 to NCELL are the cells' own words. */
#define QLOCK 5
#define GATE 6
#define NWORD 7

/* asleep[] holds the word slept on, or */
#define AWAKE 0
#define DONE 7

byte word[NWORD];
byte pred[NCELL + 1]; /* of a cell: the one before it, 0: head of the queue */
byte marks;           /* cells in use */
byte asleep[NPROC];
byte holder;          /* monitor: who is in the critical section */
unsigned tail : 3;
unsigned crashes : 3;
unsigned started : 2;
unsigned finished : 2;
unsigned rounds : 3 = ROUNDS;

#define owned(w) ((word[w] & TID) != 0)
#define waited(w) ((word[w] & W) != 0)
#define mine(w) ((word[w] & TID) == me)
#define awake (asleep[_pid] == AWAKE)
#define last_pass (finished == NPROC)
#define before pred[cell]
#define CELL(c) (1 << ((c) -1))
#define marked(c) ((marks & CELL(c)) != 0)
#define all_marked (marks == (1 << NCELL) - 1)

/* Is it on a list of ours, for the kernel to find? */
#ifdef FAULT_LIST_AFTER_CAS
#define listed(w) (mine(w) && !((w) == GATE && late))
#else
#define listed(w) mine(w)
#endif

/* Time runs out for a sleeper only while another can move, so that a state where nobody can is seen. */
#define other_awake                                                                                \
	((_pid != 0 && asleep[0] == AWAKE) || (_pid != 1 && asleep[1] == AWAKE) ||                 \
		(_pid != 2 && asleep[2] == AWAKE))
#define timed_out (!awake && other_awake)

/* One more alternative of every step: to die before it. */
#define OR_DIE                                                                                     \
	::atomic                                                                                   \
	{                                                                                          \
		crashes < MAX_CRASHES && !last_pass -> crashes++;                                  \
		asleep[_pid] = AWAKE;                                                              \
		old = 0;                                                                           \
		cell = (listed(cell) || pending == cell -> cell : 0);                              \
		holder = (holder == me -> 0 : holder);                                             \
		goto dying                                                                         \
	}

#ifdef FAULT_NO_PENDING
#define set_pending(w) skip
#else
#define set_pending(w) pending = w
#endif

#ifdef FAULT_NO_WAKE
#define release_wake(w) skip
#else
#define release_wake(w) futex_wake(w)
#endif

#if defined(FAULT_QLOCK_ZEROED) || defined(FAULT_QLOCK_REWAITED)
#define QLOCK_LEFT 0
#else
#define QLOCK_LEFT W
#endif

#ifdef FAULT_QLOCK_REWAITED
#define set_slept(v) slept = v
#define SLEPT slept
#else
#define set_slept(v) skip
#define SLEPT 0
#endif

#ifdef FAULT_LIST_AFTER_CAS
#define set_late(v) late = v
#else
#define set_late(v) skip
#endif

/* FUTEX_WAKE of one sleeper, any. */
inline futex_wake(w)
{
	if
	:: asleep[0] == w -> asleep[0] = AWAKE
	:: asleep[1] == w -> asleep[1] = AWAKE
	:: asleep[2] == w -> asleep[2] = AWAKE
	:: else
	fi
}

inline enter_critical()
{
	assert(holder == 0);
	holder = me
}

/* What a freed cell holds is written anew before it is linked again: cleared to have fewer states. */
inline cell_free(c)
{
	marks = marks & ~CELL(c);
	word[c] = 0;
	pred[c] = 0
}

/* Wake a sleeper of w after it was given up, and go on at a label. */
#define wake_and_go(w, next)                                                                       \
	if                                                                                         \
	:: atomic { true -> release_wake(w) }                                                      \
	OR_DIE                                                                                     \
	fi;                                                                                        \
	if                                                                                         \
	:: atomic { true -> pending = 0; goto next }                                               \
	OR_DIE                                                                                     \
	fi

/* W stays where it was, so that whoever takes the word next, woken or not, wakes the next sleeper. */
#define qlock_release(next)                                                                        \
	if                                                                                         \
	:: atomic { !waited(QLOCK) -> word[QLOCK] = 0; goto next }                                 \
	:: atomic { waited(QLOCK) -> set_pending(QLOCK); word[QLOCK] = QLOCK_LEFT }                \
	OR_DIE                                                                                     \
	fi;                                                                                        \
	wake_and_go(QLOCK, next)

inline queue_trim()
{
	do
	:: atomic { tail != 0 && !owned(tail) -> old = tail; tail = pred[tail] };
	   if
	   :: atomic { true -> cell_free(old); old = 0 }
	   OR_DIE
	   fi
	:: atomic { tail == 0 || owned(tail) -> break }
	OR_DIE
	od
}

/* The kernel marks a word of the dead. */
#define mark_dead(w)                                                                               \
	if                                                                                         \
	:: waited(w) -> word[w] = W | OD                                                           \
	:: else -> word[w] = OD; goto dying                                                        \
	fi

active [NPROC] proctype participant()
{
	byte me = _pid + 1;
	unsigned cell : 3, old : 3, pending : 3;
#ifdef FAULT_LIST_AFTER_CAS
	bit late;
#endif
#ifdef FAULT_QLOCK_REWAITED
	byte slept;
#endif

	/* All are alike: let them begin in order. */
	atomic { started == _pid -> started++; goto start };

start:
	atomic {
		if
		:: !last_pass && rounds > 0 -> rounds--
		:: !last_pass -> finished++;
		   if
		   :: last_pass
		   :: else -> asleep[_pid] = DONE; goto out
		   fi
		:: last_pass -> goto closing
		fi
	};

	/* ---- the fast path ---- */
	if
	:: atomic { word[GATE] == 0 -> word[GATE] = me; set_late(1); enter_critical(); goto critical }
	:: atomic { word[GATE] != 0 -> pending = QLOCK }
	OR_DIE
	fi;

	/* ---- the queue lock: the pending operation for as long as one waits for it ---- */
	do
	:: atomic {
		awake && !owned(QLOCK) -> word[QLOCK] = me | (word[QLOCK] & W) | SLEPT;
		set_slept(0); pending = 0; break
	   }
	:: atomic { awake && owned(QLOCK) && !waited(QLOCK) -> word[QLOCK] = word[QLOCK] | W }
	:: atomic { awake && owned(QLOCK) && waited(QLOCK) -> asleep[_pid] = QLOCK; set_slept(W) }
	:: atomic { timed_out -> asleep[_pid] = AWAKE; set_slept(0); pending = 0; goto start }
	OR_DIE
	od;

	/* ---- under it: take at once if nobody queues, else enter the queue ---- */
	queue_trim();
	if
	:: atomic { tail == 0 -> word[GATE] = word[GATE] | W }
	:: atomic { tail != 0 -> goto enter }
	OR_DIE
	fi;
	if
	:: atomic { !owned(GATE) -> word[GATE] = me | (word[GATE] & W); set_late(1); enter_critical() }
	:: atomic { owned(GATE) -> goto enter }
	OR_DIE
	fi;
	if
	:: atomic { true -> word[GATE] = word[GATE] & ~W; goto unlock }
	OR_DIE
	fi;
enter:
	if
	:: atomic {
		!all_marked -> cell = (!marked(1) -> 1 : (!marked(2) -> 2 : (!marked(3) -> 3 : 4)));
		marks = marks | CELL(cell); word[cell] = me; pred[cell] = tail
	   }
	:: atomic {
		all_marked ->
		if
		:: last_pass -> goto sweep
		:: else -> goto unlock /* the request fails */
		fi
	   }
	OR_DIE
	fi;
	if
	:: tail = cell
	OR_DIE
	fi;
	if
	:: word[GATE] = word[GATE] | W
	OR_DIE
	fi;
unlock:
	qlock_release(unlocked);
unlocked:
	atomic {
		if
		:: holder == me -> goto critical
		:: holder != me && cell == 0 -> goto start
		:: else
		fi
	};

	/* ---- wait: for the one before, or as the head for the gate ---- */
	do
	:: atomic { awake && before != 0 && !owned(before) -> old = before; before = pred[old] };
	   if
	   :: atomic { true -> cell_free(old); old = 0 }
	   OR_DIE
	   fi
	:: atomic { awake && before != 0 && owned(before) && !waited(before) -> word[before] = word[before] | W }
	:: atomic { awake && before != 0 && owned(before) && waited(before) -> asleep[_pid] = before }
	:: atomic {
		awake && before == 0 && !owned(GATE) -> word[GATE] = me | (word[GATE] & W);
		set_late(1); enter_critical(); break
	   }
#ifdef FAULT_DIRECT_HANDOFF
	:: atomic { awake && before == 0 && mine(GATE) -> enter_critical(); break }
#endif
	:: atomic { awake && before == 0 && owned(GATE) && !waited(GATE) -> word[GATE] = word[GATE] | W }
	:: atomic { awake && before == 0 && owned(GATE) && waited(GATE) -> asleep[_pid] = GATE }
	:: atomic { awake && !last_pass -> break }
	:: atomic { timed_out -> asleep[_pid] = AWAKE; break }
	OR_DIE
	od;

	/* ---- granted or not: the last one takes its cell out and opens the fast path ---- */
	if
	:: tail == cell
	:: atomic { tail != cell -> goto left }
	OR_DIE
	fi;
	if
	:: atomic { !owned(QLOCK) -> word[QLOCK] = me | (word[QLOCK] & W) }
	:: atomic { owned(QLOCK) -> goto left }
	OR_DIE
	fi;
	if
	:: atomic { tail == cell -> tail = before }
#ifdef FAULT_NO_RECHECK
	:: atomic { tail != cell -> tail = before }
#else
	:: atomic { tail != cell -> goto leave }
#endif
	OR_DIE
	fi;
	queue_trim();
	if
	:: atomic { tail == 0 -> word[GATE] = word[GATE] & ~W }
	:: tail != 0
	OR_DIE
	fi;
	if
	:: atomic { true -> cell_free(cell); cell = 0 } /* on nobody's way any more, so one step */
	OR_DIE
	fi;
leave:
	qlock_release(left);
left:
	atomic {
		if
		:: holder == me -> goto critical
		:: holder != me && cell == 0 -> goto start
		:: else -> goto pass_on
		fi
	};

critical:
#ifdef FAULT_LIST_AFTER_CAS
	if
	:: late = 0
	OR_DIE
	fi;
#endif
	/* ---- release: W alone is the reserved pass, for the head of the queue and nobody else ---- */
	if
	:: atomic { word[GATE] == me -> word[GATE] = 0; holder = 0; goto start }
	:: atomic {
		word[GATE] != me && cell == 0 -> set_pending(GATE); word[GATE] = W; holder = 0;
#ifdef FAULT_DIRECT_HANDOFF
		if
		:: asleep[0] == GATE -> word[GATE] = 1 | W
		:: asleep[1] == GATE -> word[GATE] = 2 | W
		:: asleep[2] == GATE -> word[GATE] = 3 | W
		:: else
		fi
#endif
	   }
	/* With a cell of our own nobody sleeps on the gate, so that no wake of it can be lost. */
	:: atomic { word[GATE] != me && cell != 0 -> word[GATE] = W; holder = 0; goto pass_on }
	OR_DIE
	fi;
	wake_and_go(GATE, start);

	/* ---- free the cell that the next in the queue sleeps on ---- */
pass_on:
	if
	:: atomic { !waited(cell) -> word[cell] = 0; cell = 0; goto start }
	:: atomic { waited(cell) -> set_pending(cell); word[cell] = 0 }
	OR_DIE
	fi;
	wake_and_go(cell, passed);
passed:
	atomic { true -> cell = 0; goto start };

	/* ---- the kernel walks two lists, for the queue lock has a keeper of its own, newest entry first,
	 * and last what is pending; a wake is a step of its own ---- */
dying:
	do
	:: atomic { listed(QLOCK) -> pending = (pending == QLOCK -> 0 : pending); mark_dead(QLOCK) };
	   atomic { futex_wake(QLOCK) }
	:: atomic {
		!listed(QLOCK) && pending == QLOCK -> pending = 0;
		if
		:: owned(QLOCK)
		:: else -> futex_wake(QLOCK)
		fi
	   }
	:: atomic { cell != pending && listed(cell) -> mark_dead(cell) };
	   atomic { futex_wake(cell) }
	:: atomic { (cell == pending || !listed(cell)) && pending != GATE && listed(GATE) -> mark_dead(GATE) };
	   atomic { futex_wake(GATE) }
	:: atomic {
		pending != 0 && pending != QLOCK && (cell == pending || !listed(cell)) &&
			(pending == GATE || !listed(GATE)) ->
		old = pending; pending = 0; cell = 0;
		if
		:: listed(old) && waited(old) -> word[old] = W | OD
		:: listed(old) && !waited(old) -> word[old] = OD; old = 0; goto dying
		:: !owned(old)
		:: else -> old = 0; goto dying
		fi
	   };
	   atomic { futex_wake(old); old = 0 }
	:: atomic {
		!listed(QLOCK) && !listed(cell) && !listed(GATE) && pending == 0 ->
		cell = 0; set_late(0); set_slept(0);
		/* A fresh process has another id. While no word carries the old one it may be the same. */
		if
		:: mine(1) || mine(2) || mine(3) || mine(4) || mine(QLOCK) || mine(GATE) -> me = me + NPROC
		:: else
		fi;
		goto start
	   }
	od;

	/* All cells were lost to crashes. The last one frees those that no chain reaches and goes on. */
sweep:
	atomic { tail == 0 -> marks = 0; goto enter };

closing:
	skip;
	d_step {
		assert(word[GATE] == 0 && !owned(QLOCK));
		do
		:: tail != 0 -> assert(!owned(tail)); marks = marks & ~CELL(tail); tail = pred[tail]
		:: else -> break
		od;
		assert(marked(1) + marked(2) + marked(3) + marked(4) <= 2 * crashes)
	};
out:
	skip
}
