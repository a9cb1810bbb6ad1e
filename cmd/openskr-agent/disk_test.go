package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/enclave-agent/agenttest"
)

// disk FILE: makes an empty file that stands for a disk.
func disk(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path, nil, 0o600))
	ts.Check(os.Truncate(path, 8<<20))
}

// disks FILE: writes disks.json with that disk as root.
func disks(ts *testscript.TestScript, _ bool, args []string) {
	text := fmt.Sprintf(`{"v":1,"disks":{"root":{"device":%q,"key":%q,"recovery":"off"}}}`, ts.MkAbs(args[0]), agenttest.KeyURL)
	ts.Check(os.WriteFile(ts.MkAbs("disks.json"), []byte(text), 0o600))
}

// keyDoor keeps the tags of the fake's key, as the Key Vault door does.
func keyDoor(b *agenttest.Broker) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			return false
		}
		if r.Header.Get("Authorization") != "Bearer operator.token" {
			agenttest.Refuse(w, http.StatusUnauthorized, "unauthenticated")
			return true
		}
		if r.Method == http.MethodPatch {
			var body struct{ Tags map[string]string }
			if json.NewDecoder(r.Body).Decode(&body) == nil {
				b.Tags = body.Tags
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"tags": b.Tags})
		return true
	}
}

// BU-11: a volume that stays closed powers the machine off, when that was asked for.
func TestBU11PowerOff(t *testing.T) {
	for _, asked := range []bool{false, true} {
		off := 0
		p := &program{options: &options{}, stderr: &bytes.Buffer{}, powerOff: func() error {
			off++
			return nil
		}}
		p.disk.powerOff = asked
		p.disk.name, p.disk.disks = "root", "/nonexistent/disks.json"
		if err := p.unlock(t.Context()); err == nil {
			t.Error("opened")
		}
		if err := p.crypttabServe(t.Context()); err == nil {
			t.Error("served")
		}
		if want := map[bool]int{false: 0, true: 2}[asked]; off != want {
			t.Errorf("--power-off=%v: powered off %d times, want %d", asked, off, want)
		}
		if err := p.closed(errors.New("why")); err == nil {
			t.Error("closed is no failure")
		}
	}
}
