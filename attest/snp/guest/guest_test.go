package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/guest"
	"github.com/openskr/openskr/attest/snp/simulated"
)

var runtimeData = []byte(`{"keys":[{"kty":"EC"}],"nonce":"AAAA","audience":"d","purpose":"release","key":"https://h/keys/k","enc":"HPKE"}`)

// kernel is configfs-tsm of a simulated machine.
type kernel struct {
	*faketsm.Client
	platform *simulated.Platform
	provider string
	table    []byte
	report   func([]byte) []byte      // changes an answer
	fail     func(attr string) error  // of a read
	interfer func(entry string) error // after a read of outblob
	live     int
}

func newKernel(t *testing.T) *kernel {
	t.Helper()
	p, err := simulated.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{platform: p, provider: "sev_guest"}
	sub := faketsm.ReportV7(0)
	sub.ReadAttr = func(e *faketsm.ReportEntry, attr string) ([]byte, error) {
		switch attr {
		case "provider":
			return []byte(k.provider + "\n"), nil
		case "auxblob":
			return k.table, nil
		case "outblob":
			chip := k.platform.Chip
			level := byte(0)
			if v := e.InAttrs["privlevel"].Value; len(v) > 0 {
				level = v[0] - '0'
			}
			chip.Report = func(r []byte) { r[0x30] = level }
			r, err := k.platform.Report([64]byte(e.InAttrs["inblob"].Value), chip)
			if k.report != nil {
				r = k.report(r)
			}
			return r, err
		}
		return nil, os.ErrNotExist
	}
	k.Client = &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": sub}}
	return k
}

// ReadFile adds the failures of a host. The fake answers a read before the first write
// with ErrNotExist; the kernel knows its provider then.
func (k *kernel) ReadFile(name string) ([]byte, error) {
	if k.fail != nil {
		if err := k.fail(path.Base(name)); err != nil {
			return nil, err
		}
	}
	b, err := k.Client.ReadFile(name)
	if path.Base(name) == "provider" && errors.Is(err, os.ErrNotExist) {
		return []byte(k.provider + "\n"), nil
	}
	if path.Base(name) == "outblob" && k.interfer != nil {
		return b, errors.Join(err, k.interfer(path.Dir(name)))
	}
	return b, err
}

func (k *kernel) MkdirTemp(dir, pattern string) (string, error) {
	k.live++
	return k.Client.MkdirTemp(dir, pattern)
}

func (k *kernel) RemoveAll(name string) error {
	k.live--
	return k.Client.RemoveAll(name)
}

func open(t *testing.T, o guest.Options) *guest.Device {
	t.Helper()
	d, err := guest.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEvidence goes from configfs through the verifier.
func TestEvidence(t *testing.T) {
	k := newKernel(t)
	leaf, err := k.platform.Leaf(k.platform.Chip)
	if err != nil {
		t.Fatal(err)
	}
	k.table = simulated.Table(leaf)
	d := open(t, guest.Options{Type: k.platform.Type, FS: k})
	ev, err := d.Evidence(t.Context(), runtimeData)
	if err != nil {
		t.Fatal(err)
	}
	v, err := snp.New(snp.Config{Type: k.platform.Type, Products: k.platform.Products()})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if res, err := v.Verify(t.Context(), ev, attest.Expect{At: at}); err != nil || !res.Facts.Bound {
		t.Errorf("%+v, %v", res, err)
	}
	if len(ev.Endorsements) != 1 || ev.Endorsements[0].Type != attest.EndorsementCertificateTable {
		t.Errorf("endorsements %v", ev.Endorsements)
	}
	if k.live != 0 {
		t.Errorf("%d entries left behind", k.live)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestTable(t *testing.T) {
	k := newKernel(t)
	leaf, err := k.platform.Leaf(k.platform.Chip)
	if err != nil {
		t.Fatal(err)
	}
	table := simulated.Table(leaf)
	for name, c := range map[string]struct {
		from, want []byte
		ok         bool
	}{
		"none":             {nil, nil, true},
		"a page of zeros":  {make([]byte, 4096), nil, true},
		"exact":            {table, table, true},
		"filled up":        {append(bytes.Clone(table), make([]byte, 5000)...), table, true},
		"header only":      {table[:24], nil, false},
		"cut":              {table[:len(table)-1], nil, false},
		"shorter than one": {table[:20], nil, true},
	} {
		k.table = c.from
		_, got, err := open(t, guest.Options{FS: k}).Report(t.Context(), [64]byte{1})
		if (err == nil) != c.ok || !bytes.Equal(got, c.want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestLevel(t *testing.T) {
	k := newKernel(t)
	report, _, err := open(t, guest.Options{FS: k, VMPL: 2}).Report(t.Context(), [64]byte{1})
	if err != nil || report[0x30] != 2 {
		t.Error(report, err)
	}
}

// TestBusy: a host that is busy is asked again, for as long as the caller waits.
func TestBusy(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EBUSY, syscall.EAGAIN, syscall.EINTR} {
		synctest.Test(t, func(t *testing.T) {
			k, left := newKernel(t), 4
			d := open(t, guest.Options{FS: k})
			k.fail = func(attr string) error {
				if attr != "outblob" || left == 0 {
					return nil
				}
				left--
				return fmt.Errorf("read: %w", errno)
			}
			if _, _, err := d.Report(t.Context(), [64]byte{1}); err != nil || left != 0 {
				t.Errorf("%v, %d left", err, left)
			}
			left = -1
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, _, err := d.Report(ctx, [64]byte{1}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("always busy: %v", err)
			}
			synctest.Wait()
			if k.live != 0 {
				t.Errorf("%d entries left behind", k.live)
			}
		})
	}
}

// TestHangs: a call that never comes back does not take its caller along.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, release := newKernel(t), make(chan struct{})
		d := open(t, guest.Options{FS: k})
		k.fail = func(attr string) error {
			if attr == "outblob" {
				<-release
			}
			return nil
		}
		for range 2 { // the second waits for its turn
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, _, err := d.Report(ctx, [64]byte{1}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			cancel()
		}
		close(release)
		if _, _, err := d.Report(t.Context(), [64]byte{1}); err != nil {
			t.Error(err)
		}
	})
}

func TestReportIsChecked(t *testing.T) {
	for name, c := range map[string]func(k *kernel){
		"of another provider": func(k *kernel) { k.fail = func(string) error { k.provider = "tdx_guest"; return nil } },
		"short":               func(k *kernel) { k.report = func(r []byte) []byte { return r[:1000] } },
		"of other data":       func(k *kernel) { k.report = func(r []byte) []byte { r[0x50] ^= 1; return r } },
		"refused by the host": func(k *kernel) { k.fail = func(string) error { return syscall.EIO } },
	} {
		k := newKernel(t)
		d := open(t, guest.Options{FS: k})
		c(k)
		if _, _, err := d.Report(t.Context(), [64]byte{1}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestInterference (AG-21): another program that writes to the entry between the reads.
func TestInterference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, times := newKernel(t), 0
		d := open(t, guest.Options{FS: k})
		k.interfer = func(entry string) error {
			if times++; times > 1 {
				return nil
			}
			return k.WriteFile(path.Join(entry, "inblob"), bytes.Repeat([]byte{9}, 64))
		}
		if _, _, err := d.Report(t.Context(), [64]byte{1}); err != nil || times != 2 {
			t.Errorf("%v after %d reports", err, times)
		}
	})
}

func TestNoDevice(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	for name, c := range map[string]struct {
		opts guest.Options
		says string
	}{
		"nothing there":      {guest.Options{TSM: none, Path: none}, "load the module sev-guest"},
		"another provider":   {guest.Options{FS: other(t, "tdx_guest"), Path: none}, `"tdx_guest"`},
		"a folder as device": {guest.Options{TSM: none, Path: dir}, "is a directory"},
	} {
		_, err := guest.Open(c.opts)
		if !errors.Is(err, guest.ErrNoDevice) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func other(t *testing.T, provider string) *kernel {
	k := newKernel(t)
	k.provider = provider
	return k
}
