package keyvault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

func publicEC(t testing.TB, row *keyvault.Row) *ecdsa.PublicKey {
	t.Helper()
	var jwk struct{ X, Y string }
	if err := json.Unmarshal(row.Public, &jwk); err != nil {
		t.Fatal(err)
	}
	point := []byte{4}
	for _, s := range []string{jwk.X, jwk.Y} {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		point = append(point, b...)
	}
	c := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[row.Crv]
	pub, err := ecdsa.ParseUncompressedPublicKey(c, point)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

var sign = keyvault.Operation{Op: keyvault.OpSign, Algorithm: "ES256", Value: make([]byte, 32)}

// I9: whatever the operation, the algorithm and the state of the key.
func TestAttestedOnlyHasNoOperation(t *testing.T) {
	l := newLab(t)
	for _, kty := range []string{"RSA", "EC", "oct"} {
		l.create(t, kty, attested(kty))
		before := len(l.store.Leaves)
		for _, op := range []string{"encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify", "", "export"} {
			for _, alg := range []string{"RSA-OAEP", "ES256", "A256GCM", "A256KW", "none"} {
				if got := l.refused(t, kty, keyvault.Operation{Op: op, Algorithm: alg, Value: make([]byte, 32)}); got != release.ReasonAttestedOnly {
					t.Errorf("%s %q %s: %s", kty, op, alg, got)
				}
			}
		}
		if len(l.store.Leaves) != before {
			t.Errorf("%s: an operation is recorded", kty)
		}
	}
}

func TestKeyOpsAndState(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{KeyOps: []string{"verify"}}})
	if got := l.refused(t, "k", sign); got != release.ReasonKeyOperation {
		t.Errorf("not in key_ops: %s", got)
	}
	for name, c := range map[string]struct {
		set  keyvault.Settings
		want release.Reason
	}{
		"disabled":  {keyvault.Settings{Enabled: ptr(false), KeyOps: []string{"sign", "verify"}}, release.ReasonKeyDisabled},
		"early":     {keyvault.Settings{Enabled: ptr(true), NotBefore: ptr(at.Unix() + 1)}, release.ReasonKeyNotYetValid},
		"last tick": {keyvault.Settings{Enabled: ptr(true), NotBefore: ptr(int64(0)), Expires: ptr(at.Unix())}, release.ReasonKeyExpired},
	} {
		set := c.set
		set.KeyOps = []string{"sign", "verify"}
		if _, err := l.Update(t.Context(), "default", "k", "", keyvault.UpdateKey{Settings: set}); err != nil {
			t.Fatal(err)
		}
		for _, in := range []keyvault.Operation{sign, {Op: "verify", Algorithm: "ES256", Digest: make([]byte, 32), Value: make([]byte, 64)}} {
			if got := l.refused(t, "k", in); got != c.want {
				t.Errorf("%s, %s: %s", name, in.Op, got)
			}
		}
		reset := keyvault.Settings{Enabled: ptr(true), NotBefore: ptr(int64(0)), Expires: ptr(int64(0))}
		if _, err := l.Update(t.Context(), "default", "k", "", keyvault.UpdateKey{Settings: reset}); err != nil {
			t.Fatal(err)
		}
	}
	l.operate(t, "k", sign)
	for name, ref := range map[string][2]string{"unknown name": {"nobody", ""}, "unknown version": {"k", "00000000000000000000000000000000"}} {
		if _, err := l.Operate(t.Context(), "default", ref[0], ref[1], sign); release.ReasonOf(err) != release.ReasonNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	second := l.create(t, "k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{KeyOps: []string{"sign"}}})
	if out := l.operate(t, "k", sign); out.Row.Version != second.Version {
		t.Error("no version is not the latest")
	}
	out, err := l.Operate(t.Context(), "default", "k", row.Version, sign)
	if err != nil || out.Row.Version != row.Version {
		t.Errorf("a named version: %v", err)
	}
}

// What changes between look-up, record and opening counts: the key does not sign after.
func TestOperationJudgesTheStateAgain(t *testing.T) {
	disable := func(t *testing.T, l *lab) {
		if _, err := l.Update(t.Context(), "default", "k", "", keyvault.UpdateKey{Settings: keyvault.Settings{Enabled: ptr(false)}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		set  func(t *testing.T, l *lab)
		late bool // after the record instead of before it
		want release.Reason
	}{
		"disabled before the record": {disable, false, release.ReasonKeyDisabled},
		"disabled after the record":  {disable, true, release.ReasonKeyDisabled},
		"expired before the record":  {func(_ *testing.T, l *lab) { l.now = l.now.Add(time.Hour) }, false, release.ReasonKeyExpired},
		"deleted after the record": {func(_ *testing.T, l *lab) {
			for k := range l.store.Rows {
				delete(l.store.Rows, k)
			}
		}, true, release.ReasonNotFound},
		"too late": {func(_ *testing.T, l *lab) { l.now = l.now.Add(release.GrantLife + time.Second) }, true, release.ReasonKeyExpired},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.create(t, "k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Expires: ptr(at.Unix() + 3)}})
			hook := func() { c.set(t, l) }
			if c.late {
				l.after = hook
			} else {
				l.before = hook
			}
			if got := l.refused(t, "k", sign); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// A change that leaves the operation allowed only makes it start over.
func TestOperationStartsOver(t *testing.T) {
	l := newLab(t)
	l.create(t, "k", keyvault.CreateKey{Kty: "EC"})
	var newest *keyvault.Row
	l.before = func() { newest = l.create(t, "k", keyvault.CreateKey{Kty: "EC"}) }
	out := l.operate(t, "k", sign)
	if out.Row.Version != newest.Version {
		t.Error("the latest version at the record did not sign")
	}
	denied, allowed := l.store.Leaves[len(l.store.Leaves)-2], l.store.Leaves[len(l.store.Leaves)-1]
	if denied.Decision != receipt.Deny || denied.Reason != string(release.ReasonStateChanged) || allowed.Decision != receipt.Allow || allowed.Version != newest.Version {
		t.Errorf("%+v\n%+v", denied, allowed)
	}
}

// A denial by the log is in the log already.
func TestRecordedRefusal(t *testing.T) {
	l := newLab(t)
	l.create(t, "k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Expires: ptr(at.Unix() + 3)}})
	l.before = func() { l.now = l.now.Add(time.Hour) }
	_, err := l.Operate(t.Context(), "default", "k", "", sign)
	if !errors.Is(err, keyvault.ErrRecorded) {
		t.Errorf("%v", err)
	}
	if rec := l.store.Leaves[len(l.store.Leaves)-1]; rec.Kind != receipt.KindOperation || rec.Decision != receipt.Deny || rec.Reason != "key_expired" {
		t.Errorf("%+v", rec)
	}
}

// No record, no operation: 503, whatever the log says is wrong.
func TestLogDown(t *testing.T) {
	l := newLab(t)
	l.imported(t, "rsa", rsaKey(t))
	l.create(t, "ec", keyvault.CreateKey{Kty: "EC"})
	l.create(t, "oct", keyvault.CreateKey{Kty: "oct"})
	private := map[string][]keyvault.Operation{
		"rsa": {{Op: "decrypt", Algorithm: "RSA-OAEP", Value: make([]byte, 256)}, {Op: "unwrapKey", Algorithm: "RSA-OAEP", Value: make([]byte, 256)}, {Op: "sign", Algorithm: "PS256", Value: make([]byte, 32)}},
		"ec":  {sign},
		"oct": {
			{Op: "encrypt", Algorithm: "A256GCM", Value: []byte("x")},
			{Op: "decrypt", Algorithm: "A256GCM", Value: []byte("x"), IV: make([]byte, 12), Tag: make([]byte, 16)},
			{Op: "wrapKey", Algorithm: "A256KW", Value: make([]byte, 16)},
			{Op: "unwrapKey", Algorithm: "A256KW", Value: make([]byte, 24)},
		},
	}
	for _, why := range []error{errors.New("disk full"), release.Refuse(release.ReasonTooLarge, "record"), &release.Error{Reason: release.ReasonOverloaded, Retry: 7}} {
		l.store.Fault = func(*release.Record) error { return why }
		for key, ops := range private {
			for _, in := range ops {
				_, err := l.Operate(t.Context(), "default", key, "", in)
				var e *release.Error
				if !errors.As(err, &e) || e.Reason.Class() != release.ClassUnavailable || e.Retry == 0 || release.ReasonOf(why) == release.ReasonOverloaded && e.Retry != 7 {
					t.Errorf("%s %s with %v: %v", key, in.Op, why, err)
				}
			}
		}
	}
	l.Log = nil
	if got := l.refused(t, "ec", sign); got != release.ReasonLogUnavailable {
		t.Errorf("without a log: %s", got)
	}
}

// A row that was edited in the database does nothing, private or public.
func TestOperationRefusesEditedRows(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{KeyOps: []string{"verify"}}})
	l.store.Rows["default/keys/k/"+row.Version].KeyOps = []string{"sign", "verify"}
	for _, in := range []keyvault.Operation{sign, {Op: "verify", Algorithm: "ES256", Digest: make([]byte, 32), Value: make([]byte, 64)}} {
		if got := l.refused(t, "k", in); got != release.ReasonIntegrity {
			t.Errorf("%s: %s", in.Op, got)
		}
	}
}
