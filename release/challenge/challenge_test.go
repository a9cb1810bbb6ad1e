package challenge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/bits"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
)

var disk = release.Scope{Purpose: "release", Key: "https://vault/keys/disk"}

// ledger stands for the log's table of spent nonces.
type ledger struct {
	mu    sync.Mutex
	spent map[[32]byte]bool
	err   error
	reads int
}

func (l *ledger) has(_ context.Context, h [32]byte) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	return l.spent[h], l.err
}

func newIssuer(t testing.TB, change func(*Config)) (*Issuer, *ledger) {
	t.Helper()
	l := &ledger{spent: map[[32]byte]bool{}}
	c := Config{Key: bytes.Repeat([]byte{1}, keySize), Deployment: "d1", Spent: l.has, Now: time.Now}
	if change != nil {
		change(&c)
	}
	i, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return i, l
}

func issue(t testing.TB, i *Issuer) []byte {
	t.Helper()
	n, _, err := i.Issue(disk)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// begin gives the reason of a presentation, "" when it is admitted.
func begin(t testing.TB, i *Issuer, nonce []byte) release.Reason {
	t.Helper()
	return beginFor(t, i, nonce, disk)
}

func beginFor(t testing.TB, i *Issuer, nonce []byte, s release.Scope) release.Reason {
	t.Helper()
	ticket, err := i.Begin(t.Context(), nonce, s)
	if err == nil {
		return ""
	}
	if ticket != (release.Ticket{}) {
		t.Error("a refusal comes with a ticket")
	}
	var e *release.Error
	if !errors.As(err, &e) {
		t.Errorf("%v is not a *release.Error", err)
	}
	return release.ReasonOf(err)
}

func want(t *testing.T, what string, got, wanted release.Reason) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s: got %q, want %q", what, got, wanted)
	}
}

// TestDistinct is FR-01: 100 000 nonces of several replicas are distinct, and the
// 128 random bits look it: none stuck, none leaning, bytes evenly spread.
func TestDistinct(t *testing.T) {
	const n = 100_000
	replicas := make([]*Issuer, 4)
	for i := range replicas {
		replicas[i], _ = newIssuer(t, nil)
	}
	seen := make(map[string]bool, n)
	var ones [128]int
	var bytesSeen [256]int
	for i := range n {
		b := issue(t, replicas[i%len(replicas)])
		seen[string(b)] = true
		for j, c := range b[randomAt:scopeAt] {
			bytesSeen[c]++
			for bit := range 8 {
				ones[8*j+bit] += int(c >> bit & 1)
			}
		}
	}
	if len(seen) != n {
		t.Errorf("%d distinct nonces of %d", len(seen), n)
	}
	for bit, count := range ones { // 8 standard deviations: never by chance
		if d := count - n/2; d*d > 64*n/4 {
			t.Errorf("bit %d is set %d times of %d", bit, count, n)
		}
	}
	expected, chi := float64(n*16)/256, 0.0
	for _, c := range bytesSeen {
		d := float64(c) - expected
		chi += d * d / expected
	}
	if chi < 80 || chi > 500 { // 255 degrees of freedom: 255 ± 22.6
		t.Errorf("chi-square %.0f", chi)
	}
}

func TestLifecycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, l := newIssuer(t, nil)
		n, expires, err := i.Issue(disk)
		if err != nil || len(n) != Size || !expires.Equal(time.Now().Truncate(time.Millisecond).Add(DefaultTTL)) {
			t.Fatalf("%d bytes until %v, %v", len(n), expires, err)
		}
		ticket, err := i.Begin(t.Context(), n, disk)
		if err != nil || !ticket.Expires.Equal(expires) || ticket.Hash == ([32]byte{}) {
			t.Fatalf("%+v, %v", ticket, err)
		}
		want(t, "FR-04: again", begin(t, i, n), release.ReasonNonceReplayed)
		l.spent[ticket.Hash] = true
		other, _ := newIssuer(t, func(c *Config) { c.Spent = l.has })
		want(t, "FR-13: after a restart", begin(t, other, n), release.ReasonNonceReplayed)
		time.Sleep(time.Hour)
		want(t, "an hour later", begin(t, i, n), release.ReasonNonceExpired)
	})
}

// TestExpiry is FR-06 and FR-15.
func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want release.Reason
	}{
		{0, ""},
		{DefaultTTL - 2*time.Second, ""},
		{DefaultTTL, ""},
		{DefaultTTL + 2*time.Second, release.ReasonNonceExpired},
		{time.Hour, release.ReasonNonceExpired},
		{-Skew, ""},
		{-Skew - time.Second, release.ReasonNonceUnknown},
		{-time.Hour, release.ReasonNonceUnknown},
	} {
		now := time.Unix(1_800_000_000, 0)
		i, _ := newIssuer(t, func(cfg *Config) { cfg.Now = func() time.Time { return now } })
		n := issue(t, i)
		now = now.Add(c.age)
		want(t, c.age.String(), begin(t, i, n), c.want)
	}
}

// TestClockStepsBack is FR-14: a clock an hour back revives nothing.
func TestClockStepsBack(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	i, l := newIssuer(t, func(c *Config) { c.Now = func() time.Time { return now } })
	n := issue(t, i)
	ticket, err := i.Begin(t.Context(), n, disk)
	if err != nil {
		t.Fatal(err)
	}
	l.spent[ticket.Hash] = true
	start := now
	for _, step := range []time.Duration{-time.Hour, -time.Minute, -time.Second, 0, time.Second} {
		now = start.Add(step)
		want(t, "replay at "+step.String(), begin(t, i, n), release.ReasonNonceReplayed)
	}
	now = start.Add(48 * time.Hour) // forget, then step back: the log's table remembers
	_ = begin(t, i, issue(t, i))
	now = start
	want(t, "forward and back", begin(t, i, n), release.ReasonNonceReplayed)
}

// TestNotOurs is FR-03 and FR-08: no look-up, nothing remembered.
func TestNotOurs(t *testing.T) {
	i, l := newIssuer(t, nil)
	good := issue(t, i)
	theirs, _ := newIssuer(t, func(c *Config) { c.Key = bytes.Repeat([]byte{2}, keySize) })
	namesake, _ := newIssuer(t, func(c *Config) { c.Deployment = "d2" })
	want(t, "another key", begin(t, i, issue(t, theirs)), release.ReasonNonceUnknown)
	want(t, "another deployment under one key", begin(t, i, issue(t, namesake)), release.ReasonNonceUnknown)
	want(t, "zeros", begin(t, i, make([]byte, Size)), release.ReasonNonceUnknown)
	for n := 1; n < 2*Size; n++ {
		if n != Size {
			want(t, "wrong length", begin(t, i, append(bytes.Clone(good), good...)[:n]), release.ReasonNonceUnknown)
		}
	}
	want(t, "FR-02: none", begin(t, i, nil), release.ReasonNonceMissing)
	want(t, "FR-02: empty", begin(t, i, []byte{}), release.ReasonNonceMissing)
	for bit := range 8 * Size {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		want(t, "a flipped bit", begin(t, i, bad), release.ReasonNonceUnknown)
	}
	for at, value := range []byte{2, 1} { // version and epoch of another time, under our own key
		bad := bytes.Clone(good)
		bad[at] = value
		copy(bad[macAt:], i.mac(bad[:macAt]))
		want(t, "version or epoch", begin(t, i, bad), release.ReasonNonceUnknown)
	}
	if l.reads != 0 || len(i.burned.young) != 0 {
		t.Errorf("strangers cost %d look-ups and %d remembered nonces", l.reads, len(i.burned.young))
	}
	want(t, "the good one", begin(t, i, good), "")
}

// TestScope is FR-07: and the attempt burns the nonce (FR-12).
// KB-13, KB-14 and KB-15 are the same: purpose and key are the challenge's.
func TestScope(t *testing.T) {
	for name, s := range map[string]release.Scope{
		"another key":      {Purpose: disk.Purpose, Key: disk.Key + "2"},
		"a version of it":  {Purpose: disk.Purpose, Key: disk.Key + "/0123456789abcdef0123456789abcdef"},
		"another purpose":  {Purpose: "token", Key: disk.Key},
		"shifted boundary": {Purpose: disk.Purpose + "h", Key: disk.Key[1:]},
		"case":             {Purpose: disk.Purpose, Key: "https://vault/keys/Disk"},
		"nothing":          {},
		"members swapped":  {Purpose: disk.Key, Key: disk.Purpose},
	} {
		i, l := newIssuer(t, nil)
		n := issue(t, i)
		want(t, name, beginFor(t, i, n, s), release.ReasonNonceScope)
		want(t, name+", then the right one", begin(t, i, n), release.ReasonNonceReplayed)
		if l.reads != 0 {
			t.Errorf("%s: looked up", name)
		}
	}
}

func TestSpentFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former, _ := newIssuer(t, nil)
		n := issue(t, former)
		i, l := newIssuer(t, nil) // the process after
		l.err = errors.New("no disk")
		want(t, "unreadable", begin(t, i, n), release.ReasonLogUnavailable)
		l.err = nil
		want(t, "and burned", begin(t, i, n), release.ReasonNonceReplayed)
	})
}

// TestSpentIsForFormerNonces: one from before the start is looked up in the log, to the
// millisecond that it carries, one of this process is not.
func TestSpentIsForFormerNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former, _ := newIssuer(t, nil)
		old := issue(t, former)
		time.Sleep(500 * time.Microsecond)
		same := issue(t, former)
		i, l := newIssuer(t, nil)
		for _, n := range [][]byte{old, same} {
			l.spent[sha256.Sum256(n)] = true
			want(t, "of the process before", begin(t, i, n), release.ReasonNonceReplayed)
		}
		time.Sleep(time.Millisecond)
		want(t, "of this process", begin(t, i, issue(t, i)), "")
		if l.reads != 2 {
			t.Errorf("%d looks into the log, want 2", l.reads)
		}
	})
}

// TestParallel: one nonce, 64 requests at once, one of them admitted.
func TestParallel(t *testing.T) {
	i, _ := newIssuer(t, nil)
	n := issue(t, i)
	var mu sync.Mutex
	got := map[release.Reason]int{}
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			r := begin(t, i, n)
			mu.Lock()
			got[r]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if got[""] != 1 || got[release.ReasonNonceReplayed] != 63 {
		t.Errorf("%v", got)
	}
}

// TestSpelling is FR-09: a nonce has one text.
func TestSpelling(t *testing.T) {
	i, _ := newIssuer(t, nil)
	n := issue(t, i)
	text := base64.RawURLEncoding.EncodeToString(n)
	last := text[len(text)-1]
	for name, spelled := range map[string]string{
		"padding": text + "==", "line break": text + "\n", "inner line break": text[:8] + "\n" + text[8:], "carriage return": text + "\r",
		"space": text + " ", "leading space": " " + text, "tab": text + "\t", "no-break space": text + "\u00a0", "spare bits": text[:len(text)-1] + string(last+1),
		"other alphabet": base64.RawStdEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, Size)), "zero width": text + "\u200b",
	} {
		var b attest.Bytes
		if err := b.UnmarshalText([]byte(spelled)); err == nil {
			t.Errorf("%s: read as %x", name, []byte(b))
		}
	}
	var b attest.Bytes
	if err := b.UnmarshalText([]byte(text)); err != nil || !bytes.Equal(b, n) {
		t.Errorf("the one text: %v", err)
	}
}

func TestNew(t *testing.T) {
	spent := func(context.Context, [32]byte) (bool, error) { return false, nil }
	good := Config{Key: make([]byte, keySize), Deployment: "d", Spent: spent, Now: time.Now}
	for name, change := range map[string]func(*Config){
		"no key": func(c *Config) { c.Key = nil }, "short key": func(c *Config) { c.Key = make([]byte, 16) },
		"no deployment": func(c *Config) { c.Deployment = "" }, "no ledger": func(c *Config) { c.Spent = nil },
		"no clock": func(c *Config) { c.Now = nil }, "long TTL": func(c *Config) { c.TTL = MaxTTL + 1 },
		"negative TTL": func(c *Config) { c.TTL = -time.Minute }, "short TTL": func(c *Config) { c.TTL = time.Millisecond },
		"no memory": func(c *Config) { c.MaxHeld = -1 },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

func FuzzBegin(f *testing.F) {
	i, _ := newIssuer(f, nil)
	n := issue(f, i)
	f.Add(n)
	f.Add(n[:51])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if begin(t, i, b) != "" {
			return // the seed is admitted once in each process of a fuzz run
		}
		if head := b[:macAt]; len(b) != Size || !bytes.Equal(b[macAt:], i.mac(head)) || begin(t, i, b) != release.ReasonNonceReplayed {
			t.Fatalf("admitted %x", b)
		}
	})
}

func TestRandomPartIsAllOfIt(t *testing.T) {
	i, _ := newIssuer(t, nil)
	a, b := issue(t, i), issue(t, i)
	differ := 0
	for j := randomAt; j < scopeAt; j++ {
		differ += bits.OnesCount8(a[j] ^ b[j])
	}
	if differ < 24 { // of 128; below has a chance of 2^-43
		t.Errorf("two nonces differ in %d bits", differ)
	}
}

func BenchmarkIssueAndBegin(b *testing.B) {
	i, _ := newIssuer(b, func(c *Config) { c.MaxHeld = 1 << 30 })
	for b.Loop() {
		n, _, err := i.Issue(disk)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := i.Begin(b.Context(), n, disk); err != nil {
			b.Fatal(err)
		}
	}
}
