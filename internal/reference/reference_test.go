package reference

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/releasetest"
)

var (
	hex32 = strings.Repeat("ab", 32)
	hex48 = strings.Repeat("cd", 48)
)

// rig is a service on a store in memory, and what it published last.
type rig struct {
	*Service
	t     *testing.T
	store *releasetest.Store
	doc   map[string]any
	times int // published
}

func newRig(t *testing.T, store *releasetest.Store, file map[string]any) *rig {
	t.Helper()
	r := &rig{t: t, store: store}
	store.Now = time.Now
	s, err := New(t.Context(), Config{
		Objects: store, File: file, Now: time.Now,
		Publish: func(doc map[string]any) error { r.doc, r.times = doc, r.times+1; return nil },
		Record: func(_ context.Context, op string) *release.Record {
			return &release.Record{V: 1, Kind: receipt.KindChange, Operation: op}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Service = s
	return r
}

func (r *rig) add(set string, e ...Entry) {
	r.t.Helper()
	if _, err := r.Add(r.t.Context(), set, e, false); err != nil {
		r.t.Fatal(err)
	}
}

// at gives what a policy finds under set, kind and value.
func (r *rig) at(set, kind, value string) map[string]any {
	r.t.Helper()
	if err := r.Current(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	s, _ := r.doc[set].(map[string]any)
	k, _ := s[kind].(map[string]any)
	v, _ := k[value].(map[string]any)
	return v
}

func refused(t *testing.T, name string, err error, want release.Reason) {
	t.Helper()
	if err == nil || release.ReasonOf(err) != want {
		t.Errorf("%s: %v, want %s", name, err, want)
	}
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		e  Entry
		ok bool
	}{
		"sha256":         {Entry{Kind: "pcr4", Value: hex32}, true},
		"sha384":         {Entry{Kind: "pcr23", Value: hex48}, true},
		"event":          {Entry{Kind: "event7", Value: hex32}, true},
		"chip":           {Entry{Kind: "chip", Value: strings.Repeat("00", 64)}, true},
		"label":          {Entry{Kind: "mrtd", Value: hex48, Label: "Fedora 43 – büild"}, true},
		"window":         {Entry{Kind: "mrtd", Value: hex48, From: 5, Until: 6}, true},
		"cmdline":        {Entry{Kind: "cmdline", Value: "/vmlinuz root=/dev/vda2 ro"}, true},
		"no cmdline":     {Entry{Kind: "cmdline"}, false},
		"odd cmdline":    {Entry{Kind: "cmdline", Value: "a\x1b"}, false},
		"broken cmdline": {Entry{Kind: "cmdline", Value: "a\xff"}, false},
		"long cmdline":   {Entry{Kind: "cmdline", Value: strings.Repeat("x", maxText+1)}, false},
		"cmdline label":  {Entry{Kind: "cmdline", Value: "ro", Label: "\x00"}, false},
		"no kind":        {Entry{Kind: "", Value: hex32}, false},
		"pcr24":          {Entry{Kind: "pcr24", Value: hex32}, false},
		"pcr04":          {Entry{Kind: "pcr04", Value: hex32}, false},
		"pcr-1":          {Entry{Kind: "pcr-1", Value: hex32}, false},
		"pcr":            {Entry{Kind: "pcr", Value: hex32}, false},
		"4":              {Entry{Kind: "4", Value: hex32}, false},
		"huge number":    {Entry{Kind: "pcr" + strings.Repeat("9", 30), Value: hex32}, false},
		"rtmr4":          {Entry{Kind: "rtmr4", Value: hex48}, false},
		"PCR4":           {Entry{Kind: "PCR4", Value: hex32}, false},
		"slash":          {Entry{Kind: "pcr4/x", Value: hex32}, false},
		"short":          {Entry{Kind: "pcr4", Value: hex32[2:]}, false},
		"odd":            {Entry{Kind: "pcr4", Value: hex32 + "a"}, false},
		"sha1":           {Entry{Kind: "pcr4", Value: strings.Repeat("ab", 20)}, false},
		"size of other":  {Entry{Kind: "mrtd", Value: hex32}, false},
		"upper case":     {Entry{Kind: "pcr4", Value: strings.ToUpper(hex32)}, false},
		"no hex":         {Entry{Kind: "pcr4", Value: strings.Repeat("g", 64)}, false},
		"empty":          {Entry{Kind: "pcr4"}, false},
		"label control":  {Entry{Kind: "pcr4", Value: hex32, Label: "a\x1b[2J"}, false},
		"label turned":   {Entry{Kind: "pcr4", Value: hex32, Label: "a\u202eb"}, false},
		"label long":     {Entry{Kind: "pcr4", Value: hex32, Label: strings.Repeat("x", 129)}, false},
		"until is from":  {Entry{Kind: "pcr4", Value: hex32, From: 5, Until: 5}, false},
		"negative":       {Entry{Kind: "pcr4", Value: hex32, From: -1}, false},
		"after the year": {Entry{Kind: "pcr4", Value: hex32, Until: Forever + 1}, false},
	} {
		if err := tt.e.Check(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, k := range Kinds() {
		for _, n := range sizes(k) {
			if err := (&Entry{Kind: k, Value: strings.Repeat("00", n)}).Check(); err != nil {
				t.Error(err)
			}
		}
		if sizes(k) == nil && k != kindCommandLine {
			t.Errorf("%s has no size", k)
		}
	}
	for name, ok := range map[string]bool{"web": true, "web-2_b": true, "": false, "Web": false, "a/b": false, "2": false, "a.b": false, strings.Repeat("a", 64): false} {
		if err := CheckSet(name); (err == nil) != ok {
			t.Errorf("set %q: %v", name, err)
		}
	}
}

// TestStaging: the next image is in force from its second on, the old one until
// its own, without a restart, a timer or a change.
func TestStaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, releasetest.NewStore(), nil)
		now := time.Now().Unix()
		next := strings.Repeat("ee", 32)
		r.add("web", Entry{Kind: "pcr11", Value: hex32, Label: "old", Until: now + 200}, Entry{Kind: "pcr11", Value: next, Label: "new", From: now + 100})
		step := func(d time.Duration, old, fresh bool) {
			t.Helper()
			time.Sleep(d)
			if got := r.at("web", "pcr11", hex32) != nil; got != old {
				t.Errorf("after %v: old %v", time.Now().Unix()-now, got)
			}
			if got := r.at("web", "pcr11", next) != nil; got != fresh {
				t.Errorf("after %v: new %v", time.Now().Unix()-now, got)
			}
		}
		step(0, true, false)
		step(99*time.Second, true, false)
		step(time.Second, true, true)
		if v := r.at("web", "pcr11", hex32); v["until"] != now+200 || v["label"] != "old" {
			t.Errorf("%v", v)
		}
		if v := r.at("web", "pcr11", next); v["until"] != int64(Forever) {
			t.Errorf("%v", v)
		}
		step(99*time.Second, true, true)
		step(time.Second, false, true)
		before := r.times
		for range 10 {
			step(time.Hour, false, true)
		}
		if r.times != before {
			t.Errorf("made again %d times although nothing changes", r.times-before)
		}
		if _, err := r.Retire(t.Context(), "web", "pcr11", next, time.Now().Unix()+60); err != nil {
			t.Fatal(err)
		}
		step(59*time.Second, false, true)
		step(time.Second, false, false)
	})
}

// TestClockBack: what is in force follows the clock back as well.
func TestClockBack(t *testing.T) {
	now := int64(1000)
	var doc map[string]any
	store := releasetest.NewStore()
	s, err := New(t.Context(), Config{
		Objects: store, Now: func() time.Time { return time.Unix(now, 0) },
		Publish: func(d map[string]any) error { doc = d; return nil },
		Record:  func(_ context.Context, op string) *release.Record { return &release.Record{Operation: op} },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), "web", []Entry{{Kind: "mrtd", Value: hex48, From: 2000}}, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   int64
		want int
	}{{1999, 0}, {2000, 1}, {1999, 0}, {5000, 1}, {2000, 1}} {
		now = c.at
		if err := s.Current(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(doc["web"].(map[string]any)); got != c.want {
			t.Errorf("at %d: %d kinds, want %d", c.at, got, c.want)
		}
	}
}

func TestRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := releasetest.NewStore()
		r := newRig(t, store, nil)
		e := Entry{Kind: "pcr4", Value: hex32, Label: "debian 13.2", From: 7}
		r.add("web", e)
		rec := store.Leaves[len(store.Leaves)-1]
		if rec.Operation != OpAdd || rec.Object != "web" || rec.Detail["kind"] != "pcr4" || rec.Detail["value"] != digest(hex32) ||
			rec.Detail["label"] != digest(e.Label) || rec.Detail["from"] != "7" || rec.Detail["until"] != "" {
			t.Errorf("%+v", rec)
		}
		leaf, err := rec.Encode()
		if err != nil || strings.Contains(string(leaf), "debian") {
			t.Errorf("free text in %s, %v", leaf, err)
		}
		r.add("web", e) // the same again
		if len(store.Leaves) != 1 {
			t.Error("a record of nothing")
		}
		k, err := r.Retire(t.Context(), "web", "pcr4", hex32, 0)
		if err != nil || k.Until != time.Now().Unix() || k.Generation != 2 || k.Index != 1 || k.Label != e.Label {
			t.Errorf("%+v, %v", k, err)
		}
		if rec := store.Leaves[1]; rec.Operation != OpRetire || rec.Detail["until"] == "" {
			t.Errorf("%+v", rec)
		}
		if r.at("web", "pcr4", hex32) != nil {
			t.Error("retired and in force")
		}
		if again := newRig(t, store, nil); again.at("web", "pcr4", hex32) != nil || len(again.sets["web"]) != 1 {
			t.Error("a restart reads something else")
		}
	})
}

func TestConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := releasetest.NewStore()
		file := map[string]any{"old": map[string]any{"pcr4": map[string]any{"00": map[string]any{"label": "x"}}}}
		r := newRig(t, store, file)
		a, b := Entry{Kind: "pcr4", Value: hex32}, Entry{Kind: "pcr7", Value: hex32}
		ctx := t.Context()
		now := time.Now().Unix()
		r.add("web", a)
		if _, err := r.Retire(ctx, "web", "pcr4", hex32, 0); err != nil {
			t.Fatal(err)
		}
		n := len(store.Leaves)
		_, err := r.Add(ctx, "web", []Entry{b, a}, false)
		refused(t, "a retired value", err, release.ReasonConflict)
		_, err = r.Add(ctx, "web", []Entry{b, b}, false)
		refused(t, "twice", err, release.ReasonBadRequest)
		_, err = r.Add(ctx, "web", nil, false)
		refused(t, "none", err, release.ReasonBadRequest)
		_, err = r.Add(ctx, "web", make([]Entry, MaxBatch+1), false)
		refused(t, "many", err, release.ReasonBadRequest)
		_, err = r.Add(ctx, "Web", []Entry{b}, false)
		refused(t, "name", err, release.ReasonBadRequest)
		_, err = r.Add(ctx, "old", []Entry{b}, false)
		refused(t, "a set of the file", err, release.ReasonConflict)
		_, err = r.Retire(ctx, "old", "pcr4", hex32, 0)
		refused(t, "a set of the file", err, release.ReasonConflict)
		_, err = r.Retire(ctx, "web", "pcr7", hex32, 0)
		refused(t, "unknown", err, release.ReasonNotFound)
		_, err = r.Retire(ctx, "web", "pcr4", hex32, now+50)
		refused(t, "longer", err, release.ReasonConflict)
		_, err = r.Retire(ctx, "web", "pcr4", hex32, now-1)
		refused(t, "in the past", err, release.ReasonBadRequest)
		if len(store.Leaves) != n || r.at("web", "pcr7", hex32) != nil {
			t.Error("a refused change changed something")
		}
		if _, err := r.Add(ctx, "web", []Entry{a}, true); err != nil || r.at("web", "pcr4", hex32) == nil {
			t.Errorf("replaced: %v", err)
		}
		refused(t, "file", r.CheckFile(map[string]any{"web": map[string]any{}}), release.ReasonConflict)
		refused(t, "file", r.SetFile(map[string]any{"web": map[string]any{}}), release.ReasonConflict)
		if r.at("old", "pcr4", "00") == nil {
			t.Error("a refused file replaced the good one")
		}
		_, err = New(ctx, Config{Objects: store, File: map[string]any{"web": nil}, Publish: r.cfg.Publish, Record: r.cfg.Record, Now: time.Now})
		refused(t, "at start", err, release.ReasonConflict)

		// One that is staged for later and retired never comes into force.
		r.add("web", Entry{Kind: "pcr9", Value: hex32, From: now + 100})
		if _, err := r.Retire(ctx, "web", "pcr9", hex32, now+50); err != nil {
			t.Fatal(err)
		}
		for range 12 {
			time.Sleep(10 * time.Second)
			if r.at("web", "pcr9", hex32) != nil {
				t.Error("in force")
			}
		}
	})
}

// unsure is a store whose changes are committed although their caller is told to try again.
type unsure struct {
	*releasetest.Store
	late func() // the commit
}

func (u *unsure) ChangeObject(ctx context.Context, rec *release.Record, kind, name string, fn func(*release.Object) ([]byte, error)) (*release.Committed, error) {
	u.late = func() { _, _ = u.Store.ChangeObject(context.WithoutCancel(ctx), rec, kind, name, fn) }
	return nil, release.Refuse(release.ReasonLogUnavailable, "no answer in time")
}

// TestLateCommit: a change that lands after its caller gave up is in force, and a
// retirement all the more.
func TestLateCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, releasetest.NewStore(), nil)
		r.add("web", Entry{Kind: "pcr4", Value: hex32})
		u := &unsure{Store: r.store}
		r.cfg.Objects = u
		_, err := r.Retire(t.Context(), "web", "pcr4", hex32, 0)
		refused(t, "unsure", err, release.ReasonLogUnavailable)
		if r.at("web", "pcr4", hex32) == nil {
			t.Error("retired before the commit")
		}
		time.Sleep(time.Minute)
		u.late()
		if r.at("web", "pcr4", hex32) != nil {
			t.Error("still in force after the commit")
		}
		time.Sleep(time.Hour)
		r.at("web", "pcr4", hex32)
		if r.doubted.Load() {
			t.Error("in doubt for ever")
		}
	})
}

func TestLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, releasetest.NewStore(), map[string]any{"old": map[string]any{"pcr4": map[string]any{"00": map[string]any{"label": "x", "until": 9e9}}}, "odd": "text"})
		now := time.Now().Unix()
		r.add("web", Entry{Kind: "pcr4", Value: hex32}, Entry{Kind: "pcr7", Value: hex32, From: now + 9}, Entry{Kind: "pcr11", Value: hex32, Until: now})
		sets, more := r.Sets("", 2)
		if len(sets) != 2 || !more || sets[0] != (Set{Name: "odd", File: true}) || sets[1] != (Set{Name: "old", File: true, Entries: 1, Active: 1}) {
			t.Errorf("%+v %v", sets, more)
		}
		sets, more = r.Sets("old", 2)
		if len(sets) != 1 || more || sets[0] != (Set{Name: "web", Entries: 3, Active: 1, Staged: 1, Retired: 1}) {
			t.Errorf("%+v %v", sets, more)
		}
		list, more, found := r.List("web", "", 2)
		if len(list) != 2 || !more || !found || list[0].Kind != "pcr11" || list[1].Kind != "pcr4" {
			t.Errorf("%+v", list)
		}
		list, more, _ = r.List("web", list[1].key(), 2)
		if len(list) != 1 || more || list[0].Kind != "pcr7" {
			t.Errorf("%+v", list)
		}
		if _, _, found := r.List("none", "", 2); found {
			t.Error("found")
		}
		if list, _, _ := r.List("old", "", 2); len(list) != 1 || list[0].Label != "x" || list[0].Until != 9e9 {
			t.Errorf("%+v", list)
		}
	})
}

type fixed struct{ calls int }

func (f *fixed) Evaluate(context.Context, release.ReleasePolicy, *release.Input) (release.Decision, error) {
	f.calls++
	return release.Decision{Allow: true}, nil
}

// TestPolicyNeedsCurrent: with references that cannot be brought up to date nothing is allowed.
func TestPolicyNeedsCurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, releasetest.NewStore(), nil)
		r.add("web", Entry{Kind: "pcr4", Value: hex32, Until: time.Now().Unix() + 10})
		f := &fixed{}
		p := r.Policy(f)
		if d, err := p.Evaluate(t.Context(), release.ReleasePolicy{}, &release.Input{}); !d.Allow || err != nil {
			t.Errorf("%+v, %v", d, err)
		}
		r.cfg.Publish = func(map[string]any) error { return errors.New("too large") }
		time.Sleep(10 * time.Second)
		for range 2 {
			d, err := p.Evaluate(t.Context(), release.ReleasePolicy{}, &release.Input{})
			refused(t, "stale", err, release.ReasonPolicyError)
			if d.Allow || f.calls != 1 {
				t.Error("evaluated with what is out of date")
			}
		}
	})
}

func TestMoment(t *testing.T) {
	for in, want := range map[string]int64{"2027-01-31": 1801353600, "2027-01-31T08:00:00Z": 1801382400, "2027-01-31T08:00:00+02:00": 1801375200, "": 0, "tomorrow": 0, "1970-01-01": 0, "2027-02-30": 0, "1801353600": 0} {
		if got, err := Moment(in); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

// TestNewestStays: changes of a batch are told in any order; the newest counts.
func TestNewestStays(t *testing.T) {
	r := newRig(t, releasetest.NewStore(), nil)
	object := func(generation int64, label string) *release.Object {
		t.Helper()
		b, err := (&Kept{Entry: Entry{Label: label}}).encode()
		if err != nil {
			t.Fatal(err)
		}
		return &release.Object{Name: "web/pcr4/" + hex32, Generation: generation, Value: b}
	}
	for _, o := range []*release.Object{object(2, "new"), object(1, "old")} {
		if err := r.put(o); err != nil {
			t.Fatal(err)
		}
	}
	if list, _, _ := r.List("web", "", 9); len(list) != 1 || list[0].Label != "new" {
		t.Errorf("%+v", list)
	}
	if err := r.put(&release.Object{Name: "web/pcr4/" + hex32, Generation: 3, Value: []byte(`{"label":"x","Label":"y"}`)}); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("a row that cannot be read: %v", err)
	}
}

// TestCommandLine: a value with slashes and blanks is kept, found and retired as any other.
func TestCommandLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const line = "/vmlinuz root=/dev/mapper/root ro"
		store := releasetest.NewStore()
		newRig(t, store, nil).add("web", Entry{Kind: "cmdline", Value: line})
		r := newRig(t, store, nil)
		if r.at("web", "cmdline", line) == nil {
			t.Error("not found after a restart")
		}
		if _, err := r.Retire(t.Context(), "web", "cmdline", line, 0); err != nil || r.at("web", "cmdline", line) != nil {
			t.Errorf("retired: %v", err)
		}
	})
}
