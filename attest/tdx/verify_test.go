package tdx_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// TestRefused turns one knob of sound evidence at a time. From the attributes of the
// TD on, a refusal names the machine.
// It is TP-09, TP-10 and TP-19.
func TestRefused(t *testing.T) {
	bit := func(n uint) func(p *simulated.Platform) {
		return func(p *simulated.Platform) { p.TD.Attributes |= 1 << n }
	}
	edit := func(offset int, b byte) func(p *simulated.Platform) {
		return func(p *simulated.Platform) { p.TD.Edit = func(report []byte) { report[offset] = b } }
	}
	extended := func(offset int, b byte) func(p *simulated.Platform) {
		return func(p *simulated.Platform) {
			p.TD.Version, p.TD.Extended = 5, true
			p.TD.Edit = func(report []byte) { report[offset] = b }
		}
	}
	xfam := func(v uint64) func(p *simulated.Platform) { return func(p *simulated.Platform) { p.TD.XFAM = v } }
	for name, c := range map[string]struct {
		turn  func(p *simulated.Platform)
		check attest.Check
	}{
		"debug":                       {bit(0), attest.CheckDebug},
		"reserved under debug":        {bit(3), attest.CheckDebug},
		"profiling":                   {bit(5), attest.CheckDebug},
		"reserved security attribute": {bit(16), attest.CheckPlatformBits},
		"TPA":                         {bit(62), attest.CheckPlatformBits},
		"reserved attribute":          {bit(40), attest.CheckPlatformBits},
		"XFAM without SSE":            {xfam(1), attest.CheckPlatformBits},
		"XFAM with MPX":               {xfam(0x618e7 | 1<<3), attest.CheckPlatformBits},
		"XFAM with the highest bit":   {xfam(0x618e7 | 1<<63), attest.CheckPlatformBits},
		"another module signer":       {edit(64, 1), attest.CheckPlatformBits},
		"debug module":                {edit(112, 1), attest.CheckDebug},
		"VM 4":                        {extended(648, 4), attest.CheckPlatformBits},
		"first service TD at launch":  {extended(729, 1), attest.CheckPlatformBits},
		"TCB at launch":               {extended(785, 1), attest.CheckPlatformBits},
		"service TD's attributes now": {extended(884, 1), attest.CheckPlatformBits},
		"RTMR 0 not of the log":       {edit(328, 1), attest.CheckEventLogReplay},
		"RTMR 1 not of the log":       {edit(376, 1), attest.CheckEventLogReplay},
		"RTMR 2 not of the log":       {edit(424, 1), attest.CheckEventLogReplay},
		"event of MRTD":               {func(p *simulated.Platform) { p.TD.Events[0].Index = 0 }, attest.CheckEventLogReplay},
		"event of register 5":         {func(p *simulated.Platform) { p.TD.Events[0].Index = 5 }, attest.CheckEventLogReplay},
		"event of register 24":        {func(p *simulated.Platform) { p.TD.Events[0].Index = 24 }, attest.CheckEventLog},
	} {
		t.Run(name, func(t *testing.T) {
			p := platform(t, 1, c.turn)
			_, rej := verify(t, trusting(t, p), evidence(t, p), attest.Expect{At: at()})
			if rej == nil || rej.Check != c.check {
				t.Fatalf("%v, want %s", rej, c.check)
			}
			if rej.Identity == nil || *rej.Identity != identity(t) {
				t.Errorf("refused as %v", rej.Identity)
			}
		})
	}
}

// TestExtendedReport: which VM of which TD, and with which devices, stands behind what
// a report of TDX 1.5 has.
func TestExtendedReport(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) {
		p.TD.Version, p.TD.Extended = 5, true
		p.TD.Edit = func(report []byte) {
			report[599], report[647], report[648], report[649], report[680], report[681], report[728] = 1, 2, 3, 4, 5, 6, 7
		}
	})
	res, rej := verify(t, trusting(t, p), evidence(t, p), attest.Expect{At: at()})
	if rej != nil {
		t.Fatal(rej)
	}
	native := res.Claims["tdx"].(map[string]any)
	if native["vmid"] != int64(3) {
		t.Errorf("vmid %v", native["vmid"])
	}
	for name, want := range map[string]string{"tee_tcb_svn2": "01", "mrservicetd": "02", "td_id": "05", "dev_info": "07"} {
		if got := native[name].(string); !strings.HasSuffix(got, want) {
			t.Errorf("%s %s, want …%s", name, got, want)
		}
	}
	if id, info := native["td_id"].(string), native["dev_info"].(string); len(id) != 64 || id[:2] != "04" || len(info) != 96 || info[:2] != "06" {
		t.Errorf("td_id %s, dev_info %s", id, info)
	}
	short := platform(t, 1, func(p *simulated.Platform) { p.TD.Version = 5 })
	res, rej = verify(t, trusting(t, short), evidence(t, short), attest.Expect{At: at()})
	if rej != nil {
		t.Fatal(rej)
	}
	for _, name := range []string{"vmid", "td_id", "dev_info"} {
		if got, ok := res.Claims["tdx"].(map[string]any)[name]; ok {
			t.Errorf("%s %v of a report that has none", name, got)
		}
	}
}

// identity is that of every machine of seed 1.
func identity(t *testing.T) attest.Identity {
	t.Helper()
	p := platform(t, 1, nil)
	res, rej := verify(t, trusting(t, p), evidence(t, p), attest.Expect{At: at()})
	if rej != nil {
		t.Fatal(rej)
	}
	return res.Identity
}

// TestEventOfAnotherRegister moves an event of a sound log (security EV-23).
func TestEventOfAnotherRegister(t *testing.T) {
	p := platform(t, 1, nil)
	quote, err := p.Quote([64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	moved := platform(t, 1, func(p *simulated.Platform) { p.TD.Events[0].Index = 2 })
	_, rej := verify(t, trusting(t, p), bodyOf(t, p, quote, moved.TD.EventLog()), attest.Expect{At: at(), Unbound: true})
	if rej == nil || rej.Check != attest.CheckEventLogReplay {
		t.Fatal(rej)
	}
}

// TestRuntimeRegister: what the running system extends is in no log, and is reported.
func TestRuntimeRegister(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) { p.TD.Edit = func(report []byte) { report[472] = 1 } })
	res, rej := verify(t, trusting(t, p), evidence(t, p), attest.Expect{At: at()})
	if rej != nil {
		t.Fatal(rej)
	}
	log := res.Claims["tdx"].(map[string]any)["eventlog"].(map[string]any)
	if log["present"] != true || log["complete"] != false || fmt.Sprint(log["unexplained"]) != "[3]" {
		t.Errorf("%v", log)
	}
}

func TestUnboundIdentity(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) { p.TD.Attributes |= 1 })
	ev := evidence(t, p)
	ev.RuntimeData = []byte(`{"another":"exchange"}`)
	_, rej := verify(t, trusting(t, p), ev, attest.Expect{At: at()})
	if rej == nil || rej.Check != attest.CheckReportData || rej.Identity != nil {
		t.Errorf("a recorded quote refused with %v, identity %v", rej, rej.Identity)
	}
}

// TestZeroIsAValue is TP-15: see that of attest/snp.
func TestZeroIsAValue(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) { p.TD.Edit = func(report []byte) { clear(report[184:232]) } })
	res, rej := verify(t, trusting(t, p), evidence(t, p), attest.Expect{At: at()})
	if rej != nil {
		t.Fatal(rej)
	}
	if got := res.Claims["tdx_mrconfigid"]; got != strings.Repeat("00", 48) {
		t.Errorf("tdx_mrconfigid is %v", got)
	}
}

func TestFacts(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) { p.TD.Attributes |= 1<<29 | 1<<30 })
	res, rej := verify(t, trusting(t, p), evidence(t, p), attest.Expect{At: at()})
	if rej != nil {
		t.Fatal(rej)
	}
	want := attest.Facts{
		Chain: true, Signature: true, Bound: true, Recipient: true, Revocation: attest.Checked, Freshness: attest.Checked,
		Migratable: true, TCBStatus: attest.TCBUpToDate, CollateralAge: 36 * time.Hour,
	}
	if res.Facts != want {
		t.Errorf("%+v", res.Facts)
	}
	if res.Type != attest.TypeTDX.Simulated() || res.Identity.Kind != "simulated-tdx" || string(res.Recipient) != `{"kty":"EC"}` ||
		!strings.Contains(res.Authority, "Intel SGX Root CA") {
		t.Errorf("%+v", res)
	}
}

func TestWithoutEndorser(t *testing.T) {
	p := platform(t, 1, nil)
	res, rej := verify(t, verifier(t, tdx.Config{Roots: p.Roots()}), evidence(t, p), attest.Expect{At: at()})
	if rej != nil {
		t.Fatal(rej)
	}
	if res.Facts.TCBStatus != attest.TCBUnknown || res.Facts.Revocation != attest.NotChecked || res.Facts.CollateralAge != 0 {
		t.Errorf("%+v", res.Facts)
	}
	if _, there := res.Claims["attester_tcb_status"]; there {
		t.Error("a TCB status that nobody appraised")
	}
}

func TestDenied(t *testing.T) {
	p := platform(t, 1, nil)
	ev := evidence(t, p)
	var asked []string
	v := verifier(t, tdx.Config{Roots: p.Roots(), Endorser: p, Denied: func(id string) bool { asked = append(asked, id); return false }})
	if _, rej := verify(t, v, ev, attest.Expect{At: at()}); rej != nil {
		t.Fatal(rej)
	}
	module := hex.EncodeToString(p.Report([64]byte{})[16:64])
	if len(asked) != 6 || !slices.Contains(asked, module) || !slices.Contains(asked, simulated.FMSPC()) {
		t.Errorf("asked for %v", asked)
	}
	for _, id := range asked {
		v := verifier(t, tdx.Config{Roots: p.Roots(), Endorser: p, Denied: func(i string) bool { return i == id }})
		_, rej := verify(t, v, ev, attest.Expect{At: at()})
		if rej == nil || rej.Check != attest.CheckPlatformDenied || rej.Identity == nil {
			t.Errorf("%s denied: %v", id, rej)
		}
	}
}

// TestType: evidence is of the configured type in envelope and body.
func TestType(t *testing.T) {
	p := platform(t, 1, nil)
	real := platform(t, 1, func(p *simulated.Platform) { p.Type = attest.TypeTDX })
	mixed := evidence(t, real)
	mixed.Type = p.Type
	for name, ev := range map[string]attest.Evidence{"envelope": evidence(t, real), "body": mixed} {
		if _, rej := verify(t, trusting(t, p), ev, attest.Expect{At: at()}); rej == nil || rej.Check != attest.CheckTypeNotAllowed {
			t.Errorf("%s: %v", name, rej)
		}
	}
	quote, err := p.SGXQuote([64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	_, rej := verify(t, trusting(t, p), bodyOf(t, p, quote, nil), attest.Expect{At: at(), Unbound: true})
	if rej == nil || rej.Check != attest.CheckTypeNotAllowed {
		t.Errorf("an enclave's quote: %v", rej)
	}
}

func TestAppraise(t *testing.T) {
	p := platform(t, 1, nil)
	reportData := [64]byte{1, 2, 3, 63: 4}
	quote, err := p.Quote(reportData)
	if err != nil {
		t.Fatal(err)
	}
	res, got, rej := trusting(t, p).Appraise(t.Context(), quote, nil, at())
	if rej != nil || string(got) != string(reportData[:]) || res.Facts.Bound || !res.Facts.Chain || res.Facts.Freshness != "" {
		t.Errorf("%+v, %x, %v", res, got, rej)
	}
	if _, _, rej := trusting(t, platform(t, 2, nil)).Appraise(t.Context(), quote, nil, at()); rej == nil || rej.Check != attest.CheckChainUntrusted {
		t.Error(rej)
	}
}
