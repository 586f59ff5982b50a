/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The word protocol of a semaphore of two permits: a robust word for each, a gate that only says whether
 * anybody queues, a chain of robust cells, a queue lock. The queue is that of lock.pml, whose text says
 * what a step is; here is what those at its head and those past it do.
 *
 *	spin -a semaphore.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * Three participants share a few rounds and want one permit or both. Two mishaps are spread among them in
 * every way: one is to die before any step (a fresh participant takes the place), or to give up at any
 * moment of the wait. Whoever finishes last makes one pass more for both permits.
 *
 * Checked: no permit has two owners; nobody sleeps for ever (a sleeper whom nobody is left to wake is an
 * invalid end state); the last pass gets both permits and leaves the fast path open; no crash loses more
 * than two cells.
 *
 * The FAULT_ macros plant one mistake each, and every one of them must be found. See README.md.
 */

#ifndef ROUNDS
#define ROUNDS 3
#endif
#ifndef MAX_MISHAPS
#define MAX_MISHAPS 2
#endif
#define NPROC 3
#define NCELL 4

/* A word: whose (thread id of a keeper), and two flags. */
#define TID 15
#define W 16  /* FUTEX_WAITERS */
#define OD 32 /* FUTEX_OWNER_DIED */

/* Words 1 to NCELL are the cells' own words. */
#define QLOCK 5
#define P0 6
#define P1 7
#define NWORD 8

/* asleep[] holds the set of words slept on, or */
#define AWAKE 0
#define DONE 128

#define BIT(w) (1 << ((w) -1))
#define PERMIT(w) (1 << ((w) -P0))

byte word[NWORD];
byte pred[NCELL + 1]; /* of a cell: the one before it, 0: head of the queue */
byte marks;           /* cells in use */
byte asleep[NPROC];
byte held[2];         /* monitor: who has the permit */
unsigned gate : 1;    /* WAITERS: somebody queues, the fast path is closed */
unsigned tail : 3;
unsigned mishaps : 3;
unsigned started : 2;
unsigned finished : 2;
unsigned rounds : 3 = ROUNDS;

#define owned(w) ((word[w] & TID) != 0)
#define waited(w) ((word[w] & W) != 0)
#define mine(w) ((word[w] & TID) == me)
#define awake (asleep[_pid] == AWAKE)
#define last_pass (finished == NPROC)
#define mishap (mishaps < MAX_MISHAPS && !last_pass)
#define before pred[cell]
#define cell_done (cell == pending || !listed(cell))
#define head (awake && before == 0)
#define marked(c) ((marks & BIT(c)) != 0)
#define all_marked (marks == (1 << NCELL) - 1)
#define has(w) ((got & PERMIT(w)) != 0)
#define enough (got != 0 && (!two || got == PERMIT(P0) + PERMIT(P1)))
/* The head looks at one permit after the other. */
#define past_first (has(P0) || (owned(P0) && waited(P0)))

/* Is it on a list of ours, for the kernel to find? */
#ifdef FAULT_LIST_AFTER_CAS
#define listed(w) (mine(w) && !((w) >= P0 && late))
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
		mishap -> mishaps++;                                                               \
		asleep[_pid] = AWAKE;                                                              \
		old = 0;                                                                           \
		cell = (listed(cell) || pending == cell -> cell : 0);                              \
		got = 0;                                                                           \
		two = 0;                                                                           \
		held[0] = (held[0] == me -> 0 : held[0]);                                          \
		held[1] = (held[1] == me -> 0 : held[1]);                                          \
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

#ifdef FAULT_PERMIT_ZEROED
#define PERMIT_LEFT 0
#else
#define PERMIT_LEFT W
#endif

/* To the fast path a word with W is not free: it is reserved for the head of the queue. */
#ifdef FAULT_FAST_RESERVED
#define fast_free(w) (!owned(w))
#else
#define fast_free(w) (word[w] == 0)
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
	:: (asleep[0] & BIT(w)) != 0 -> asleep[0] = AWAKE
	:: (asleep[1] & BIT(w)) != 0 -> asleep[1] = AWAKE
	:: (asleep[2] & BIT(w)) != 0 -> asleep[2] = AWAKE
	:: else
	fi
}

inline permit_taken(w)
{
	assert(held[w - P0] == 0);
	held[w - P0] = me;
	got = got | PERMIT(w)
}

inline permit_given(w)
{
	held[w - P0] = 0;
	got = got & ~PERMIT(w)
}

/* What a freed cell holds is written anew before it is linked again: cleared to have fewer states. */
inline cell_free(c)
{
	marks = marks & ~BIT(c);
	word[c] = 0;
	pred[c] = 0
}

/* Wake a sleeper of w after it was given up, and go on at a label. To die between the wake and the end of
 * the pending operation is to wake one more for no reason, and is left out. */
#define wake_and_go(w, next)                                                                       \
	if                                                                                         \
	:: atomic { true -> release_wake(w); pending = 0; goto next }                              \
	OR_DIE                                                                                     \
	fi

/* W stays where it was, so that whoever takes the word next, woken or not, wakes the next sleeper. */
#define qlock_release(next)                                                                        \
	if                                                                                         \
	:: atomic { !waited(QLOCK) -> word[QLOCK] = 0; goto next }                                 \
	:: atomic { waited(QLOCK) -> set_pending(QLOCK); word[QLOCK] = W }                         \
	OR_DIE                                                                                     \
	fi;                                                                                        \
	wake_and_go(QLOCK, next)

#define permit_release(w, next)                                                                    \
	if                                                                                         \
	:: atomic { !waited(w) -> word[w] = 0; permit_given(w); goto next }                        \
	:: atomic { waited(w) -> set_pending(w); word[w] = PERMIT_LEFT; permit_given(w) }          \
	OR_DIE                                                                                     \
	fi;                                                                                        \
	wake_and_go(w, next)

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
	unsigned cell : 3, old : 3, pending : 3, got : 2, two : 1;
#ifdef FAULT_LIST_AFTER_CAS
	bit late;
#endif

	/* All are alike: let them begin in order. */
	atomic { started == _pid -> started++; goto start };

start:
	atomic {
		two = 0;
		if
		:: !last_pass && rounds > 0 -> rounds--
		:: !last_pass && rounds > 0 -> rounds--; two = 1
		:: !last_pass -> finished++;
		   if
		   :: last_pass -> two = 1
		   :: else -> asleep[_pid] = DONE; goto out
		   fi
		:: last_pass -> goto closing
		fi
	};

	/* ---- the fast path: a free permit, then the gate once more ---- */
	if
	:: atomic { !two && !gate }
	:: atomic { (two || gate) -> pending = QLOCK; goto queue }
	OR_DIE
	fi;
	if
	:: atomic { fast_free(P0) -> word[P0] = me; set_late(1); permit_taken(P0) }
	:: atomic { !fast_free(P0) && fast_free(P1) -> word[P1] = me; set_late(1); permit_taken(P1) }
	:: atomic { !fast_free(P0) -> pending = QLOCK; goto queue }
	OR_DIE
	fi;
#ifdef FAULT_LIST_AFTER_CAS
	if
	:: late = 0
	OR_DIE
	fi;
#endif
	if
	:: atomic { !gate -> goto give_back }
	:: atomic {
		gate ->
		if
		:: has(P0) -> goto undo0
		:: else -> goto undo1
		fi
	   }
	OR_DIE
	fi;
undo0:
	permit_release(P0, undone);
undo1:
	permit_release(P1, undone);
undone:
	atomic { true -> pending = QLOCK; goto queue };

queue:
	/* ---- the queue lock: the pending operation for as long as one waits for it ---- */
	do
	:: atomic { awake && !owned(QLOCK) -> word[QLOCK] = me | (word[QLOCK] & W); pending = 0; break }
	:: atomic { awake && owned(QLOCK) && !waited(QLOCK) -> word[QLOCK] = word[QLOCK] | W }
	:: atomic { awake && owned(QLOCK) && waited(QLOCK) -> asleep[_pid] = BIT(QLOCK) }
	:: atomic { timed_out && mishap -> mishaps++; asleep[_pid] = AWAKE; pending = 0; goto start }
	OR_DIE
	od;

	/* ---- under it: take at once if nobody queues, else enter the queue ---- */
	queue_trim();
	if
	:: atomic { tail == 0 -> gate = 1 }
	:: atomic { tail != 0 -> goto enter }
	OR_DIE
	fi;
	do
	:: atomic { !enough && !has(P0) && !owned(P0) -> word[P0] = me; permit_taken(P0) }
	:: atomic { !enough && (has(P0) || owned(P0)) && !has(P1) && !owned(P1) -> word[P1] = me; permit_taken(P1) }
	:: atomic { !enough && (has(P0) || owned(P0)) && (has(P1) || owned(P1)) -> break }
	:: atomic { enough -> gate = 0; two = 0; goto unlock }
	OR_DIE
	od;
enter:
	if
	:: atomic {
		!all_marked ->
		cell = (!marked(1) -> 1 : (!marked(2) -> 2 : (!marked(3) -> 3 : 4)));
		marks = marks | BIT(cell); word[cell] = me; pred[cell] = tail
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
	:: atomic {
		true -> tail = cell;
		if
		:: gate -> goto unlock /* closed already, and nobody else may open it */
		:: else
		fi
	   }
	OR_DIE
	fi;
	if
	:: gate = 1
	OR_DIE
	fi;
unlock:
	qlock_release(unlocked);
unlocked:
	atomic {
		if
		:: cell == 0 -> goto give_back
		:: else -> goto wait
		fi
	};

	/* ---- wait: for the one before, or as the head for all permits missing ---- */
wait:
	do
	:: atomic { awake && before != 0 && !owned(before) -> old = before; before = pred[old] };
	   if
	   :: atomic { true -> cell_free(old); old = 0 }
	   OR_DIE
	   fi
	:: atomic { awake && before != 0 && owned(before) && !waited(before) -> word[before] = word[before] | W }
	:: atomic { awake && before != 0 && owned(before) && waited(before) -> asleep[_pid] = BIT(before) }
	:: atomic {
		head && !has(P0) && !owned(P0) -> word[P0] = me; permit_taken(P0);
		if
		:: enough -> two = 0; goto leave
		:: else
		fi
	   }
	:: atomic {
		head && past_first && !has(P1) && !owned(P1) -> word[P1] = me; permit_taken(P1);
		if
		:: enough -> two = 0; goto leave
		:: else
		fi
	   }
	:: atomic { head && !has(P0) && owned(P0) && !waited(P0) -> word[P0] = word[P0] | W }
	:: atomic { head && past_first && !has(P1) && owned(P1) && !waited(P1) -> word[P1] = word[P1] | W }
	/* futex_waitv() looks at one word after the other, queueing on each */
	:: atomic { head && has(P0) && owned(P1) && waited(P1) -> asleep[_pid] = BIT(P1) }
	:: atomic { head && has(P1) && owned(P0) && waited(P0) -> asleep[_pid] = BIT(P0) }
	:: atomic { head && got == 0 && owned(P0) && waited(P0) -> asleep[_pid] = BIT(P0) };
	   if
	   :: atomic { !awake && owned(P1) && waited(P1) -> asleep[_pid] = BIT(P0) + BIT(P1) }
	   :: atomic { awake || !owned(P1) || !waited(P1) -> asleep[_pid] = AWAKE }
	   OR_DIE
	   fi
	:: atomic { awake && mishap -> mishaps++; two = 0; goto give_back }
	:: atomic { timed_out && mishap -> mishaps++; two = 0; asleep[_pid] = AWAKE; goto give_back }
	OR_DIE
	od;

	/* ---- the last one takes its cell out and opens the fast path ---- */
leave:
	if
	:: tail == cell
	:: atomic { tail != cell -> goto pass_on }
	OR_DIE
	fi;
	if
	:: atomic { !owned(QLOCK) -> word[QLOCK] = me | (word[QLOCK] & W) }
	:: atomic { owned(QLOCK) -> goto pass_on }
	OR_DIE
	fi;
	if
	:: atomic { tail == cell -> tail = before }
	:: atomic { tail != cell -> goto unlock_tail }
	OR_DIE
	fi;
	queue_trim();
	if
	:: atomic { tail == 0 -> gate = 0 }
	:: tail != 0
	OR_DIE
	fi;
	if
	:: atomic { true -> cell_free(cell); cell = 0 } /* on nobody's way any more, so one step */
	OR_DIE
	fi;
unlock_tail:
	qlock_release(left);
left:
	atomic {
		if
		:: cell == 0 -> goto give_back
		:: else -> goto pass_on
		fi
	};

	/* ---- free the cell that the next in the queue sleeps on ---- */
pass_on:
	if
	:: atomic { !waited(cell) -> word[cell] = 0; cell = 0; goto give_back }
	:: atomic { waited(cell) -> set_pending(cell); word[cell] = 0 }
	OR_DIE
	fi;
	wake_and_go(cell, passed);
passed:
	atomic { true -> cell = 0; goto give_back };

	/* ---- release, or give back what was gathered and leave the queue ---- */
give_back:
	atomic {
		if
		:: has(P0) -> goto back0
		:: !has(P0) && has(P1) -> goto back1
		:: got == 0 && cell != 0 -> goto leave
		:: got == 0 && cell == 0 -> goto start
		fi
	};
back0:
	permit_release(P0, give_back);
back1:
	permit_release(P1, give_back);

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
	:: atomic { cell_done && pending != P0 && listed(P0) -> mark_dead(P0) };
	   atomic { futex_wake(P0) }
	:: atomic { cell_done && pending != P1 && listed(P1) -> mark_dead(P1) };
	   atomic { futex_wake(P1) }
	:: atomic {
		pending != 0 && pending != QLOCK && cell_done && (pending == P0 || !listed(P0)) &&
			(pending == P1 || !listed(P1)) ->
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
		!listed(QLOCK) && !listed(cell) && !listed(P0) && !listed(P1) && pending == 0 ->
		cell = 0; set_late(0);
		/* A fresh process has another id. While no word carries the old one it may be the same. */
		if
		:: mine(1) || mine(2) || mine(3) || mine(4) || mine(QLOCK) || mine(P0) || mine(P1) -> me = me + NPROC
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
		assert(!owned(P0) && !owned(P1) && !gate && !owned(QLOCK));
		do
		:: tail != 0 -> assert(!owned(tail)); marks = marks & ~BIT(tail); tail = pred[tail]
		:: else -> break
		od;
		assert(marked(1) + marked(2) + marked(3) + marked(4) <= 2 * mishaps)
	};
out:
	skip
}
