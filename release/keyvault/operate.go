package keyvault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Operations, in the words of key_ops.
const (
	OpEncrypt = "encrypt"
	OpDecrypt = "decrypt"
	OpWrap    = "wrapKey"
	OpUnwrap  = "unwrapKey"
	OpSign    = "sign"
	OpVerify  = "verify"
)

// Operation asks for one use of a key version.
type Operation struct {
	Op        string // OpEncrypt, …
	Algorithm string // "RSA-OAEP-256", "ES256", …
	// Value is what is encrypted, decrypted, wrapped, unwrapped or signed (a digest);
	// of OpVerify the signature.
	Value        []byte
	Digest       []byte // OpVerify only
	IV, AAD, Tag []byte // AES-GCM (IV and Tag of OpDecrypt) and AES-CBC (IV, optional of OpEncrypt)
}

// Outcome is what an operation gave.
type Outcome struct {
	Row     *Row
	Value   []byte // the caller clears that of OpDecrypt and OpUnwrap
	IV, Tag []byte // AES-GCM encryption; IV of AES-CBC
	Valid   bool   // OpVerify
}

// ErrRecorded marks a refusal that has its record already: the log itself made it.
var ErrRecorded = errors.New("the refusal is in the log")

// Operate uses a key version, the latest when version is "". What a public key
// can do is done at once. For anything else the record comes first: the log reads
// the key's state again in the transaction of the record, and the material is
// opened only when an ALLOW for this version, generation and operation is durable.
func (s *Service) Operate(ctx context.Context, vault, name, version string, in Operation) (*Outcome, error) {
	if err := named(vault, name); err != nil {
		return nil, err
	}
	var out *Outcome
	err := s.use(ctx, Keys, release.KeyRef{Vault: vault, Name: name, Version: version}, func(row *Row) (err error) {
		out, err = s.operate(ctx, row, version == "", in)
		return err
	})
	return out, err
}

// use lets do work on a live version, and again on what became of it when that
// changed under its hands.
func (s *Service) use(ctx context.Context, c Collection, ref release.KeyRef, do func(*Row) error) error {
	var before *Row
	var refused error
	for range conflictRetries {
		row, err := s.live(ctx, c, ref)
		if err != nil {
			return err
		}
		if errors.Is(refused, ErrRecorded) && row.Version == before.Version && row.Generation == before.Generation {
			return refused // something else changed, such as the caller's right: asking again changes nothing
		}
		refused = do(row)
		if refused == nil || release.ReasonOf(refused) != release.ReasonStateChanged {
			return refused
		}
		before = row
	}
	return refused
}

func (s *Service) operate(ctx context.Context, row *Row, latest bool, in Operation) (*Outcome, error) {
	key := s.metadata(row)
	if err := row.Operable(in.Op); err != nil { // attested-only first, whatever else is wrong
		return nil, err
	}
	if err := key.Valid(s.Now()); err != nil {
		return nil, err
	}
	a, err := s.algorithmFor(ctx, row, in)
	if err != nil {
		return nil, err
	}
	if more := row.weight() - 1; more > 0 && s.Spend != nil {
		s.Spend(ctx, more)
	}
	out := &Outcome{Row: row}
	if publicOnly(row.Kty, in.Op) {
		if err := a.public(row, in, out); err != nil {
			return nil, err
		}
		return out, nil
	}
	p, err := s.permit(ctx, key, s.operationRecord(ctx, key, in), latest)
	if err != nil {
		return nil, err
	}
	material, err := s.openPermitted(ctx, p)
	defer clear(material)
	if err != nil {
		return nil, err
	}
	if err := a.private(material, in, out); err != nil {
		return nil, err
	}
	return out, nil
}

// publicOnly tells whether the public half of a key is enough.
func publicOnly(kty, op string) bool {
	return kty != KtyOct && (op == OpEncrypt || op == OpWrap || op == OpVerify)
}

// permit is the permission to open one key version once, for one operation. Only
// the method permit makes one, from a committed record; its zero value opens
// nothing. It is to an operation what [release.Grant] is to a release, and cannot
// be made into one: what it opens never leaves this package.
type permit struct {
	key   *release.Key
	at    time.Time
	spent bool
}

// permit writes the record of an operation, made by recordOf, and gives the
// permission to do it.
func (s *Service) permit(ctx context.Context, key *release.Key, rec *release.Record, latest bool) (*permit, error) {
	if s.Log == nil {
		return nil, release.Refuse(release.ReasonLogUnavailable, "this vault has no log for operations")
	}
	op := rec.Operation
	done, err := s.Log.Append(ctx, release.Entry{
		Record: rec, Guard: &release.Guard{Key: key, Latest: latest, Operation: true, Objects: s.Right(ctx)},
	})
	if err != nil {
		return nil, unrecorded(err)
	}
	switch written := done.Record; {
	case written.Decision == receipt.Deny:
		return nil, release.Refuse(release.Reason(written.Reason), "%s, record %d: %w", key.KID, done.Receipt.Index, ErrRecorded)
	case written.Kind != receipt.KindOperation || written.Decision != receipt.Allow || written.ObjectID != key.ObjectID ||
		written.Version != key.Ref.Version || written.Generation != key.Generation || written.Operation != op:
		return nil, release.Refuse(release.ReasonInternal, "no allow record for this operation")
	}
	return &permit{key: key, at: done.At}, nil
}

// recordOf is the record of an allowed use of a version, not yet written.
func (s *Service) recordOf(ctx context.Context, op string, key *release.Key) *release.Record {
	rec := s.Record(ctx, op)
	rec.Kind, rec.Decision = receipt.KindOperation, receipt.Allow
	rec.Vault, rec.Object, rec.ObjectID, rec.Version = key.Ref.Vault, key.Ref.Name, key.ObjectID, key.Ref.Version
	rec.Generation, rec.Policy = key.Generation, key.Policy.Digest
	return rec
}

// operationRecord says which key did what. The digest of what went in is left out
// where that is a secret: one that can be guessed could be found in a log that
// everybody reads, and so could the body it came in.
func (s *Service) operationRecord(ctx context.Context, key *release.Key, in Operation) *release.Record {
	rec := s.recordOf(ctx, recordName(in.Op), key)
	rec.Detail = map[string]string{"alg": in.Algorithm, "attested_only": "false"}
	if in.Op == OpEncrypt || in.Op == OpWrap {
		rec.Request = receipt.Digest{}
	} else {
		sum := sha256.Sum256(in.Value)
		rec.Detail["input"] = hex.EncodeToString(sum[:])
	}
	return rec
}

// recordName is the operation's name in records, as in the path: "keys/wrapkey".
func recordName(op string) string { return "keys/" + strings.ToLower(op) }

// openPermitted opens what p's record names, the first time and in time. The
// caller clears it.
func (s *Service) openPermitted(ctx context.Context, p *permit) ([]byte, error) {
	if p == nil || p.key == nil || p.spent {
		return nil, release.Refuse(release.ReasonInternal, "no permission to open a key")
	}
	p.spent = true
	if err := s.fresh(p.at); err != nil {
		return nil, err
	}
	return s.openAs(ctx, p.key)
}

// fresh refuses to go on long after the record that allowed it.
func (s *Service) fresh(at time.Time) error {
	if age := s.Now().Sub(at); age < 0 || age > release.GrantLife {
		return release.Refuse(release.ReasonStateChanged, "permission is %v old, limit %v", age, release.GrantLife)
	}
	return nil
}

// unrecorded gives an append's failure an answer that says try again: the fate of
// the record is unknown, and nothing was opened.
func unrecorded(err error) error {
	reason, retry := release.ReasonOf(err), 1
	if reason.Class() != release.ClassUnavailable {
		reason = release.ReasonLogUnavailable
	}
	var from *release.Error
	if errors.As(err, &from) && from.Retry > 0 {
		retry = from.Retry
	}
	out := release.Refuse(reason, "operation not recorded, nothing was done: %w", err)
	out.Retry = retry
	return out
}
