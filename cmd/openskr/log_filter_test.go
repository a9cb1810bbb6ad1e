package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/release/receipt"
)

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"12h": "2026-11-21T21:30:00Z", "90m": "2026-11-22T08:00:00Z", "3d": "2026-11-19T09:30:00Z",
		"2026-11-22": "2026-11-22T00:00:00Z", "2026-11-22T01:00:00+02:00": "2026-11-21T23:00:00Z",
	} {
		if got, err := parseSince(in, now); err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %s, %v", in, got.UTC(), err)
		}
	}
	for _, bad := range []string{"-1h", "-1d", "d", "1.5d", "yesterday", "12", "2026-13-01", "99999d"} {
		if got, err := parseSince(bad, now); err == nil {
			t.Errorf("%s is %s", bad, got)
		}
	}
}

func TestLogFilterRefuses(t *testing.T) {
	for what, f := range map[string]logFilter{
		"decision": {decision: "maybe"}, "reason": {reason: "no_such_reason"}, "since": {since: "later"},
		"deny and allow": {deny: true, decision: receipt.Allow},
	} {
		if err := f.complete(time.Now()); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

func TestLogFilterPasses(t *testing.T) {
	const id = "3f2a9c0d11112222"
	machine := &receipt.Caller{Kind: "machine", ID: id}
	records := map[string]*receipt.Record{
		"release": {Kind: receipt.KindRelease, Decision: receipt.Allow, Vault: "app", Object: "disk", Caller: machine},
		"denied":  {Kind: receipt.KindRelease, Decision: receipt.Deny, Reason: "policy_denied", Vault: "default", Object: "disk", Caller: machine},
		"create":  {Kind: receipt.KindChange, Operation: "keys/create", Vault: "app", Object: "disk", Caller: &receipt.Caller{Kind: "principal", ID: id}},
		"secret":  {Kind: receipt.KindOperation, Operation: "secrets/get", Object: "disk", Caller: machine},
		"approve": {Kind: receipt.KindChange, Operation: "machines/approve", Object: id},
		"token":   {Kind: receipt.KindToken, Decision: receipt.Deny, Reason: "role_missing", Caller: machine},
		"azure":   {Kind: receipt.KindRelease, Decision: receipt.Allow, Object: "other", Caller: &receipt.Caller{Kind: "principal", ID: "p"}, Evidence: &receipt.Evidence{Machine: id}},
	}
	for _, c := range []struct {
		filter logFilter
		want   string
	}{
		{logFilter{}, "approve azure create denied release secret token"},
		{logFilter{key: "disk"}, "create denied release"},
		{logFilter{key: "app/disk"}, "create release"},
		{logFilter{key: "dis"}, ""},
		{logFilter{machine: id}, "approve azure denied release secret token"},
		{logFilter{machine: id[:8]}, "approve azure denied release secret token"},
		{logFilter{machine: id[:7]}, ""},
		{logFilter{decision: receipt.Deny}, "denied token"},
		{logFilter{decision: receipt.Allow}, "azure release"},
		{logFilter{reason: "role_missing"}, "token"},
		{logFilter{operation: "keys/create"}, "create"},
		{logFilter{operation: "keys/"}, "create"},
		{logFilter{operation: "keys"}, ""},
		{logFilter{operation: "release"}, "azure denied release"},
		{logFilter{machine: id, key: "disk", decision: receipt.Deny, reason: "policy_denied", operation: "release"}, "denied"},
	} {
		var got []string
		for _, name := range []string{"approve", "azure", "create", "denied", "release", "secret", "token"} {
			if c.filter.passes(records[name]) {
				got = append(got, name)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%+v: %q, want %q", c.filter, s, c.want)
		}
	}
}

// long gives a fake broker a log of n entries, a minute apart from 1790000000: every
// hundredth is a refusal.
func (b *fakeBroker) long(t *testing.T, n int) (credentialFile string) {
	t.Helper()
	b.log.leaves = nil
	for i := range n {
		r := receipt.Record{V: 1, Deployment: fakeTenant, Time: (1790000000 + int64(i)*60) * 1000, Kind: receipt.KindRelease, Decision: receipt.Allow, Object: "disk"}
		if i%100 == 0 {
			r.Decision, r.Reason = receipt.Deny, "policy_denied"
		}
		leaf, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		b.log.leaves = append(b.log.leaves, leaf)
	}
	b.log.note = fmt.Sprintf("%s\n%d\nAAAA\n", fakeOrigin, n) // nobody verifies it here
	raw, err := json.Marshal(credential{Broker: b.url, ClientID: fakeClient, ClientSecret: fakeSecret, CA: b.ca})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cred")
	write(t, file, raw)
	return file
}

// A search reads from the newest entry back to what it needs, and no further.
func TestLogSearchReads(t *testing.T) {
	b := newFakeBroker(t)
	cred := b.long(t, 10_500)
	for _, c := range []struct {
		args  string
		found int
		pages int64 // of two entries, at most
		says  string
	}{
		{"-n 3", 3, 2, ""},
		{"-n 1 --deny", 1, 128, ""},
		{"-n 4 --decision deny", 4, 256, ""},
		{"--key disk -n 2", 2, 128, ""},
		{"-n 200 --reason policy_denied", 100, 5000, "last 10000 entries; --since"},
		{"-n 200 --deny --since 2026-09-21", 105, 5250, ""},
		{"-n 200 --deny --since 2026-09-28T16:00:00Z", 3, 256, ""},
		{"-n 200 --since 2026-09-28T21:03:00Z", 10, 128, ""},
		{"--reason nonce_replayed", 0, 5000, "no entry passes of the last 10000"},
		{"--reason nonce_replayed --since 2026-09-28T20:00:00Z", 0, 256, "openskr log refusals"},
	} {
		b.log.pages.Store(0)
		code, stdout, stderr := call(t, append([]string{"--credential", cred, "log", "tail"}, strings.Fields(c.args)...)...)
		lines := max(0, strings.Count(stdout, "\n")-1) // without the head
		if code != codeDone || lines != c.found || b.log.pages.Load() > c.pages || !strings.Contains(stderr, c.says) || c.says == "" && stderr != "" {
			t.Errorf("%s: exit %d, %d entries, %d pages: %s", c.args, code, lines, b.log.pages.Load(), stderr)
		}
	}
	code, stdout, _ := call(t, "--credential", cred, "--json", "log", "tail", "-n", "2", "--deny")
	if want := []string{`{"index":10300,`, `{"index":10400,`}; code != codeDone || strings.Count(stdout, "\n") != 2 || !strings.HasPrefix(stdout, want[0]) || !strings.Contains(stdout, "\n"+want[1]) {
		t.Errorf("exit %d: %s", code, stdout)
	}
}

// A page of the newest entries that is not full is asked for as it is.
func TestLogSearchShort(t *testing.T) {
	b := newFakeBroker(t)
	for _, n := range []int{1, 2, 257} {
		cred := b.long(t, n)
		if code, stdout, stderr := call(t, "--credential", cred, "log", "tail", "-n", strconv.Itoa(n+1), "--key", "disk"); code != codeDone || strings.Count(stdout, "\n")-1 != n || stderr != "" {
			t.Errorf("%d: exit %d: %s", n, code, stderr)
		}
	}
}
