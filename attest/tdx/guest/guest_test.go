package guest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/faketsm"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tdx/guest"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

const runtimeData = `{"keys":[{"kty":"EC"}],"nonce":"AAAA","audience":"a","purpose":"release","key":"k","enc":"e"}`

func platform(t *testing.T) *simulated.Platform {
	t.Helper()
	p, err := simulated.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// kernel is configfs of a machine whose quotes are p's. before runs when a quote is
// read, and its error is the kernel's.
type kernel struct {
	configfsi.Client
	before func(name string) error
	made   int
}

func (k *kernel) MkdirTemp(dir, pattern string) (string, error) {
	k.made++
	return k.Client.MkdirTemp(dir, pattern)
}

func (k *kernel) ReadFile(name string) ([]byte, error) {
	if k.before != nil {
		if err := k.before(name); err != nil {
			return nil, err
		}
	}
	return k.Client.ReadFile(name)
}

func machine(t *testing.T, provider string, quote func([64]byte) ([]byte, error)) (*kernel, *faketsm.ReportSubsystem) {
	t.Helper()
	sub := &faketsm.ReportSubsystem{
		MakeEntry: func() *faketsm.ReportEntry {
			return &faketsm.ReportEntry{InAttrs: map[string]*faketsm.ReportAttributeState{"inblob": {}}}
		},
		CheckInAttr: func(*faketsm.ReportEntry, string, []byte) error { return nil },
		ReadAttr: func(e *faketsm.ReportEntry, attr string) ([]byte, error) {
			switch attr {
			case "provider":
				return []byte(provider + "\n"), nil
			case "outblob":
				e.ReadGeneration = e.WriteGeneration
				return quote([64]byte(e.InAttrs["inblob"].Value))
			}
			return nil, os.ErrNotExist
		},
		Random: rand.Reader,
	}
	// The fake serves attributes from its cache once the quote was read.
	read := sub.ReadAttr
	sub.ReadAttr = func(e *faketsm.ReportEntry, attr string) ([]byte, error) {
		b, err := read(e, attr)
		if attr == "outblob" {
			e.ROAttrs["provider"] = []byte(provider + "\n")
		}
		return b, err
	}
	return &kernel{Client: &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": sub}}}, sub
}

func logFile(t *testing.T, p *simulated.Platform, padding []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "CCEL")
	if err := os.WriteFile(name, append(p.TD.EventLog(), padding...), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestEvidence(t *testing.T) {
	for name, turn := range map[string]func(p *simulated.Platform){"version 4": nil, "version 5": func(p *simulated.Platform) { p.TD.Version = 5 }} {
		t.Run(name, func(t *testing.T) {
			p := platform(t)
			if turn != nil {
				turn(p)
			}
			k, sub := machine(t, "tdx_guest", func(rd [64]byte) ([]byte, error) {
				quote, err := p.Quote(rd)
				return append(quote, make([]byte, 100)...), err
			})
			d, err := guest.Open(guest.Options{Type: p.Type, FS: k, EventLog: logFile(t, p, bytes.Repeat([]byte{0xff}, 4096))})
			if err != nil {
				t.Fatal(err)
			}
			ev, err := d.Evidence(t.Context(), []byte(runtimeData))
			if err != nil {
				t.Fatal(err)
			}
			v, err := tdx.New(tdx.Config{Type: p.Type, Roots: p.Roots(), Endorser: p})
			if err != nil {
				t.Fatal(err)
			}
			res, err := v.Verify(t.Context(), ev, attest.Expect{At: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if log := res.Claims["tdx"].(map[string]any)["eventlog"].(map[string]any); log["complete"] != true {
				t.Errorf("%v", log)
			}
			if len(sub.Entries) != 0 {
				t.Errorf("%d entries left in configfs", len(sub.Entries))
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	device := filepath.Join(t.TempDir(), "tdx_guest")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other, _ := machine(t, "sev_guest", nil)
	none, _ := machine(t, "tdx_guest", nil)
	none.before = func(string) error { return syscall.ENXIO }
	for name, c := range map[string]struct {
		opts guest.Options
		says string
	}{
		"no configfs":   {guest.Options{TSM: "/no/such/folder", Device: "/no/such/device"}, "Linux 6.7"},
		"device only":   {guest.Options{TSM: "/no/such/folder", Device: device}, "is there, but it makes no quotes by itself"},
		"other machine": {guest.Options{FS: named{other, "sev_guest"}, Device: device}, "sev_guest"},
		"no provider":   {guest.Options{FS: none, Device: device}, "load the module tdx-guest"},
	} {
		_, err := guest.Open(c.opts)
		if !errors.Is(err, guest.ErrNoDevice) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// named is a kernel that gives the provider before there is a report.
type named struct {
	*kernel
	provider string
}

func (n named) ReadFile(name string) ([]byte, error) {
	if path.Base(name) == "provider" {
		return []byte(n.provider + "\n"), nil
	}
	return n.kernel.ReadFile(name)
}

// TestBusy: a quoting service that is busy is asked again, as long as the caller
// waits.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := platform(t)
		k, _ := machine(t, "tdx_guest", p.Quote)
		busy := 3
		k.before = func(name string) error {
			if path.Base(name) == "outblob" && busy > 0 {
				busy--
				return syscall.EBUSY
			}
			return nil
		}
		d, err := guest.Open(guest.Options{FS: k})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Quote(t.Context(), [64]byte{1}); err != nil || busy != 0 {
			t.Error(err)
		}
		busy = 1 << 30
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := d.Quote(ctx, [64]byte{1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestHang: a call that does not come back from the kernel does not keep the caller.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := platform(t)
		k, _ := machine(t, "tdx_guest", p.Quote)
		back := make(chan struct{})
		d, err := guest.Open(guest.Options{FS: k})
		if err != nil {
			t.Fatal(err)
		}
		k.before = func(string) error { <-back; return nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 2 { // the second waits for its turn
			if _, err := d.Quote(ctx, [64]byte{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		close(back)
		synctest.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestNoQuote(t *testing.T) {
	p := platform(t)
	for name, quote := range map[string]func([64]byte) ([]byte, error){
		"nothing": func([64]byte) ([]byte, error) { return []byte{}, nil },
		"too long": func(rd [64]byte) ([]byte, error) {
			q, err := p.Quote(rd)
			return append(q, make([]byte, 16<<10)...), err
		},
		"another report": func([64]byte) ([]byte, error) { return p.Quote([64]byte{9}) },
	} {
		k, _ := machine(t, "tdx_guest", quote)
		d, err := guest.Open(guest.Options{FS: k})
		if err != nil {
			t.Fatal(err)
		}
		if q, err := d.Quote(t.Context(), [64]byte{1}); err == nil {
			t.Errorf("%s: taken, %d bytes", name, len(q))
		}
	}
}

func TestEventLogFile(t *testing.T) {
	p := platform(t)
	k, _ := machine(t, "tdx_guest", p.Quote)
	d, err := guest.Open(guest.Options{FS: k, EventLog: filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Evidence(t.Context(), []byte(runtimeData)); err == nil {
		t.Error("the file that was named is not there, and nobody said so")
	}
}
