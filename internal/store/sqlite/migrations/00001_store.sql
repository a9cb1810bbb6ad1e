-- +goose Up

CREATE TABLE keys (
	vault            TEXT    NOT NULL,
	name             TEXT    NOT NULL,
	version          TEXT    NOT NULL,
	object_id        TEXT    NOT NULL,
	seq              INTEGER NOT NULL,
	generation       INTEGER NOT NULL,
	kty              TEXT    NOT NULL,
	crv              TEXT    NOT NULL,
	size             INTEGER NOT NULL,
	key_ops          TEXT    NOT NULL, -- JSON
	enabled          INTEGER NOT NULL,
	nbf              INTEGER NOT NULL,
	exp              INTEGER NOT NULL,
	exportable       INTEGER NOT NULL,
	created          INTEGER NOT NULL,
	updated          INTEGER NOT NULL,
	tags             TEXT    NOT NULL, -- JSON
	policy_type      TEXT    NOT NULL,
	policy_data      BLOB,
	policy_immutable INTEGER NOT NULL,
	policy_digest    BLOB    NOT NULL,
	attested_only    INTEGER NOT NULL,
	public           BLOB,
	created_index    INTEGER NOT NULL,
	dek_epoch        INTEGER NOT NULL,
	salt             BLOB,
	commitment       BLOB,
	sealed           BLOB,
	PRIMARY KEY (vault, name, version),
	UNIQUE (vault, name, seq)
);

CREATE TABLE secrets (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL -- sealed by its owner
);

CREATE TABLE objects (
	kind       TEXT    NOT NULL,
	name       TEXT    NOT NULL,
	generation INTEGER NOT NULL,
	idx        INTEGER NOT NULL, -- log index of the record that made this generation
	value      BLOB    NOT NULL,
	mac        BLOB    NOT NULL,
	PRIMARY KEY (kind, name)
);

-- The generation of each key version and object, apart from its row: a row that is
-- put back to an older state, which its seal or MAC still fits, is noticed.
CREATE TABLE generations (
	id         TEXT PRIMARY KEY, -- key/<object id>/<version> or object/<kind>/<name>
	generation INTEGER NOT NULL
);

-- The highest TPM resetCount seen of a machine, with a MAC.
CREATE TABLE resets (
	machine TEXT PRIMARY KEY,
	count   INTEGER NOT NULL,
	mac     BLOB    NOT NULL
);

CREATE TABLE nonces (
	hash    BLOB    PRIMARY KEY,
	expires INTEGER NOT NULL -- Unix milliseconds
);
CREATE INDEX nonces_expires ON nonces (expires);

CREATE TABLE log_leaves (
	idx  INTEGER PRIMARY KEY,
	leaf BLOB NOT NULL
);

-- Numbered as StoredHashIndex of golang.org/x/mod/sumdb/tlog.
CREATE TABLE log_hashes (
	idx  INTEGER PRIMARY KEY,
	hash BLOB NOT NULL
);

-- One row: the signed state of the log, and the size before its last batch.
CREATE TABLE log_checkpoint (
	id    INTEGER PRIMARY KEY CHECK (id = 1),
	size  INTEGER NOT NULL,
	prior INTEGER NOT NULL,
	note  TEXT    NOT NULL
);

-- Index of the last record about an object id.
CREATE TABLE log_objects (
	object_id TEXT PRIMARY KEY,
	idx       INTEGER NOT NULL
);

-- The document a decision was made from, whose digest is in the record, and of a
-- denial why, JSON, which no record covers.
CREATE TABLE decisions (
	idx     INTEGER PRIMARY KEY,
	input   BLOB,
	refusal BLOB
);

-- Every release policy that a key has or had, by the SHA-256 of data. Never changed.
CREATE TABLE policies (
	digest       BLOB PRIMARY KEY,
	content_type TEXT NOT NULL,
	data         BLOB NOT NULL
);

-- +goose Down
-- A store is never taken back: an older program refuses a newer store.
SELECT 1;
