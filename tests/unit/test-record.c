/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records: what a hold stands on, judged by asking the kernel.
 */
#include <string.h>

#include "unit.h"

enum {
        RECORDS = 16
};

static const Geometry few = {8, 16, 8, RECORDS};

static uint64_t owner_new(Segment *s, Owner o) {
        uint64_t info = 0;

        assert_result(record_new_owner(s, &o, NULL, &info), 0);
        return info;
}

static uint64_t pid_new(Segment *s, const Peer *a, const Peer *b) {
        return owner_new(
                        s, (Owner){.kind = RECORD_PID,
                                           .pids = {(uint32_t) a->pid, b ? (uint32_t) b->pid : 0}});
}

/* ---- making and freeing ---- */

START_TEST(record_is_what_it_was_made_as) {
        Segment *s = unit_attach(few);
        char text[64];
        uint64_t info;
        Record *r;

        assert_result(record_new(s, RECORD_LEASE, "nightly", &info), 0);
        r = record_of(s, info);
        ck_assert_ptr_nonnull(r);
        ck_assert_uint_eq(atomic_load(&r->kind), RECORD_LEASE);
        ck_assert_uint_eq(atomic_load(&r->uid), geteuid());
        ck_assert_uint_eq(atomic_load(&r->maker), atomic_load(&s->info));
        text_load(r->description, ELEMENTSOF(r->description), text);
        ck_assert_str_eq(text, "nightly");
}
END_TEST

START_TEST(freed_record_is_of_nobody_though_its_place_is_used_again) {
        Segment *s = unit_attach(few);
        uint64_t infos[4 * RECORDS];

        for (size_t i = 0; i < ELEMENTSOF(infos); i++) {
                assert_result(record_new(s, RECORD_LEASE, NULL, &infos[i]), 0);
                for (size_t j = 0; j < i; j++) {
                        ck_assert_uint_ne(infos[i], infos[j]);
                        ck_assert_ptr_null(record_of(s, infos[j]));
                }
                record_free(s, infos[i]);
                record_free(s, infos[i]); /* twice is once */
        }
        ck_assert_uint_eq(unit_records_used(s), 1);
}
END_TEST

START_TEST(info_beyond_the_records_is_none) {
        Segment *s = unit_attach(few);

        ck_assert_ptr_null(record_of(s, 0));
        ck_assert_ptr_null(record_of(s, RECORDS));
        ck_assert_ptr_null(record_of(s, UINT32_MAX));
        ck_assert_ptr_null(record_of(s, UINT64_MAX));
}
END_TEST

START_TEST(full_pool_is_enospc_until_one_is_freed) {
        Segment *s = unit_attach(few);
        uint64_t infos[RECORDS], extra;

        for (size_t i = 0; i < RECORDS - 2; i++) /* 0 is none, one is this process's */
                assert_result(record_new(s, RECORD_LEASE, NULL, &infos[i]), 0);
        assert_result(record_new(s, RECORD_LEASE, NULL, &extra), -ENOSPC);
        record_free(s, infos[3]);
        assert_result(record_new(s, RECORD_LEASE, NULL, &extra), 0);
        ck_assert_uint_eq((uint32_t) extra, (uint32_t) infos[3]);
}
END_TEST

static void make_all(Peer *me, void *data) {
        Segment *s = unit_attach(few);
        uint64_t info, n = 0;

        (void) data;
        while (record_new(s, RECORD_LEASE, NULL, &info) == 0)
                n++;
        peer_say(me, n);
        (void) peer_hear(me);
}

START_TEST(records_of_a_killed_process_are_used_again) {
        Segment *s;
        uint64_t info;
        Peer p;

        peer_start(&p, make_all, NULL);
        ck_assert_uint_eq(peer_hear(&p), RECORDS - 2);
        peer_kill(&p);
        s = unit_attach(few);
        for (size_t i = 0; i < RECORDS - 2; i++)
                assert_result(record_new(s, RECORD_LEASE, NULL, &info), 0);
        assert_result(record_new(s, RECORD_LEASE, NULL, &info), -ENOSPC);
}
END_TEST

START_TEST(record_that_a_word_stands_on_is_never_taken_for_stale) {
        Segment *s = unit_attach(few);
        uint64_t info, extra;
        Ask a;

        ask_init(&a, s, unit_lock(s, "a"));
        a.wait.record = info =
                        owner_new(s, (Owner){.kind = RECORD_LEASE, .lease_usec = USEC_INFINITE});
        assert_result(ask_try(&a), 1);
        ck_assert(word_is_sentinel(a.grant.owner));
        while (record_new(s, RECORD_LEASE, NULL, &extra) == 0)
                ;
        ck_assert_ptr_nonnull(record_of(s, info));
        assert_result(ask_release(&a), 0);
        ck_assert_ptr_null(record_of(s, info));
}
END_TEST

START_TEST(long_description_is_cut) {
        Segment *s = unit_attach(few);
        char text[200], got[64];
        uint64_t info;

        memset(text, 'd', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        assert_result(record_new(s, RECORD_LEASE, text, &info), 0);
        text_load(record_of(s, info)->description, 8, got);
        ck_assert_uint_eq(strlen(got), sizeof(got) - 1);
}
END_TEST

/* ---- judging ---- */

START_TEST(pid_record_stands_while_its_process_lives) {
        Segment *s = unit_attach(few);
        uint64_t info;
        Peer p;

        peer_idle(&p);
        info = pid_new(s, &p, NULL);
        assert_result(record_judge(record_of(s, info)), 0);
        peer_kill(&p);
        assert_result(record_judge(record_of(s, info)), 1);
}
END_TEST

START_TEST(pid_record_of_two_stands_until_both_are_gone) {
        Segment *s = unit_attach(few);
        uint64_t info;
        Peer a, b;

        peer_idle(&a);
        peer_idle(&b);
        info = pid_new(s, &a, &b);
        peer_kill(&a);
        assert_result(record_judge(record_of(s, info)), 0);
        peer_kill(&b);
        assert_result(record_judge(record_of(s, info)), 1);
}
END_TEST

START_TEST(recycled_pid_is_another_process) {
        Segment *s = unit_attach(few);
        Ident ident, fake = {0};

        assert_result(ident_read((uint32_t) getpid(), &ident), 0);
        /* One of the two tells a process from its successor: where inodes can't, the time it began. */
        ck_assert(atomic_load(&ident.start) != 0 || atomic_load(&ident.inode) != 0);
        assert_result(ident_gone(&ident), 0);

        atomic_store(&fake.pid, atomic_load(&ident.pid));
        atomic_store(&fake.start, atomic_load(&ident.start) + 1);
        assert_result(ident_gone(&fake), 1);
        assert_result(ident_open(&fake), -ESRCH);

        if (atomic_load(&ident.inode) != 0) {
                atomic_store(&fake.start, atomic_load(&ident.start));
                atomic_store(&fake.inode, atomic_load(&ident.inode) + 1);
                assert_result(ident_gone(&fake), 1);
        }
        (void) s;
}
END_TEST

START_TEST(owner_that_is_gone_makes_no_record) {
        Segment *s = unit_attach(few);
        Owner o = {.kind = RECORD_PID};
        uint64_t info = 7;
        Peer p;

        peer_idle(&p);
        o.pids[0] = (uint32_t) p.pid;
        peer_kill(&p);
        assert_result(record_new_owner(s, &o, NULL, &info), -ESRCH);
        o.pids[0] = UINT32_MAX;
        assert_result(record_new_owner(s, &o, NULL, &info), -ESRCH);
        ck_assert_uint_eq(info, 7);
        ck_assert_uint_eq(unit_records_used(s), 1);
}
END_TEST

START_TEST(process_record_tells_who_this_is) {
        Segment *s = unit_attach(few);
        Record *r = record_of(s, atomic_load(&s->info));
        char text[16];

        ck_assert_uint_eq(atomic_load(&r->who[0].pid), (uint64_t) getpid());
        assert_result(record_judge(r), 0);
        text_load(r->command, 2, text);
        ck_assert_uint_gt(strlen(text), 0);
}
END_TEST

/* ---- leases ---- */

START_TEST(lease_that_is_over_is_marked_so) {
        Segment *s = unit_attach(few);
        uint64_t info = owner_new(s, (Owner){.kind = RECORD_LEASE, .lease_usec = 0});
        Record *r = record_of(s, info);

        assert_result(record_judge(r), 1);
        ck_assert_uint_eq(atomic_load(&r->deadline), 0);
        assert_result(record_judge(r), 1);
        assert_result(record_renew(s, r, USEC_PER_SEC), -ESTALE);
}
END_TEST

START_TEST(lease_is_renewed_while_it_lasts) {
        Segment *s = unit_attach(few);
        uint64_t info = owner_new(
                        s, (Owner){.kind = RECORD_LEASE, .lease_usec = 3600 * USEC_PER_SEC});
        Record *r = record_of(s, info);
        uint64_t old = atomic_load(&r->deadline);

        assert_result(record_judge(r), 0);
        assert_result(record_renew(s, r, 7200 * USEC_PER_SEC), 0);
        ck_assert_uint_ge(atomic_load(&r->deadline), old + 3600 * USEC_PER_SEC);
        assert_result(record_renew(s, r, USEC_INFINITE), 0);
        ck_assert_uint_eq(atomic_load(&r->deadline), USEC_INFINITE);
        atomic_store(&r->deadline, clock_usec(CLOCK_BOOTTIME));
        assert_result(record_renew(s, r, USEC_PER_SEC), -ESTALE);
}
END_TEST

START_TEST(what_is_no_lease_is_not_renewed) {
        Segment *s = unit_attach(few);

        assert_result(record_renew(s, record_of(s, atomic_load(&s->info)), USEC_PER_SEC), -EINVAL);
}
END_TEST

static Suite *record_suite(void) {
        Suite *s = suite_create("record");

        unit_fact(s, record_is_what_it_was_made_as);
        unit_fact(s, freed_record_is_of_nobody_though_its_place_is_used_again);
        unit_fact(s, info_beyond_the_records_is_none);
        unit_fact(s, full_pool_is_enospc_until_one_is_freed);
        unit_fact(s, records_of_a_killed_process_are_used_again);
        unit_fact(s, record_that_a_word_stands_on_is_never_taken_for_stale);
        unit_fact(s, long_description_is_cut);
        unit_fact(s, pid_record_stands_while_its_process_lives);
        unit_fact(s, pid_record_of_two_stands_until_both_are_gone);
        unit_fact(s, recycled_pid_is_another_process);
        unit_fact(s, owner_that_is_gone_makes_no_record);
        unit_fact(s, process_record_tells_who_this_is);
        unit_fact(s, lease_that_is_over_is_marked_so);
        unit_fact(s, lease_is_renewed_while_it_lasts);
        unit_fact(s, what_is_no_lease_is_not_renewed);
        return s;
}

int main(void) {
        return unit_run(record_suite());
}
