package main

import (
	"net/http"
	"testing"
)

// TestPublicLog: the log is closed to strangers unless the operator opens it.
func TestPublicLog(t *testing.T) {
	for open, want := range map[bool]int{false: http.StatusUnauthorized, true: http.StatusOK} {
		r := newRig(t, nil)
		cfg, err := loadConfig(r.dir, "")
		if err != nil {
			t.Fatal(err)
		}
		cfg.PublicLog = open
		if err := cfg.write(r.dir, "test"); err != nil {
			t.Fatal(err)
		}
		r.start(servedBroker{})
		for _, path := range []string{"/v1/log/checkpoint", "/v1/log/entries", "/v1/log/proof?index=0&size=1"} {
			resp, err := r.client.Get(r.url + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("public_log %v: %s answers %d, want %d", open, path, resp.StatusCode, want)
			}
		}
		r.end()
	}
}
