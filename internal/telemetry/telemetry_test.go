package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

type credential struct{ Secret string }

type shown struct{}

func (shown) LogValue() slog.Value { return slog.StringValue("shown") }

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	l := NewLogger(&b, slog.LevelInfo)
	l.Debug("too fine")
	l.Info("message", "bytes", []byte("SECRET"), "struct", credential{"SECRET"}, "pointer", &credential{"SECRET"}, "map", map[string]string{"a": "SECRET"},
		"error", errors.New("token eyJhbGciOiJFUzI1NiJ9.SECRET.SECRET refused"), "header", "Bearer SECRETSECRET",
		"identity", "AGE-SECRET-KEY-1SECRET", "pem", "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----",
		"count", 7, "took", time.Second, "list", []string{"a"}, "value", shown{}, "nothing", nil, "long", strings.Repeat("x", 1<<20),
		slog.Group("group", "inner", []byte("SECRET")))
	if s := b.String(); strings.Contains(s, "SECRET") || len(s) > 2*maxText {
		t.Errorf("%d bytes: %.2000s", len(s), s)
	}
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"msg": "message", "level": "INFO", "count": 7.0, "struct": "[telemetry.credential]", "value": "shown", "list": `["a"]`} {
		if line[name] != want {
			t.Errorf("%s: %v, want %v", name, line[name], want)
		}
	}
	if line["time"] == nil {
		t.Error("no time")
	}
}

// Nobody outside can make a new label.
func TestClosedLabels(t *testing.T) {
	m := NewMetrics("v1", Names{Doors: []string{"native"}, Routes: []string{"release"}, Reasons: []string{"policy_denied"}})
	m.Request("release", 200, time.Millisecond)
	m.Request("evil{", 999, time.Millisecond)
	m.Refusal("release", "policy_denied")
	m.Refusal("x", "y")
	m.Release("native", "", time.Millisecond)
	m.Release("native", "z", time.Millisecond)
	m.Commit(time.Millisecond)
	m.Panic()
	if err := m.Gauge("openskr_keys", "Keys.", func() float64 { return 3 }); err != nil {
		t.Fatal(err)
	}
	if m.Gauge("openskr_keys", "Keys.", func() float64 { return 3 }) == nil {
		t.Error("one name twice")
	}
	b, mediaType, err := m.Text()
	if err != nil || !strings.HasPrefix(mediaType, "text/plain") {
		t.Fatalf("%s, %v", mediaType, err)
	}
	for _, want := range []string{
		`openskr_request_seconds_count{route="release",status="2xx"} 1`, `openskr_request_seconds_count{route="other",status="other"} 1`,
		`openskr_refusals_total{reason="policy_denied",route="release"} 1`, `openskr_refusals_total{reason="other",route="other"} 1`,
		`openskr_release_seconds_count{door="native",reason="allow"} 1`, `openskr_release_seconds_count{door="native",reason="other"} 1`,
		`openskr_log_commit_seconds_count 1`, `openskr_panics_total 1`, `openskr_keys 3`, `openskr_build_info{version="v1"} 1`,
	} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
	if bytes.Contains(b, []byte("evil")) {
		t.Error("a caller's text is a label")
	}
}
