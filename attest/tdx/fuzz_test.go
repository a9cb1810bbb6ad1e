package tdx_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/eventlog"
	"github.com/openskr/openskr/attest/tdx/format"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// FuzzEvidence sends bodies through the whole verifier: only the sound ones pass.
func FuzzEvidence(f *testing.F) {
	p := platform(f, 1, nil)
	v, ev := trusting(f, p), evidence(f, p)
	f.Add(ev.Body)
	f.Add(evidence(f, platform(f, 1, func(p *simulated.Platform) { p.TD.Version, p.TD.Events = 5, nil })).Body)
	f.Add(evidence(f, platform(f, 1, func(p *simulated.Platform) { p.TD.Version, p.TD.Extended, p.TD.Events = 5, true, nil })).Body)
	f.Add([]byte(`{"type":"simulated-tdx","quote":""}`))
	sound, rej := verify(f, v, ev, attest.Expect{At: at()})
	if rej != nil {
		f.Fatal(rej)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := ev
		e.Body = body
		res, err := v.Verify(t.Context(), e, attest.Expect{At: at()})
		if err == nil && (res.Facts != sound.Facts || res.Identity != sound.Identity || !reflect.DeepEqual(res.Claims["tdx_mrtd"], sound.Claims["tdx_mrtd"])) {
			t.Fatalf("accepted with %+v", res)
		}
	})
}

// FuzzEventLog replays logs against a quote: only what leads to its registers passes.
func FuzzEventLog(f *testing.F) {
	p := platform(f, 1, nil)
	f.Add(p.TD.EventLog())
	if dir := os.Getenv("OPENSKR_VECTORS"); dir != "" {
		for _, name := range []string{"tdx-10-lunal-live/ccel_live.bin", "ccel-ubuntu-2404-intel-tdx/ccel.bin"} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				f.Add(format.TrimCCEL(b))
			}
		}
	}
	quote, err := p.Quote([64]byte{})
	if err != nil {
		f.Fatal(err)
	}
	v := trusting(f, p)
	f.Fuzz(func(t *testing.T, log []byte) {
		events, err := eventlog.ParseCC(log)
		if err == nil && len(events) > eventlog.MaxEvents {
			t.Fatalf("%d events", len(events))
		}
		_, rej := verify(t, v, bodyOf(t, p, quote, log), attest.Expect{At: at(), Unbound: true})
		if rej == nil && len(log) > 0 && err != nil {
			t.Fatalf("accepted with %v", err)
		}
	})
}

// TestRealLogs parses the logs of real machines to their last event.
func TestRealLogs(t *testing.T) {
	dir := os.Getenv("OPENSKR_VECTORS")
	if dir == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	for name, want := range map[string]int{
		"tdx-02-gce-cos113/ccel_data.bin": 43, "tdx-10-lunal-live/ccel_live.bin": 20, "ccel-ccel_unpadded.data/ccel.bin": 19,
		"ccel-cs251200ccel/ccel.bin": 45, "ccel-event_log/ccel.bin": 27, "ccel-ubuntu-2404-intel-tdx/ccel.bin": 159,
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if events, err := eventlog.ParseCC(format.TrimCCEL(b)); err != nil || len(events) != want {
			t.Errorf("%s: %d events, %v", name, len(events), err)
		}
		if _, err := eventlog.ParseCC(append(format.TrimCCEL(b), 0xff)); err == nil {
			t.Errorf("%s: a byte behind the log is taken", name)
		}
		if _, err := eventlog.Parse(format.TrimCCEL(b), 0x000c); err == nil {
			t.Errorf("%s: read as a TPM's", name)
		}
	}
}
