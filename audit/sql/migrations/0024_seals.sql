-- Seals: the heads of chains as leaves of one Merkle tree a tenant (RFC 6962), and signed checkpoints of it.
-- The tree grows in SQL alone, from the heads that the ledger has, so that no client can put in a leaf that is none. Nothing here
-- locks a row that claims and settles lock: a sealer reads.

-- The transaction that wrote an entry. Ordered by it, what committed late is found, however late: a time would have to be believed.
ALTER TABLE control.entry ADD COLUMN xact bigint NOT NULL DEFAULT txid_current();
-- What is new is at the end of the table, where such an index has nothing to keep up to date; see control.summarize.
CREATE INDEX entry_xact ON control.entry USING brin (xact) WITH (pages_per_range = 32, autosummarize = off);

-- One tree a tenant. Whoever seals locks its row.
CREATE TABLE control.tree (
    tenant text PRIMARY KEY REFERENCES control.tenant,
    origin text NOT NULL UNIQUE,   -- what checkpoints call it
    size bigint NOT NULL DEFAULT 0,
    -- Which transactions were over when entries were last looked through: those before seen_before that are not in seen_open.
    seen_before bigint NOT NULL,
    seen_open bigint[] NOT NULL DEFAULT '{}',
    system bigint,                 -- the system identifier of the server that numbered them; NULL: it keeps that to itself
    -- Besides, all chains are looked through, from the one after this; NULL: they were.
    sweep_after uuid DEFAULT '00000000-0000-0000-0000-000000000000'
) WITH (fillfactor = 50);

-- Which transactions were over when all that was to be seen of them was in the tree, and the tree had a size: what a checkpoint of that
-- size covers. Kept for each size at which a round of sealing ended.
CREATE TABLE control.tree_seen (
    tenant text NOT NULL,
    size bigint NOT NULL,
    seen_before bigint NOT NULL,
    seen_open bigint[] NOT NULL,
    system bigint,
    PRIMARY KEY (tenant, size)
) WITH (fillfactor = 70);

CREATE TABLE control.leaf (
    tenant text NOT NULL,
    index bigint NOT NULL,         -- from 0, without a gap
    run_id uuid NOT NULL,
    seq bigint NOT NULL,
    head bytea NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant, index)
);
CREATE UNIQUE INDEX leaf_chain ON control.leaf (tenant, run_id, seq);

-- The hashes of complete subtrees, so that a proof takes as many rows as the tree is high. Level 0 has the leaves' own.
CREATE TABLE control.tree_node (
    tenant text NOT NULL,
    level integer NOT NULL,
    index bigint NOT NULL,
    hash bytea NOT NULL
);
-- The leaves' own hashes last: the half of what is added then comes at the very end of the index, which costs the same beside any number.
CREATE UNIQUE INDEX tree_node_place ON control.tree_node (tenant, level DESC, index);

CREATE TABLE control.signing_key (
    tenant text NOT NULL REFERENCES control.tenant,
    name text NOT NULL,
    public bytea NOT NULL CHECK (length(public) = 32),
    key_hash bytea NOT NULL CHECK (length(key_hash) = 4),
    endorsed bytea CHECK (length(endorsed) = 64), -- the signature of the key before over this one; NULL: the first, or one for a lost one
    since timestamptz NOT NULL,
    until timestamptz,             -- NULL: it signs now
    PRIMARY KEY (tenant, name)
);
CREATE UNIQUE INDEX signing_key_now ON control.signing_key (tenant) WHERE until IS NULL;

-- Whether a signature is one is not known here. So each login has a place of its own: none takes that of a sealer on another one.
CREATE TABLE control.checkpoint (
    tenant text NOT NULL,
    size bigint NOT NULL,
    login text NOT NULL,           -- that handed it in
    root bytea NOT NULL,
    note text NOT NULL,            -- a signed note, the bytes to the letter
    made_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, size, login)
);

-- How far into a table control.summarize has come, in blocks.
CREATE TABLE control.summarized (
    relation oid PRIMARY KEY,
    blocks bigint NOT NULL
);

CREATE FUNCTION control.refuse_change() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON control.leaf
    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change();
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON control.tree_node
    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change();
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON control.checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change();
CREATE TRIGGER only_added_to BEFORE DELETE OR TRUNCATE ON control.signing_key
    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change();

-- What a leaf says. The same bytes as leaf_data in audit/seals/tree.py; a test holds both equal.
CREATE FUNCTION control.leaf_data(p_tenant text, p_run uuid, p_seq bigint, p_head bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT 'langgraph-control/leaf/v1'::bytea || control.framed(convert_to(p_tenant, 'UTF8')) || uuid_send(p_run) || int8send(p_seq) || p_head
$$;

-- The tree of a tenant, made where it is not there yet. Every chain is new to it, so all of them are looked through once.
CREATE FUNCTION control.tree_of(p_tenant text) RETURNS control.tree
    LANGUAGE plpgsql AS $$
DECLARE
    t control.tree;
BEGIN
    SELECT * INTO t FROM control.tree WHERE tenant = p_tenant;
    IF t.tenant IS NULL THEN
        INSERT INTO control.tree (tenant, origin, seen_before, seen_open)
            SELECT p_tenant, 'langgraph-control/' || replace(gen_random_uuid()::text, '-', ''), txid_snapshot_xmax(s),
                   ARRAY(SELECT txid_snapshot_xip(s))
            FROM (SELECT txid_current_snapshot() AS s) now ON CONFLICT DO NOTHING;
        SELECT * INTO t FROM control.tree WHERE tenant = p_tenant;
    END IF;
    RETURN t;
END
$$;

-- The chains of a tenant that got entries from transactions not seen before, one row for each entry, at most so many.
-- The settings leave the planner no way but the index on xact, whatever it believes of a table that only grows. What this server cannot
-- have numbered yet came with a dump: its chains are looked through once, and not with each round.
CREATE FUNCTION control.moved(p_tenant text, p_seen_before bigint, p_seen_open bigint[], p_limit integer) RETURNS SETOF uuid
    LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_indexscan = off AS $$
DECLARE
    v_below bigint := txid_snapshot_xmax(txid_current_snapshot());
BEGIN
    RETURN QUERY SELECT e.run_id FROM control.entry e
        WHERE e.xact >= p_seen_before AND e.xact < v_below AND e.tenant = p_tenant LIMIT p_limit;
    IF cardinality(p_seen_open) > 0 THEN
        RETURN QUERY SELECT e.run_id FROM control.entry e WHERE e.xact = ANY (p_seen_open) AND e.tenant = p_tenant LIMIT p_limit;
    END IF;
END
$$;

-- Those of some chains whose heads are no leaves yet, at most so many, in order. The fence and the setting have one row looked up for
-- each chain, however many chains and leaves the planner believes there are.
CREATE FUNCTION control.unsealed(p_tenant text, p_runs uuid[], p_limit integer) RETURNS TABLE (run_id uuid, seq bigint, head bytea)
    LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY SELECT s.run_id, s.seq, s.head
        FROM (SELECT DISTINCT unnest(p_runs) AS run_id) m CROSS JOIN LATERAL (
            SELECT r.run_id, r.seq, r.head FROM control.run_state r WHERE r.run_id = m.run_id AND r.tenant = p_tenant AND r.seq > 0 OFFSET 0) s
        WHERE (SELECT l.index FROM control.leaf l WHERE l.tenant = p_tenant AND l.run_id = s.run_id AND l.seq = s.seq) IS NULL
        ORDER BY s.run_id LIMIT p_limit;
END
$$;

-- Have the index on xact know the parts of the table that are full. The newest stay unknown to it and are always read: to keep what is
-- known of a part right is work for whoever writes there. Where a vacuum is at it, that does the same.
CREATE FUNCTION control.summarize() RETURNS void
    LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
DECLARE
    v_index record;
    v_full bigint;
    v_done bigint;
BEGIN
    FOR v_index IN SELECT i.indexrelid::regclass AS name, i.indrelid AS relation FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relkind = 'i' AND i.indexrelid IN (
            SELECT 'control.entry_xact'::regclass UNION SELECT p.relid FROM pg_partition_tree('control.entry_xact') p)
    LOOP
        v_full := pg_relation_size(v_index.relation) / current_setting('block_size')::bigint / 32 * 32 - 64;
        SELECT least(blocks, greatest(v_full, 0)) INTO v_done FROM control.summarized WHERE relation = v_index.relation;
        v_done := coalesce(v_done, 0);
        IF v_full > v_done THEN
            -- At most a gigabyte at a time: whoever seals holds the tree meanwhile.
            v_full := least(v_full, v_done + 131072);
            FOR v_block IN 0 .. (v_full - v_done) / 32 - 1 LOOP
                PERFORM brin_summarize_range(v_index.name, v_done + v_block * 32);
            END LOOP;
            INSERT INTO control.summarized (relation, blocks) VALUES (v_index.relation, v_full)
                ON CONFLICT (relation) DO UPDATE SET blocks = excluded.blocks;
        END IF;
    END LOOP;
EXCEPTION WHEN lock_not_available THEN
    NULL;
END
$$;

-- Complete the tree's nodes over the leaves from one index to before another.
CREATE FUNCTION control.grow(p_tenant text, p_from bigint, p_to bigint) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    v_level integer := 0;
BEGIN
    INSERT INTO control.tree_node (tenant, level, index, hash)
        SELECT p_tenant, 0, l.index, sha256('\x00'::bytea || control.leaf_data(p_tenant, l.run_id, l.seq, l.head))
        FROM control.leaf l WHERE l.tenant = p_tenant AND l.index >= p_from AND l.index < p_to;
    WHILE p_to >> (v_level + 1) > 0 LOOP
        INSERT INTO control.tree_node (tenant, level, index, hash)
            SELECT p_tenant, v_level + 1, n.index / 2, sha256('\x01'::bytea || n.hash || n.next)
            FROM (SELECT c.index, c.hash, lead(c.hash) OVER (ORDER BY c.index) AS next FROM control.tree_node c
                  WHERE c.tenant = p_tenant AND c.level = v_level
                    AND c.index >= (p_from >> (v_level + 1)) * 2 AND c.index < (p_to >> (v_level + 1)) * 2) n
            WHERE n.index % 2 = 0;
        v_level := v_level + 1;
    END LOOP;
END
$$;

-- The root that the tree had at a size, from its complete subtrees, the smallest first.
CREATE FUNCTION control.tree_root(p_tenant text, p_size bigint) RETURNS bytea
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_root bytea;
    v_hash bytea;
BEGIN
    FOR v_level IN 0 .. 62 LOOP
        EXIT WHEN p_size >> v_level = 0;
        CONTINUE WHEN (p_size >> v_level) & 1 = 0;
        SELECT n.hash INTO STRICT v_hash FROM control.tree_node n
            WHERE n.tenant = p_tenant AND n.level = v_level AND n.index = (p_size >> v_level) - 1;
        v_root := CASE WHEN v_root IS NULL THEN v_hash ELSE sha256('\x01'::bytea || v_hash || v_root) END;
    END LOOP;
    RETURN coalesce(v_root, sha256(''::bytea));
END
$$;

CREATE TYPE control.seal_answer AS (
    answer text,     -- sealed | more: there is more to seal, ask again | busy: somebody else is at it
    origin text,
    sealed bigint,   -- leaves added now
    size bigint,
    root bytea
);

-- Seal the chains of the caller's tenant whose heads are no leaves yet, at most so many. Nothing can be given to it that it would
-- believe: which heads there are it reads itself.
CREATE FUNCTION control.seal_v1(p_limit integer) RETURNS control.seal_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'admin', 'auditor')).tenant;
    v_entries_max constant integer := 100000;
    t control.tree;
    v_now txid_snapshot;
    v_system bigint;
    v_runs uuid[];
    v_entries bigint;
    v_swept uuid[] := '{}';
    v_out control.seal_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_limit BETWEEN 1 AND 100000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a number of leaves that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM control.tree_of(v_tenant);
    SELECT * INTO t FROM control.tree WHERE tenant = v_tenant FOR UPDATE SKIP LOCKED;
    IF t.tenant IS NULL THEN
        v_out.answer := 'busy';
        RETURN v_out;
    END IF;
    -- Taken before anything is looked for: what is not over by now is looked for again.
    v_now := txid_current_snapshot();
    v_system := (control.server_now()).system;
    IF t.seen_before > txid_snapshot_xmax(v_now) OR t.system <> v_system THEN
        -- The numbers of transactions are another server's: its dump was read into this one.
        t.seen_before := txid_snapshot_xmax(v_now);
        t.seen_open := ARRAY(SELECT txid_snapshot_xip(v_now));
        t.sweep_after := '00000000-0000-0000-0000-000000000000';
    END IF;
    SELECT count(*), coalesce(array_agg(DISTINCT m), '{}') INTO v_entries, v_runs
        FROM control.moved(v_tenant, t.seen_before, t.seen_open, v_entries_max) m;
    IF v_entries >= v_entries_max THEN
        -- Nobody sealed for long. To go through the chains once is less work than to go through their entries.
        v_runs := '{}';
        t.sweep_after := '00000000-0000-0000-0000-000000000000';
    END IF;
    IF t.sweep_after IS NOT NULL THEN
        v_swept := ARRAY(SELECT s.run_id FROM control.run_state s
            WHERE s.run_id > t.sweep_after AND s.tenant = v_tenant ORDER BY s.run_id LIMIT p_limit);
    END IF;
    INSERT INTO control.leaf (tenant, index, run_id, seq, head, at)
        SELECT v_tenant, t.size + row_number() OVER (ORDER BY h.run_id) - 1, h.run_id, h.seq, h.head, control.clock()
        FROM control.unsealed(v_tenant, v_runs || v_swept, p_limit) h;
    GET DIAGNOSTICS v_out.sealed = ROW_COUNT;
    PERFORM control.grow(v_tenant, t.size, t.size + v_out.sealed);
    v_out.origin := t.origin;
    v_out.size := t.size + v_out.sealed;
    v_out.root := control.tree_root(v_tenant, v_out.size);
    v_out.answer := 'more';
    IF v_out.sealed < p_limit THEN
        -- All that was looked for is in. An entry that was not to be seen yet is of a transaction that is not counted as seen.
        t.seen_before := txid_snapshot_xmax(v_now);
        t.seen_open := ARRAY(SELECT txid_snapshot_xip(v_now));
        t.sweep_after := CASE WHEN cardinality(v_swept) = p_limit THEN v_swept[p_limit] END;
        v_out.answer := CASE WHEN t.sweep_after IS NULL THEN 'sealed' ELSE 'more' END;
    END IF;
    UPDATE control.tree SET size = v_out.size, seen_before = t.seen_before, seen_open = t.seen_open, sweep_after = t.sweep_after,
        system = coalesce(v_system, t.system) WHERE tenant = v_tenant;
    IF v_out.answer = 'sealed' THEN
        INSERT INTO control.tree_seen (tenant, size, seen_before, seen_open, system)
            VALUES (v_tenant, v_out.size, t.seen_before, t.seen_open, coalesce(v_system, t.system))
            ON CONFLICT (tenant, size) DO UPDATE SET seen_before = excluded.seen_before, seen_open = excluded.seen_open, system = excluded.system;
    END IF;
    PERFORM control.summarize();
    RETURN v_out;
END
$$;

-- Whether so many chains moved since all was sealed: NULL, they did. Else the number of a transaction below which they cannot have, to be
-- handed in with the next call, for it is asked all the time: until there were so many transactions no table is read but the tree's.
-- An erasure moves several chains in one transaction; those wait for the next round.
CREATE FUNCTION control.seal_due_v1(p_leaves integer, p_not_before bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'admin', 'auditor')).tenant;
    v_entries_max constant integer := 100000;
    v_next bigint := txid_snapshot_xmax(txid_current_snapshot());
    v_entries bigint;
    v_chains bigint;
    t control.tree;
BEGIN
    IF (p_leaves BETWEEN 1 AND 100000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a number of leaves that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    IF v_next < p_not_before THEN
        RETURN p_not_before;
    END IF;
    SELECT * INTO t FROM control.tree WHERE tenant = v_tenant;
    IF t.tenant IS NULL OR t.seen_before > v_next THEN
        RETURN v_next + p_leaves; -- there is no tree yet, or its numbers are another server's: the next round sees to that
    END IF;
    IF v_next - t.seen_before + cardinality(t.seen_open) < p_leaves THEN
        RETURN t.seen_before - cardinality(t.seen_open) + p_leaves;
    END IF;
    SELECT count(*), count(DISTINCT m) INTO v_entries, v_chains
        FROM control.moved(v_tenant, t.seen_before, t.seen_open, v_entries_max) m;
    RETURN CASE WHEN v_chains < p_leaves AND v_entries < v_entries_max
        THEN v_next - (SELECT count(*) FROM txid_snapshot_xip(txid_current_snapshot())) + p_leaves - v_chains END;
END
$$;

-- The caller's tenant's tree as it stands, made where it is not there yet.
CREATE FUNCTION control.tree_v1() RETURNS TABLE (origin text, size bigint, root bytea)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    t control.tree := control.tree_of((control.caller('agent', 'approver', 'admin', 'auditor')).tenant);
BEGIN
    RETURN QUERY SELECT t.origin, t.size, control.tree_root(t.tenant, t.size);
END
$$;

-- Make a key the one that signs from now on; the one before goes on verifying what it signed. The same key again changes nothing.
-- p_endorsed is the signature of the key before over this one, for verifiers to check; NULL: it is the first, or that one is lost.
CREATE FUNCTION control.key_rotate_v1(p_name text, p_public bytea, p_body bytea, p_endorsed bytea DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('admin')).tenant;
    v_chain uuid;
    v_now timestamptz;
    v_hash bytea;
    v_keys bigint;
    v_before text;
    t control.tree;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    v_chain := control.tenant_chain(v_tenant);
    PERFORM 1 FROM control.run_state s WHERE s.run_id = v_chain FOR UPDATE;
    t := control.tree_of(v_tenant);
    IF EXISTS (SELECT FROM control.signing_key k WHERE k.tenant = v_tenant AND k.name = p_name AND k.public = p_public AND k.until IS NULL) THEN
        RETURN 0;
    END IF;
    SELECT count(*), max(k.name) FILTER (WHERE k.until IS NULL) INTO v_keys, v_before FROM control.signing_key k WHERE k.tenant = v_tenant;
    IF (length(p_public) = 32 AND p_name = t.origin || CASE WHEN v_keys > 0 THEN '/' || v_keys + 1 ELSE '' END
        AND length(p_body) <= control.body_bytes_max() AND (p_endorsed IS NULL OR length(p_endorsed) = 64 AND v_keys > 0)
        AND NOT EXISTS (SELECT FROM control.signing_key k WHERE k.public = p_public)) IS NOT TRUE THEN
        RAISE EXCEPTION 'a key that cannot be the next one' USING ERRCODE = 'LC002';
    END IF;
    v_now := control.clock();
    v_hash := substr(sha256(convert_to(p_name, 'UTF8') || '\x0a01'::bytea || p_public), 1, 4);
    UPDATE control.signing_key k SET until = v_now WHERE k.tenant = v_tenant AND k.until IS NULL;
    INSERT INTO control.signing_key (tenant, name, public, key_hash, endorsed, since)
        VALUES (v_tenant, p_name, p_public, v_hash, p_endorsed, v_now);
    RETURN control.append(v_tenant, v_chain, v_now, ARRAY['key.rotated'],
        jsonb_build_object('name', p_name, 'public', encode(p_public, 'hex'), 'before', v_before, 'endorsed', encode(p_endorsed, 'hex')),
        p_body, NULL);
END
$$;

-- The keys of the caller's tenant, the oldest first.
CREATE FUNCTION control.signing_keys_v1() RETURNS TABLE (name text, public bytea, key_hash bytea, endorsed bytea, since timestamptz, until timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT k.name, k.public, k.key_hash, k.endorsed, k.since, k.until FROM control.signing_key k
    WHERE k.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant ORDER BY k.since, k.name
$$;

-- Keep a signed checkpoint. It must say what the tree says, and name the key that signs now; the signature itself is for those to check
-- who have the key from somewhere else. Answers: stored | known: the login handed in one of that size, which stays | wrong | key: it is
-- not signed with the key that signs now.
CREATE FUNCTION control.checkpoint_add_v1(p_size bigint, p_note text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'admin', 'auditor');
    v_tenant text := l.tenant;
    t control.tree;
    v_root bytea;
    v_said text;
    v_signatures text[];
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_size > 0 AND octet_length(p_note) <= 16384) IS NOT TRUE THEN
        RAISE EXCEPTION 'a checkpoint that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    SELECT * INTO t FROM control.tree WHERE tenant = v_tenant;
    IF t.size >= p_size THEN
        v_root := control.tree_root(v_tenant, p_size);
        v_said := t.origin || E'\n' || p_size || E'\n' || encode(v_root, 'base64') || E'\n\n';
    END IF;
    IF v_said IS NULL OR NOT starts_with(p_note, v_said)
        OR substr(p_note, length(v_said) + 1) !~ '^(— [!-*,-~]+ [A-Za-z0-9+/]{91}=\n){1,16}$' THEN
        RETURN 'wrong';
    END IF;
    v_signatures := regexp_split_to_array(rtrim(substr(p_note, length(v_said) + 1), E'\n'), E'\n');
    IF EXISTS (SELECT FROM unnest(v_signatures) s WHERE NOT EXISTS (
            SELECT FROM control.signing_key k WHERE k.tenant = v_tenant AND k.name = split_part(s, ' ', 2)
              AND k.key_hash = substr(decode(split_part(s, ' ', 3), 'base64'), 1, 4)))
        OR NOT EXISTS (SELECT FROM control.signing_key k JOIN unnest(v_signatures) s ON k.name = split_part(s, ' ', 2)
                       WHERE k.tenant = v_tenant AND k.until IS NULL) THEN
        RETURN 'key';
    END IF;
    INSERT INTO control.checkpoint (tenant, size, login, root, note, made_at)
        VALUES (v_tenant, p_size, l.login, v_root, p_note, control.clock()) ON CONFLICT DO NOTHING;
    RETURN CASE WHEN FOUND THEN 'stored' ELSE 'known' END;
END
$$;

-- Checkpoints of the caller's tenant that are at least of a size, the smallest first; without one, the newest first, below a size or all.
-- Those of one size come together, so that the next page goes on with the next size.
CREATE FUNCTION control.checkpoints_v1(p_from bigint, p_limit integer, p_below bigint DEFAULT NULL)
    RETURNS TABLE (size bigint, root bytea, note text, made_at timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'approver', 'admin', 'auditor')).tenant;
BEGIN
    IF p_from IS NULL THEN
        RETURN QUERY SELECT c.size, c.root, c.note, c.made_at FROM control.checkpoint c
            WHERE c.tenant = v_tenant AND c.size < coalesce(p_below, 9223372036854775807)
            ORDER BY c.size DESC FETCH FIRST (p_limit) ROWS WITH TIES;
    ELSE
        RETURN QUERY SELECT c.size, c.root, c.note, c.made_at FROM control.checkpoint c WHERE c.tenant = v_tenant AND c.size >= p_from
            ORDER BY c.size FETCH FIRST (p_limit) ROWS WITH TIES;
    END IF;
END
$$;

-- The leaves of one chain, or of all, from an index on, in order.
CREATE FUNCTION control.leaves_v1(p_run uuid, p_from bigint, p_limit integer)
    RETURNS TABLE (index bigint, run_id uuid, seq bigint, head bytea, at timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'approver', 'admin', 'auditor')).tenant;
BEGIN
    IF p_run IS NULL THEN
        RETURN QUERY SELECT l.index, l.run_id, l.seq, l.head, l.at FROM control.leaf l
            WHERE l.tenant = v_tenant AND l.index >= p_from ORDER BY l.index LIMIT p_limit;
    ELSE
        RETURN QUERY SELECT l.index, l.run_id, l.seq, l.head, l.at FROM control.leaf l
            WHERE l.tenant = v_tenant AND l.run_id = p_run AND l.index >= p_from ORDER BY l.seq LIMIT p_limit;
    END IF;
END
$$;

-- Nodes of the caller's tenant's tree, by level and index; one that is not complete is left out.
CREATE FUNCTION control.tree_nodes_v1(p_levels integer[], p_indexes bigint[]) RETURNS TABLE (level integer, index bigint, hash bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT n.level, n.index, n.hash FROM unnest(p_levels, p_indexes) AS asked (level, index)
    JOIN control.tree_node n USING (level, index)
    WHERE n.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant
$$;

REVOKE ALL ON control.tree, control.tree_seen, control.leaf, control.tree_node, control.signing_key, control.checkpoint, control.summarized FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION control.refuse_change, control.leaf_data, control.tree_of, control.moved, control.unsealed, control.summarize, control.grow,
    control.tree_root, control.seal_v1, control.seal_due_v1, control.tree_v1, control.key_rotate_v1, control.signing_keys_v1, control.checkpoint_add_v1,
    control.checkpoints_v1, control.leaves_v1, control.tree_nodes_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.seal_v1, control.seal_due_v1, control.checkpoint_add_v1 TO control_agent, control_admin, control_auditor;
GRANT EXECUTE ON FUNCTION control.key_rotate_v1 TO control_admin;
GRANT EXECUTE ON FUNCTION control.tree_v1, control.signing_keys_v1, control.checkpoints_v1, control.leaves_v1, control.tree_nodes_v1
    TO control_agent, control_approver, control_admin, control_auditor;
