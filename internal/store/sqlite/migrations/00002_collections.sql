-- +goose Up

-- Versions of keys and of secrets in one table, live and deleted. Names compare
-- without case, as Key Vault's do; their characters are ASCII.
ALTER TABLE keys RENAME TO keys_v1;

CREATE TABLE keys (
	vault            TEXT    NOT NULL,
	collection       TEXT    NOT NULL, -- keys or secrets
	name             TEXT    NOT NULL COLLATE NOCASE,
	version          TEXT    NOT NULL,
	object_id        TEXT    NOT NULL,
	seq              INTEGER NOT NULL,
	generation       INTEGER NOT NULL,
	kty              TEXT    NOT NULL, -- empty for a secret
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
	content_type     TEXT    NOT NULL, -- of a secret
	deleted          INTEGER NOT NULL, -- Unix seconds, 0: live
	purge            INTEGER NOT NULL, -- Unix seconds, 0: live
	created_index    INTEGER NOT NULL,
	dek_epoch        INTEGER NOT NULL,
	salt             BLOB,
	commitment       BLOB,
	sealed           BLOB,
	PRIMARY KEY (vault, collection, name, version),
	UNIQUE (vault, collection, name, seq)
);

INSERT INTO keys SELECT vault, 'keys', name, version, object_id, seq, generation, kty, crv, size, key_ops, enabled, nbf, exp,
	exportable, created, updated, tags, policy_type, policy_data, policy_immutable, policy_digest, attested_only, public,
	'', 0, 0, created_index, dek_epoch, salt, commitment, sealed FROM keys_v1;
DROP TABLE keys_v1;

-- What spent a nonce: only a use of an attestation token is looked up again.
ALTER TABLE nonces ADD COLUMN request BLOB;
ALTER TABLE nonces ADD COLUMN idx INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nonces ADD COLUMN at INTEGER NOT NULL DEFAULT 0; -- Unix milliseconds

-- Few of many are deleted: their list must not walk past the live ones.
CREATE INDEX keys_deleted ON keys (vault, collection, name, seq) WHERE deleted > 0;
CREATE INDEX keys_purge ON keys (purge) WHERE purge > 0;

-- +goose Down
-- A store is never taken back: an older program refuses a newer store.
SELECT 1;
