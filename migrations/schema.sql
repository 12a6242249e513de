-- What the migrations make, as pg_dump 15 prints it. Compared by the tests.

CREATE SCHEMA queue;

CREATE TYPE queue.outcome AS ENUM (
    'done',
    'discarded',
    'cancelled'
);

CREATE TABLE queue.queues (
    name text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    paused_at timestamp with time zone,
    paused_by text,
    paused_why text,
    is_fair boolean DEFAULT false NOT NULL
);

CREATE FUNCTION queue.fair_queues() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ARRAY(SELECT queues.name FROM queue.queues WHERE queues.is_fair);

CREATE FUNCTION queue.free_starts(next_start timestamp with time zone, space interval, burst integer, now timestamp with time zone) RETURNS integer
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (burst - (ceil((EXTRACT(epoch FROM (next_start - now)) / EXTRACT(epoch FROM space))))::integer);

CREATE FUNCTION queue.next_start(next_at timestamp with time zone, space interval, burst integer, now timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN (next_at > ((now + ((burst)::double precision * space)) + '00:00:01'::interval)) THEN now ELSE GREATEST(now, next_at) END;

CREATE FUNCTION queue.ready_track(limited boolean, tenant text) RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((CASE WHEN (tenant IS NULL) THEN 0 ELSE 3 END + (limited)::integer))::smallint;

CREATE FUNCTION queue.state_claimed() RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (4)::smallint;

CREATE FUNCTION queue.state_failed() RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (16)::smallint;

CREATE FUNCTION queue.state_finished() RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (32)::smallint;

CREATE TABLE queue.alert_turn (
    is_only boolean DEFAULT true NOT NULL,
    until timestamp with time zone NOT NULL,
    CONSTRAINT alert_turn_is_only_check CHECK (is_only)
);

CREATE TABLE queue.alerts (
    begun_at timestamp with time zone DEFAULT statement_timestamp() NOT NULL,
    told_at timestamp with time zone,
    over_at timestamp with time zone,
    kind text NOT NULL,
    subject text NOT NULL COLLATE pg_catalog."C",
    text text NOT NULL
);

CREATE TABLE queue.attempts (
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    process text NOT NULL,
    ending text NOT NULL,
    error text NOT NULL,
    backtrace text,
    version text COLLATE pg_catalog."C",
    CONSTRAINT attempts_ending_check CHECK ((ending = ANY (ARRAY['error'::text, 'panic'::text, 'timeout'::text, 'crash'::text, 'cancelled'::text, 'undecodable'::text, 'step'::text])))
);

CREATE TABLE queue.audit (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    jobs bigint,
    refused boolean DEFAULT false NOT NULL,
    who text NOT NULL,
    role text NOT NULL,
    what text NOT NULL,
    target text NOT NULL,
    why text
);

ALTER TABLE queue.audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queue.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queue.batches (
    id bigint NOT NULL,
    parent_id bigint,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    closed_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    completed_at timestamp with time zone,
    failed_at timestamp with time zone,
    succeeded_at timestamp with time zone,
    added bigint DEFAULT 0 NOT NULL,
    done bigint DEFAULT 0 NOT NULL,
    discarded bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    cancelled bigint DEFAULT 0 NOT NULL,
    name text,
    metadata jsonb
);

CREATE TABLE queue.blocked (
    job_id bigint NOT NULL,
    seq bigint NOT NULL,
    blocked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempt integer NOT NULL,
    priority smallint NOT NULL,
    failures smallint NOT NULL,
    crashes smallint NOT NULL,
    frees_key boolean NOT NULL,
    replaces boolean NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE queue.bypasses (
    job_id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE queue.claimed (
    job_id bigint NOT NULL,
    seq bigint NOT NULL,
    claimed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    process_id uuid NOT NULL,
    attempt integer NOT NULL,
    failures smallint NOT NULL,
    crashes smallint NOT NULL,
    cancel_requested_at timestamp with time zone,
    slots integer[],
    keys text[] COLLATE pg_catalog."C",
    CONSTRAINT claimed_slots_whole CHECK ((cardinality(keys) = cardinality(slots)))
);

CREATE TABLE queue.counts (
    at timestamp with time zone NOT NULL,
    done bigint NOT NULL,
    discarded bigint NOT NULL,
    cancelled bigint NOT NULL,
    failed bigint NOT NULL,
    retried bigint NOT NULL,
    waited_ms bigint NOT NULL,
    ran_ms bigint NOT NULL,
    span smallint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE queue.deltas (
    target bigint NOT NULL,
    added integer DEFAULT 0 NOT NULL,
    done integer DEFAULT 0 NOT NULL,
    discarded integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    cancelled integer DEFAULT 0 NOT NULL
);

CREATE TABLE queue.dependencies (
    on_id bigint NOT NULL,
    job_id bigint NOT NULL,
    rule text NOT NULL,
    CONSTRAINT dependencies_rule_check CHECK ((rule = ANY (ARRAY['cancel'::text, 'continue'::text, 'hold'::text, 'success'::text, 'failure'::text, 'completion'::text])))
);

CREATE TABLE queue.depths (
    at timestamp with time zone NOT NULL,
    ready bigint NOT NULL,
    scheduled bigint NOT NULL,
    blocked bigint NOT NULL,
    running bigint NOT NULL,
    failed bigint NOT NULL,
    oldest_ms bigint,
    span smallint NOT NULL,
    is_least boolean NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE queue.events (
    emitted_at timestamp with time zone NOT NULL,
    is_open boolean NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    payload json NOT NULL
);

CREATE TABLE queue.failed (
    job_id bigint NOT NULL,
    failed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempt integer NOT NULL,
    failures smallint NOT NULL,
    crashes smallint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE queue.finished (
    job_id bigint NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempt integer NOT NULL,
    outcome queue.outcome NOT NULL
);

CREATE TABLE queue.firings (
    id bigint NOT NULL,
    due_at timestamp with time zone,
    since timestamp with time zone,
    fired_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    job_id bigint,
    recurring_job text NOT NULL COLLATE pg_catalog."C",
    outcome text NOT NULL,
    reason text,
    CONSTRAINT firings_outcome_check CHECK ((outcome = ANY (ARRAY['enqueued'::text, 'missed'::text, 'overlap'::text, 'failed'::text])))
);

ALTER TABLE queue.firings ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queue.firings_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queue.idle_processes (
    process_id uuid NOT NULL
);

CREATE SEQUENCE queue.job_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE queue.jobs (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    unique_until timestamp with time zone,
    priority smallint NOT NULL,
    attempts_max smallint NOT NULL,
    crashes_max smallint NOT NULL,
    unique_states smallint,
    kind text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    unique_key bytea,
    tags text[],
    args jsonb NOT NULL,
    limits jsonb,
    tenant text COLLATE pg_catalog."C",
    context jsonb,
    batch_id bigint,
    CONSTRAINT jobs_attempts_max_check CHECK ((attempts_max > 0)),
    CONSTRAINT jobs_crashes_max_check CHECK ((crashes_max > 0)),
    CONSTRAINT jobs_unique_whole CHECK (((unique_key IS NULL) = (unique_states IS NULL)))
);

CREATE TABLE queue.kind_versions (
    first_seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE queue.limits (
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    space interval,
    slots integer,
    burst integer,
    declared boolean NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT limits_burst_check CHECK ((burst > 0)),
    CONSTRAINT limits_rate_whole CHECK (((space IS NULL) = (burst IS NULL))),
    CONSTRAINT limits_slots_check CHECK ((slots >= 0)),
    CONSTRAINT limits_something CHECK (((slots IS NOT NULL) OR (space IS NOT NULL))),
    CONSTRAINT limits_space_check CHECK ((space > '00:00:00'::interval))
);

CREATE TABLE queue.migrations (
    version integer NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    name text NOT NULL
);

CREATE TABLE queue.operations (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    stop_asked_at timestamp with time zone,
    ended_at timestamp with time zone,
    counted bigint NOT NULL,
    changed bigint DEFAULT 0 NOT NULL,
    asked_to_stop bigint DEFAULT 0 NOT NULL,
    below bigint,
    counted_at_least boolean NOT NULL,
    action text NOT NULL,
    who text NOT NULL,
    role text NOT NULL,
    why text,
    stopped_by text,
    error text,
    filter jsonb NOT NULL,
    left_out jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE queue.operations ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queue.operations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queue.origin (
    is_only boolean DEFAULT true NOT NULL,
    written_by xid NOT NULL,
    CONSTRAINT origin_is_only_check CHECK (is_only)
);

CREATE TABLE queue.pollers (
    queue text NOT NULL COLLATE pg_catalog."C",
    process_id uuid NOT NULL,
    kinds text[] NOT NULL
);

CREATE TABLE queue.processes (
    id uuid NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    stopping_at timestamp with time zone,
    pid integer NOT NULL,
    name text NOT NULL,
    host text NOT NULL,
    version text NOT NULL,
    details jsonb NOT NULL,
    asked text,
    asked_by text,
    asked_at timestamp with time zone,
    CONSTRAINT processes_asked_check CHECK ((asked = ANY (ARRAY['quiet'::text, 'stop'::text])))
)
WITH (fillfactor='50');

CREATE TABLE queue.progress (
    job_id bigint NOT NULL,
    set_at timestamp with time zone NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    value json NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE queue.rates (
    next_at timestamp with time zone NOT NULL,
    space interval NOT NULL,
    burst integer NOT NULL,
    granted integer NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C"
)
WITH (fillfactor='50');

CREATE TABLE queue.ready (
    job_id bigint NOT NULL,
    seq bigint NOT NULL,
    ready_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    priority smallint NOT NULL,
    failures smallint DEFAULT 0 NOT NULL,
    crashes smallint DEFAULT 0 NOT NULL,
    frees_key boolean DEFAULT false NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    track smallint DEFAULT 0 NOT NULL,
    waited_for text COLLATE pg_catalog."C",
    tenant text COLLATE pg_catalog."C"
);

CREATE TABLE queue.recurring_jobs (
    created_at timestamp with time zone DEFAULT statement_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT statement_timestamp() NOT NULL,
    paused_at timestamp with time zone,
    next_at timestamp with time zone,
    jitter_ms bigint NOT NULL,
    missed_max integer NOT NULL,
    priority smallint NOT NULL,
    attempts_max smallint NOT NULL,
    crashes_max smallint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    schedule text NOT NULL,
    zone text NOT NULL,
    missed text NOT NULL,
    overlap text NOT NULL,
    source text,
    kind text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    tags text[] NOT NULL,
    args jsonb NOT NULL,
    limits jsonb,
    unique_rule jsonb,
    tenant text COLLATE pg_catalog."C",
    context jsonb,
    CONSTRAINT recurring_jobs_attempts_max_check CHECK ((attempts_max > 0)),
    CONSTRAINT recurring_jobs_crashes_max_check CHECK ((crashes_max > 0)),
    CONSTRAINT recurring_jobs_jitter_ms_check CHECK ((jitter_ms >= 0)),
    CONSTRAINT recurring_jobs_missed_check CHECK ((missed = ANY (ARRAY['skip'::text, 'once'::text, 'all'::text]))),
    CONSTRAINT recurring_jobs_missed_max_check CHECK ((missed_max > 0)),
    CONSTRAINT recurring_jobs_overlap_check CHECK ((overlap = ANY (ARRAY['allow'::text, 'skip'::text, 'queue'::text])))
);

CREATE TABLE queue.scheduled (
    job_id bigint NOT NULL,
    due_at timestamp with time zone NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    priority smallint NOT NULL,
    failures smallint DEFAULT 0 NOT NULL,
    crashes smallint DEFAULT 0 NOT NULL,
    frees_key boolean DEFAULT false NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    limited boolean DEFAULT false NOT NULL
);

CREATE TABLE queue.signing_key (
    is_only boolean DEFAULT true NOT NULL,
    made_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    key bytea NOT NULL,
    CONSTRAINT signing_key_is_only_check CHECK (is_only)
);

CREATE TABLE queue.slots (
    job_id bigint NOT NULL,
    expires_at timestamp with time zone,
    number integer NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT slots_number_check CHECK ((number > 0))
);

CREATE TABLE queue.steps (
    job_id bigint NOT NULL,
    finished_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    occurrence smallint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    result json NOT NULL,
    CONSTRAINT steps_occurrence_check CHECK ((occurrence > 0))
);

CREATE TABLE queue.tenants (
    paused_at timestamp with time zone,
    weight smallint DEFAULT 1 NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    paused_by text,
    paused_why text,
    CONSTRAINT tenants_weight_check CHECK ((weight > 0))
);

CREATE TABLE queue.unique_keys (
    key bytea NOT NULL,
    job_id bigint NOT NULL,
    held_until timestamp with time zone,
    held_in smallint NOT NULL
);

CREATE TABLE queue.waits (
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    event text NOT NULL COLLATE pg_catalog."C"
);

ALTER TABLE ONLY queue.alert_turn
    ADD CONSTRAINT alert_turn_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY queue.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (kind, subject);

ALTER TABLE ONLY queue.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (job_id, attempt);

ALTER TABLE ONLY queue.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.blocked
    ADD CONSTRAINT blocked_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY queue.bypasses
    ADD CONSTRAINT bypasses_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY queue.claimed
    ADD CONSTRAINT claimed_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY queue.dependencies
    ADD CONSTRAINT dependencies_pkey PRIMARY KEY (on_id, job_id);

ALTER TABLE ONLY queue.depths
    ADD CONSTRAINT depths_pkey PRIMARY KEY (span, queue, at);

ALTER TABLE ONLY queue.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (name);

ALTER TABLE ONLY queue.failed
    ADD CONSTRAINT failed_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY queue.finished
    ADD CONSTRAINT finished_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY queue.firings
    ADD CONSTRAINT firings_once UNIQUE (recurring_job, due_at);

ALTER TABLE ONLY queue.firings
    ADD CONSTRAINT firings_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.idle_processes
    ADD CONSTRAINT idle_processes_pkey PRIMARY KEY (process_id);

ALTER TABLE ONLY queue.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.kind_versions
    ADD CONSTRAINT kind_versions_pkey PRIMARY KEY (kind, version);

ALTER TABLE ONLY queue.limits
    ADD CONSTRAINT limits_pkey PRIMARY KEY (name);

ALTER TABLE ONLY queue.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY queue.operations
    ADD CONSTRAINT operations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.origin
    ADD CONSTRAINT origin_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY queue.pollers
    ADD CONSTRAINT pollers_pkey PRIMARY KEY (queue);

ALTER TABLE ONLY queue.processes
    ADD CONSTRAINT processes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.progress
    ADD CONSTRAINT progress_pkey PRIMARY KEY (job_id, name);

ALTER TABLE ONLY queue.queues
    ADD CONSTRAINT queues_pkey PRIMARY KEY (name);

ALTER TABLE ONLY queue.rates
    ADD CONSTRAINT rates_pkey PRIMARY KEY (key);

ALTER TABLE ONLY queue.ready
    ADD CONSTRAINT ready_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY queue.recurring_jobs
    ADD CONSTRAINT recurring_jobs_pkey PRIMARY KEY (name);

ALTER TABLE ONLY queue.scheduled
    ADD CONSTRAINT scheduled_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY queue.signing_key
    ADD CONSTRAINT signing_key_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY queue.slots
    ADD CONSTRAINT slots_pkey PRIMARY KEY (key, number);

ALTER TABLE ONLY queue.steps
    ADD CONSTRAINT steps_pkey PRIMARY KEY (job_id, name, occurrence);

ALTER TABLE ONLY queue.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (name);

ALTER TABLE ONLY queue.unique_keys
    ADD CONSTRAINT unique_keys_pkey PRIMARY KEY (key);

ALTER TABLE ONLY queue.waits
    ADD CONSTRAINT waits_pkey PRIMARY KEY (job_id);

CREATE INDEX attempts_recent ON queue.attempts USING btree (ended_at);

CREATE INDEX batches_clear ON queue.batches USING btree (completed_at) WHERE (completed_at IS NOT NULL);

CREATE INDEX batches_incomplete ON queue.batches USING btree (id) WHERE (completed_at IS NULL);

CREATE INDEX batches_parent ON queue.batches USING btree (parent_id) WHERE (parent_id IS NOT NULL);

CREATE INDEX blocked_line ON queue.blocked USING btree (key, queue, kind, priority, seq);

CREATE INDEX blocked_replaceable ON queue.blocked USING btree (key, job_id) WHERE replaces;

CREATE INDEX counts_bars ON queue.counts USING btree (queue, at);

CREATE INDEX counts_fold ON queue.counts USING btree (span, at);

CREATE INDEX deltas_target ON queue.deltas USING btree (target);

CREATE INDEX dependencies_job ON queue.dependencies USING btree (job_id);

CREATE INDEX depths_clear ON queue.depths USING btree (span, at);

CREATE INDEX events_clear ON queue.events USING btree (emitted_at);

CREATE INDEX events_open ON queue.events USING btree (name) WHERE is_open;

CREATE INDEX finished_clear ON queue.finished USING btree (finished_at);

CREATE INDEX firings_clear ON queue.firings USING btree (fired_at);

CREATE INDEX jobs_batch ON queue.jobs USING btree (batch_id, id) WHERE (batch_id IS NOT NULL);

CREATE INDEX jobs_tenant ON queue.jobs USING btree (tenant, id) WHERE (tenant IS NOT NULL);

CREATE INDEX operations_open ON queue.operations USING btree (id) WHERE (ended_at IS NULL);

CREATE INDEX ready_admitted ON queue.ready USING btree (waited_for, queue, kind) WHERE (waited_for IS NOT NULL);

CREATE INDEX ready_claim ON queue.ready USING btree (queue, priority, track, seq);

CREATE INDEX ready_fair ON queue.ready USING btree (queue, priority, track, tenant, seq) WHERE (track > 2);

CREATE INDEX recurring_jobs_due ON queue.recurring_jobs USING btree (next_at) WHERE (paused_at IS NULL);

CREATE INDEX scheduled_promote ON queue.scheduled USING btree (due_at, job_id);

CREATE INDEX unique_keys_release ON queue.unique_keys USING btree (job_id);

CREATE INDEX waits_wake ON queue.waits USING btree (event, job_id);
