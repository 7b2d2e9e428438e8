-- What the ledger knows now, and the append-only entries that led there.
-- Hot tables carry no index on a column that changes, so that their updates stay HOT; a low fillfactor leaves room on the page.

-- One row a tenant. The secret turns actions into keys; it never leaves the agent login and is never rotated (a new one would rename every action).
CREATE TABLE control.tenant (
    tenant text PRIMARY KEY,
    secret bytea NOT NULL,
    open_per_run integer NOT NULL DEFAULT 50,  -- so many requests may wait for people at once: of one run, and of all
    open_per_tenant integer NOT NULL DEFAULT 20000,
    on_new_message text NOT NULL DEFAULT 'refuse' CHECK (on_new_message IN ('refuse', 'withdraw')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which database login speaks for which tenant, in which role, and as which person. Written by the admin login only.
CREATE TABLE control.login (
    login name PRIMARY KEY,
    tenant text NOT NULL REFERENCES control.tenant,
    role text NOT NULL CHECK (role IN ('agent', 'approver', 'admin', 'auditor')),
    person text,
    groups text[] NOT NULL DEFAULT '{}',
    may_name_person boolean NOT NULL DEFAULT false  -- a service that finds out itself who its people are; the development server's approver
);

-- Every policy text that was ever published, by hash, so that an old decision can be explained later.
CREATE TABLE control.policy (
    tenant text NOT NULL REFERENCES control.tenant,
    hash text NOT NULL,
    body text NOT NULL,
    published_by name NOT NULL,
    published_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, hash)
);

-- Who is in which role now.
CREATE TABLE control.membership (
    tenant text NOT NULL REFERENCES control.tenant,
    role text NOT NULL,
    member text NOT NULL,
    PRIMARY KEY (tenant, role, member)
);

-- What no request may fall below, whatever the agent asserts. Tool '*' stands for tools without a row of their own.
CREATE TABLE control.floor (
    tenant text NOT NULL REFERENCES control.tenant,
    tool text NOT NULL,
    must boolean NOT NULL,
    roles text[] NOT NULL,
    quorum integer NOT NULL,
    not_by text[] NOT NULL,  -- who may not vote on any request: requester, editor, previous_approver
    always jsonb,            -- what every call of the tool needs, role by role, where a rule is about the tool alone
    break_glass text[] NOT NULL DEFAULT '{}',  -- whose single word may do in an emergency, where a rule says so
    PRIMARY KEY (tenant, tool)
);

-- Who settles what the program cannot: a role for a tool, a system or an impact, or for all others ('default', with the name '').
-- Without any that fits, whoever is in a role may.
CREATE TABLE control.owner (
    tenant text NOT NULL REFERENCES control.tenant,
    scope text NOT NULL CHECK (scope IN ('tool', 'system', 'impact', 'default')),
    name text NOT NULL,
    role text NOT NULL,
    PRIMARY KEY (tenant, scope, name)
);

-- What holds writes back. Usually empty: with any row of a tenant, its claims go the whole way.
CREATE TABLE control.brake (
    tenant text NOT NULL,
    scope text NOT NULL CHECK (scope IN ('tenant', 'agent', 'system', 'tool')),
    name text NOT NULL,          -- of the agent, system or tool; '' for the tenant
    cause text NOT NULL CHECK (cause IN ('freeze', 'restored', 'rate_limit', 'breaker')),
    until timestamptz NOT NULL,  -- of a breaker: when the next probe may go through
    since timestamptz NOT NULL,  -- of a breaker: when it opened last
    set_by text NOT NULL,
    comment text,
    open_ms bigint NOT NULL DEFAULT 0,    -- of a breaker: how long it stays open, and between two probes
    probes_left integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, scope, name, cause)
);

-- How calls to a system came out lately, in buckets of time. Written for failures at once, for successes now and then.
CREATE TABLE control.health (
    tenant text NOT NULL,
    system text NOT NULL,
    bucket bigint NOT NULL,      -- number of the bucket since 1970
    calls integer NOT NULL,
    failed integer NOT NULL,
    took_ms bigint NOT NULL,     -- all calls together
    PRIMARY KEY (tenant, system, bucket)
) WITH (fillfactor = 50);

-- Whose budget is counted where, one row to be locked; and what each action holds of it.
CREATE TABLE control.budget (
    tenant text NOT NULL,
    name text NOT NULL,          -- the limit and whose it is
    PRIMARY KEY (tenant, name)
);
CREATE TABLE control.charge (
    tenant text NOT NULL,
    name text NOT NULL,
    key bytea NOT NULL,
    amount numeric NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name, key)
);
CREATE INDEX charge_at ON control.charge (tenant, name, at);
CREATE INDEX charge_key ON control.charge (tenant, key);

-- A run as it was requested; never changed.
CREATE TABLE control.run (
    run_id uuid PRIMARY KEY,
    tenant text NOT NULL REFERENCES control.tenant,
    trigger text NOT NULL,
    intent text NOT NULL,
    graph text NOT NULL,
    thread_id text NOT NULL,
    actor text NOT NULL,
    on_behalf_of text,
    deadline timestamptz,
    input bytea,
    started_at timestamptz NOT NULL,
    UNIQUE (tenant, trigger)
);

-- A thread has many runs, at most one unfinished.
CREATE TABLE control.open_run (
    tenant text NOT NULL,
    thread_id text NOT NULL,
    run_id uuid NOT NULL,
    PRIMARY KEY (tenant, thread_id)
);

-- Where a run stands: its lease, its state, the head of its chain.
CREATE TABLE control.run_state (
    run_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    seq bigint NOT NULL DEFAULT 0,
    head bytea NOT NULL DEFAULT '\x0000000000000000000000000000000000000000000000000000000000000000',
    calls integer NOT NULL DEFAULT 0,  -- tool calls so far; beside what changes with it, so that the log record is short
    token bigint NOT NULL DEFAULT 0,
    fenced_token bigint NOT NULL DEFAULT -1,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    holder text NOT NULL DEFAULT '',
    state text NOT NULL,
    reason text NOT NULL DEFAULT '',
    owner text NOT NULL DEFAULT '',             -- who has to act; '' while it is driven
    next_step text NOT NULL DEFAULT '',         -- what to do, as a command or a call
    state_since timestamptz NOT NULL,
    wake_at timestamptz,
    deadline timestamptz,  -- the run's own, here too for the claim
    retrying_ms bigint NOT NULL DEFAULT 0,      -- waited for retries so far
    base_checkpoint text  -- newest checkpoint of the thread before this run; NULL until the first driver has looked
) WITH (fillfactor = 50);

-- Counts what happened to a waiting run since it last looked. Locked last, after run and action.
CREATE TABLE control.run_wake (
    run_id uuid PRIMARY KEY,
    generation bigint NOT NULL
) WITH (fillfactor = 50);

-- One intended effect.
CREATE TABLE control.action (
    tenant text NOT NULL,
    key bytea NOT NULL,
    run_id uuid NOT NULL,                -- the run that first asked
    tool text NOT NULL,
    system text,
    impact text NOT NULL,
    kind text NOT NULL,
    fallback_kind text NOT NULL,         -- what a keyed effect counts as once the provider has forgotten the key
    args_hash bytea NOT NULL,
    digest bytea,
    attempts integer NOT NULL,
    in_doubt boolean NOT NULL,           -- an attempt before the newest may have had its effect: only a success or a read settles that
    execution_id uuid,                   -- the newest attempt that was allowed to have an effect
    attempt_id uuid,                     -- the holder of the lease: that attempt, or a reader
    fence bigint NOT NULL,
    first_sent timestamptz,              -- when the provider's memory of the key began
    absence_counts boolean NOT NULL,     -- the reader that holds the lease began late enough to believe "not there"
    approval_id uuid,
    waited boolean NOT NULL,             -- some run may wait for this action
    payload_run uuid,                    -- the entry that holds the arguments of the frozen digest
    payload_seq bigint,
    late uuid[],
    first_at timestamptz,                -- of the first attempt, over all retries; NULL while first_sent is that
    last_failure text,                   -- what kind of failure the last attempt met, if it met one
    same_failures integer NOT NULL DEFAULT 0,
    charged boolean NOT NULL DEFAULT false,  -- it holds a part of some budget
    undoes bytea,                        -- the action that this one takes back; NULL for what takes nothing back
    execution_run uuid,                  -- whose execution_id and attempt_id are; NULL: those of the run that first asked
    attempt_run uuid,
    -- From here on what a settle changes, so that its log record is short.
    sent_by timestamptz,                 -- the last instant at which the newest attempt can have been sent
    lease_until timestamptz,
    state text NOT NULL,
    started boolean NOT NULL,            -- an attempt has begun and is not provably without effect
    settled_attempt uuid,
    call_id text,                        -- the tool call that failed; evidence, never identity
    last_answer text NOT NULL,
    result bytea,
    error text,
    not_before timestamptz,              -- no other attempt begins earlier: how long the last one's failure is to be waited for
    erased_at timestamptz,               -- what it stored was erased, and no later call has stored anything since
    PRIMARY KEY (tenant, key)
) WITH (fillfactor = 50);
CREATE INDEX action_run ON control.action (run_id);
CREATE INDEX action_undoes ON control.action (tenant, undoes) WHERE undoes IS NOT NULL;

-- Which actions were claimed for which step of a saga; never changed.
CREATE TABLE control.saga_step (
    tenant text NOT NULL,
    saga bytea NOT NULL,
    step integer NOT NULL,
    key bytea NOT NULL,
    name text NOT NULL,      -- the saga's
    run_id uuid NOT NULL,    -- that claimed it first
    PRIMARY KEY (tenant, saga, step, key)
);
CREATE INDEX saga_step_run ON control.saga_step (run_id);
CREATE INDEX saga_step_key ON control.saga_step (tenant, key);

-- Which runs wait for which action.
CREATE TABLE control.waiter (
    tenant text NOT NULL,
    key bytea NOT NULL,
    run_id uuid NOT NULL,
    note text NOT NULL,  -- what this run was told last; said again, it makes no entry
    PRIMARY KEY (tenant, key, run_id)
);
CREATE INDEX waiter_run ON control.waiter (run_id);

-- A request for a grant of one digest.
CREATE TABLE control.approval (
    approval_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    key bytea NOT NULL,
    run_id uuid NOT NULL,
    tool text NOT NULL,
    scope bytea NOT NULL,  -- the digest without free text: the same change in other words is the same request
    digest bytea NOT NULL,
    requirement jsonb NOT NULL,
    card bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'granted', 'denied', 'expired', 'superseded', 'withdrawn', 'used')),
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    execute_by timestamptz,
    closed_at timestamptz,
    used_at timestamptz,  -- when the write first went by it: from then on no word is taken back
    comment text,
    code text,  -- why it was rejected, as a word the model can act on
    escalated boolean NOT NULL DEFAULT false,  -- nobody answered in time, and others are asked now
    supersedes uuid,  -- the request whose place it took, since what would be done had changed
    edit_no bigint  -- the newest change by people that is in what it shows
);
CREATE INDEX approval_run ON control.approval (run_id);

-- The requests that wait for votes, apart, so that an inbox costs the same however many were ever decided.
CREATE TABLE control.open_approval (
    tenant text NOT NULL,
    requested_at timestamptz NOT NULL,
    approval_id uuid NOT NULL,
    PRIMARY KEY (tenant, requested_at, approval_id)
);

-- One person's word on one request.
CREATE TABLE control.vote (
    approval_id uuid NOT NULL REFERENCES control.approval,
    person text NOT NULL,
    decision text NOT NULL CHECK (decision IN ('approve', 'reject', 'break_glass')),
    comment text,
    login name NOT NULL,
    groups text[] NOT NULL,
    identity jsonb,  -- how a service found out who this is; NULL: the login is the person
    delegation uuid,  -- by whose leave it votes, where it has no role of its own that is asked
    delegator text,
    voted_at timestamptz NOT NULL,
    PRIMARY KEY (approval_id, person)
);

-- Somebody lets somebody else vote in a role of theirs until a date.
CREATE TABLE control.delegation (
    delegation_id uuid PRIMARY KEY,
    tenant text NOT NULL REFERENCES control.tenant,
    from_person text NOT NULL,
    from_groups text[] NOT NULL,  -- as they were when it was given
    to_person text NOT NULL,
    role text,  -- NULL: every role the delegator has
    made_at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    comment text,
    revoked_at timestamptz
);
CREATE INDEX delegation_to ON control.delegation (tenant, lower(to_person));

-- What people changed about what they were asked: the call goes on with these arguments, decided and asked about afresh.
CREATE TABLE control.edit (
    edit_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL REFERENCES control.tenant,
    key bytea NOT NULL,
    approval_id uuid NOT NULL REFERENCES control.approval,  -- the request that showed what was changed
    asked bytea NOT NULL,  -- the args hash of the call as the model asked for it
    became bytea,  -- the args hash of what it became, once the call took it
    changes jsonb NOT NULL,  -- argument → value; edits of edits add up
    person text NOT NULL,
    roles text[] NOT NULL DEFAULT '{}',  -- in which it was made
    delegation uuid,  -- by whose leave, and whose, where the person stands in
    delegator text,
    comment text,
    made_at timestamptz NOT NULL,
    void boolean NOT NULL DEFAULT false  -- the tool does not take it
);
CREATE INDEX edit_key ON control.edit (tenant, key);

-- What was done on one person's word in an emergency, for others to look at afterwards.
CREATE TABLE control.review (
    approval_id uuid PRIMARY KEY REFERENCES control.approval,
    tenant text NOT NULL REFERENCES control.tenant,
    opened_at timestamptz NOT NULL,
    broken_by text NOT NULL,
    roles text[] NOT NULL,  -- who was asked when the glass was broken: one of them looks at it
    verdict text CHECK (verdict IN ('accepted', 'objected')),
    person text,
    comment text,
    closed_at timestamptz
);
CREATE INDEX review_open ON control.review (tenant, opened_at);

-- The trail. The hash covers run, order, the facts that the database decided, the client's body and a commitment to the payload;
-- the payload itself can be erased later without breaking a proof. One partition a month, so that retention drops whole months; each
-- has its own key over (run_id, seq), which with the month in it would be longer for every entry. That no place is given twice is the
-- chain's own doing: the row of its head is changed with each entry.
CREATE TABLE control.entry (
    run_id uuid NOT NULL,
    seq bigint NOT NULL,
    tenant text NOT NULL,
    at timestamptz NOT NULL,
    facts text NOT NULL,
    body bytea NOT NULL,
    commitment bytea,  -- over salt and payload in one: what tells where the payload begins is the salt's length, which is fixed
    salt bytea CONSTRAINT entry_salt CHECK (octet_length(salt) = 16),
    payload bytea,
    hash bytea NOT NULL
) PARTITION BY RANGE (at);

-- Whatever has no month of its own yet: an entry is never refused for that.
CREATE TABLE control.entry_default PARTITION OF control.entry (PRIMARY KEY (run_id, seq)) DEFAULT;

-- The tenant of the calling login; NULL for a login nobody published. Checkpoint rows carry it.
CREATE FUNCTION control.tenant_v1() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT tenant FROM control.login WHERE login = session_user
$$;
