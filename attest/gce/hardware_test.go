package gce_test

import (
	"crypto/sha256"
	"reflect"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/gce"
	"github.com/openskr/openskr/attest/gce/format"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tpm"
)

func TestHardware(t *testing.T) {
	c := newCloud(t)
	cfg, hw := c.config(), sound()
	cfg.TDX = hw
	res, err := verifier(t, cfg).Verify(t.Context(), c.evidence(t, func(e *format.Evidence) { e.TDXQuote = c.report() }), attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	f := res.Facts
	if res.Claims["snp"] == nil || res.Claims["gce"] == nil || f.TCBStatus != "UpToDate" || f.CollateralAge != time.Hour || f.Revocation != attest.Checked || !f.Resident {
		t.Errorf("%+v", res)
	}
	if len(hw.ends) != 1 || hw.ends[0].Type != attest.EndorsementCertificate {
		t.Errorf("the hardware's verifier saw %d endorsements", len(hw.ends))
	}
}

// TestHardwareRefused changes one thing about the hardware's part: all fails (EV-26).
func TestHardwareRefused(t *testing.T) {
	c, other := newCloud(t), newCloud(t)
	for name, tc := range map[string]struct {
		report func([]byte) []byte
		change func(*hardware)
		want   attest.Check
	}{
		"refused by its verifier": {nil, func(h *hardware) { h.rej = attest.Reject(attest.CheckTCBRevoked, "no") }, attest.CheckTCBRevoked},
		"debug":                   {nil, func(h *hardware) { h.res.Facts.Debug = true }, attest.CheckDebug},
		"simulated":               {nil, func(h *hardware) { h.res.Type = attest.TypeSNP.Simulated() }, attest.CheckInternal},
		"claims what is the vTPM's": {nil, func(h *hardware) {
			h.res.Claims = attest.Claims{"tpm": map[string]any{}}
		}, attest.CheckInternal},
		"privilege level 1": {nil, func(h *hardware) {
			h.res.Claims = attest.Claims{"snp": map[string]any{"vmpl": int64(1)}}
		}, attest.CheckVMPL},
		"privilege level not said": {nil, func(h *hardware) { h.res.Claims = attest.Claims{"snp": map[string]any{}} }, attest.CheckVMPL},
		"of another machine":       {func([]byte) []byte { return other.report() }, nil, attest.CheckNotLinked},
		"names no AK":              {func(b []byte) []byte { return append(b[:32:32], make([]byte, 32)...) }, nil, attest.CheckNotLinked},
		"of another request":       {func(b []byte) []byte { b[0] ^= 1; return b }, nil, attest.CheckReportData},
		"report data cut":          {func(b []byte) []byte { return b[:63] }, nil, attest.CheckReportData},
		"AK first":                 {func(b []byte) []byte { return append(b[32:64:64], b[:32]...) }, nil, attest.CheckNotLinked},
		"report data of zeros":     {func(b []byte) []byte { return make([]byte, 64) }, nil, attest.CheckNotLinked},
		"hash of the AK's name":    {func(b []byte) []byte { d := sha256.Sum256(akName(t, c)); return append(b[:32:32], d[:]...) }, nil, attest.CheckNotLinked},
		"not of this data alone":   {func(b []byte) []byte { d := sha256.Sum256([]byte("x")); return append(d[:], b[32:]...) }, nil, attest.CheckReportData},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, hw := c.config(), sound()
			if tc.change != nil {
				tc.change(hw)
			}
			report := c.report()
			if tc.report != nil {
				report = tc.report(report)
			}
			cfg.SNP = hw
			_, err := verifier(t, cfg).Verify(t.Context(), c.evidence(t, func(e *format.Evidence) { e.SNPReport = report }), attest.Expect{At: now})
			wantCheck(t, err, tc.want, true)
		})
	}
	t.Run("no verifier for it", func(t *testing.T) {
		cfg := c.config()
		cfg.SNP = sound()
		_, err := verifier(t, cfg).Verify(t.Context(), c.evidence(t, func(e *format.Evidence) { e.TDXQuote = c.report() }), attest.Expect{At: now})
		wantCheck(t, err, attest.CheckTypeNotAllowed, true)
	})
}

// TestHardwareFacts: what the hardware cannot prove is not proven.
func TestHardwareFacts(t *testing.T) {
	c := newCloud(t)
	for name, tc := range map[string]struct {
		change func(*attest.Facts)
		want   func(attest.Facts) bool
	}{
		"no revocation": {func(f *attest.Facts) { f.Revocation = attest.NotChecked }, func(f attest.Facts) bool { return f.Revocation == attest.NotChecked }},
		"migratable":    {func(f *attest.Facts) { f.Migratable = true }, func(f attest.Facts) bool { return f.Migratable }},
		"no chain":      {func(f *attest.Facts) { f.Chain = false }, func(f attest.Facts) bool { return !f.Chain }},
		"no signature":  {func(f *attest.Facts) { f.Signature = false }, func(f attest.Facts) bool { return !f.Signature }},
		"TCB unknown":   {func(f *attest.Facts) { f.TCBStatus = attest.TCBUnknown }, func(f attest.Facts) bool { return f.TCBStatus == attest.TCBUnknown }},
	} {
		cfg, hw := c.config(), sound()
		tc.change(&hw.res.Facts)
		cfg.SNP = hw
		res, err := verifier(t, cfg).Verify(t.Context(), c.evidence(t, func(e *format.Evidence) { e.SNPReport = c.report() }), attest.Expect{At: now})
		if err != nil || !tc.want(res.Facts) {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
}

// TestHardwareUnbound: two parts of one machine, even where nothing else is bound.
func TestHardwareUnbound(t *testing.T) {
	c, other := newCloud(t), newCloud(t)
	cfg := c.config()
	cfg.SNP = sound()
	v := verifier(t, cfg)
	for name, tc := range map[string]struct {
		report []byte
		want   attest.Check
	}{
		"of this machine":    {c.report(), ""},
		"of another machine": {other.report(), attest.CheckNotLinked},
	} {
		ev := c.evidence(t, func(e *format.Evidence) { e.SNPReport = tc.report })
		ev.RuntimeData = nil
		res, err := v.Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true})
		if tc.want != "" {
			wantCheck(t, err, tc.want, true)
		} else if err != nil || res.Facts.Bound || res.Facts.Freshness != attest.NotChecked {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
}

// TestLevelOffline: which privilege level a report is of matters to a release only.
func TestLevelOffline(t *testing.T) {
	c := newCloud(t)
	cfg, hw := c.config(), sound()
	hw.res.Claims = attest.Claims{"snp": map[string]any{"vmpl": int64(2)}}
	cfg.SNP = hw
	ev := c.evidence(t, func(e *format.Evidence) { e.SNPReport = c.report() })
	ev.RuntimeData = nil
	if _, err := verifier(t, cfg).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true}); err != nil {
		t.Error(err)
	}
}

func akName(t *testing.T, c *cloud) []byte {
	t.Helper()
	ak, err := tpm.ParseAK(c.AKPublic())
	if err != nil {
		t.Fatal(err)
	}
	return ak.Name
}

// TestSchema: the schema has every claim, and vTPM and hardware share no name.
func TestSchema(t *testing.T) {
	all := gce.Schema()["properties"].(map[string]any)
	members := func(s map[string]any) map[string]any { return s["properties"].(map[string]any) }
	for _, hw := range []map[string]any{snp.Schema(), tdx.Schema()} {
		for name := range members(hw) {
			if _, twice := members(tpm.Schema())[name]; twice {
				t.Errorf("vTPM and hardware both claim %s", name)
			}
			if all[name] == nil {
				t.Errorf("%s is not in the schema", name)
			}
		}
	}
	c := newCloud(t)
	res, err := verifier(t, c.config()).Verify(t.Context(), c.evidence(t), attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	want := members(all["gce"].(map[string]any))
	got := res.Claims["gce"].(map[string]any)
	for name := range got {
		if want[name] == nil {
			t.Errorf("gce.%s is not in the schema", name)
		}
	}
	if len(got) != len(want) || reflect.TypeOf(got["instance_id"]).Kind() != reflect.String {
		t.Errorf("claims %v", got)
	}
}
