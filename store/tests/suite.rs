//! One suite for both stores: each claim is run on PostgreSQL and on SQLite.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "tests: their names are the documentation, and a panic is a failure"
)]

#[path = "suite/catalog.rs"]
mod catalog;
#[path = "suite/commits.rs"]
mod commits;
#[path = "suite/fixture.rs"]
mod fixture;
#[path = "suite/jobs.rs"]
mod jobs;
#[path = "suite/lists.rs"]
mod lists;
#[path = "suite/outbox.rs"]
mod outbox;
#[path = "suite/schema.rs"]
mod schema;
#[path = "suite/states.rs"]
mod states;

macro_rules! claims {
    ($($migrated:literal $subject:ident { $($claim:ident,)* })*) => {
        mod postgres {$(
            mod $subject {$(
                #[tokio::test]
                async fn $claim() {
                    crate::fixture::on_postgres($migrated, crate::$subject::$claim).await;
                }
            )*}
        )*}
        mod sqlite {$(
            mod $subject {$(
                #[tokio::test]
                async fn $claim() {
                    crate::fixture::on_sqlite($migrated, crate::$subject::$claim).await;
                }
            )*}
        )*}
    };
}

claims! {
    false schema {
        a_second_migration_does_nothing,
        two_servers_migrate_at_once_and_each_migration_runs_once,
        a_migration_with_another_text_is_refused_by_name,
        a_store_that_is_newer_than_the_program_is_refused,
        a_store_that_was_never_migrated_is_refused,
        every_statement_can_be_prepared,
        a_store_of_the_first_version_keeps_what_it_holds,
    }
    true commits {
        what_is_committed_is_loaded_as_it_was,
        a_changed_event_is_found,
        the_stored_rows_are_the_projection_of_the_state,
        an_abstention_is_a_decision,
        claims_questions_and_overrides_are_stored,
        a_finished_job_leaves,
        a_stale_replica_is_refused_and_leaves_nothing_behind,
        one_conflict_rolls_the_whole_batch_back,
        a_submission_is_made_once,
        a_request_is_answered_once,
        requests_are_forgotten_oldest_first,
        two_replicas_that_commit_the_same_submissions_do_not_wait_for_each_other_for_ever,
        a_commit_without_the_row_of_its_submission_is_refused,
    }
    true jobs {
        a_job_is_left_to_its_publisher_and_then_to_the_relay,
        a_job_of_a_stages_exit_condition_has_no_step,
        a_job_for_later_is_delivered_when_it_is_due,
        a_started_job_is_not_delivered_again,
        a_published_job_reads_as_pending_in_the_projection,
        a_mark_for_another_attempt_is_ignored,
        two_claimers_never_get_the_same_job,
        a_silent_job_is_due_and_a_heartbeat_puts_it_off,
        a_job_that_never_starts_is_due_when_all_its_time_is_over,
        a_submission_that_awaits_time_is_looked_at_again,
        a_timer_is_claimed_when_its_moment_has_come_and_leaves_when_it_has_fired,
        two_claimers_never_get_the_same_timer,
    }
    true outbox {
        a_commit_that_nobody_is_told_of_is_not_in_the_outbox,
        the_outbox_tells_how_much_waits_and_since_when,
        events_are_left_to_their_publisher_and_then_to_the_relay,
        what_comes_while_events_are_published_stays_in_the_outbox,
        two_claimers_never_get_the_events_of_one_submission,
        commits_and_marks_of_the_same_submissions_do_not_wait_for_each_other_for_ever,
    }
    true lists {
        submissions_are_listed_in_pages_in_both_directions,
        submissions_are_filtered,
        an_inbox_is_the_items_of_all_its_assignees_by_time,
        an_inbox_may_hold_items_of_one_process_only,
        work_items_are_filtered,
        histories_are_read_in_pages,
        jobs_are_listed_and_counted,
        live_attempts_are_told_from_those_that_are_over,
        task_queues_tell_what_waits_and_since_when,
        an_inbox_reads_no_more_than_its_page,
    }
    true catalog {
        a_catalog_changes_one_step_at_a_time,
        one_version_is_active_and_the_newest_stands_in_for_it,
        flows_are_listed_like_processes,
        calendars_are_listed_like_processes,
        people_come_and_go,
        a_catalog_change_and_its_request_stand_together,
        api_tokens_are_found_by_hash_and_deleted_by_id,
    }
}
