package format_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/attest/tdx/format"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

func TestTrimCCEL(t *testing.T) {
	td := simulated.DefaultTD()
	log := td.EventLog()
	for name, area := range map[string][]byte{
		"nothing behind": log, "ones": append(bytes.Clone(log), bytes.Repeat([]byte{0xff}, 4096)...),
		"zeros": append(bytes.Clone(log), make([]byte, 4096)...), "few ones": append(bytes.Clone(log), 0xff, 0xff, 0xff),
	} {
		if got := format.TrimCCEL(area); !bytes.Equal(got, log) {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(log))
		}
	}
	for name, b := range map[string][]byte{"nothing": nil, "short": log[:20], "not a log": bytes.Repeat([]byte{0xff}, 200), "cut": log[:len(log)-1]} {
		if got := format.TrimCCEL(b); !bytes.Equal(got, b) {
			t.Errorf("%s: cut to %d bytes", name, len(got))
		}
	}
}

// TestRealLogs trims areas as machines have them.
func TestRealLogs(t *testing.T) {
	dir := os.Getenv("OPENSKR_VECTORS")
	if dir == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	for name, want := range map[string]int{
		"tdx-02-gce-cos113/ccel_data.bin": 18101, "tdx-10-lunal-live/ccel_live.bin": 2120, "tdx-10-lunal-live/ccel_live2.bin": 2120,
		"ccel-ccel_unpadded.data/ccel.bin": 2026, "ccel-cs251200ccel/ccel.bin": 21337, "ccel-event_log/ccel.bin": 2703, "ccel-ubuntu-2404-intel-tdx/ccel.bin": 50314,
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(format.TrimCCEL(b)); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
}

func FuzzTrimCCEL(f *testing.F) {
	td := simulated.DefaultTD()
	f.Add(td.EventLog())
	f.Add(append(td.EventLog(), bytes.Repeat([]byte{0xff}, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := format.TrimCCEL(b)
		if !bytes.HasPrefix(b, got) {
			t.Fatal("trimmed to something else")
		}
		if again := format.TrimCCEL(got); !bytes.Equal(again, got) {
			t.Fatalf("trimmed to %d bytes, then to %d", len(got), len(again))
		}
	})
}
