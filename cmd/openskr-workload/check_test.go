package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/agenttest"
)

// check runs a command and gives its exit code and what it says.
func (m *bed) check(args ...string) (code int, stdout, stderr string) {
	m.Helper()
	var out, errs bytes.Buffer
	code = run(m.Context(), args, nil, &out, &errs)
	return code, out.String(), errs.String()
}

func (m *bed) workloadJSON(text string) string {
	m.Helper()
	dir := m.TempDir()
	path := filepath.Join(dir, "workload.json")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "%DIR%", dir)), 0o600); err != nil {
		m.Fatal(err)
	}
	return path
}

// changed writes an agent.json that differs.
func (m *bed) changed(change func()) string {
	m.Helper()
	before := m.b.Trust
	defer func() { m.b.Trust = before }()
	change()
	return m.b.TrustFile(m)
}

// TestServeCheck: nothing is asked of a broker, and all that is wrong is said with the
// exit code that the service would end with.
func TestServeCheck(t *testing.T) {
	m := newBed(t)
	config := mine(`,"keys":["` + agenttest.KeyURL + `"]`)
	good := append([]string{"serve", "--check", "--serve-config", m.workloadJSON(config)}, m.common...)
	if code, out, errs := m.check(good...); code != 0 || out != "good: 1 callers, on platform simulated-snp\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	m.b.Change(func() {
		if m.b.Challenges != 0 {
			t.Error("the check asks a broker")
		}
	})
	foreign := strings.Replace(config, agenttest.KeyURL, "https://foreign.test/keys/k", 1)
	absent := m.changed(func() { m.b.Trust.URLs = []string{"https://broker.invalid"} })
	for what, c := range map[string]struct {
		config, agent string
		platform      []string
		code          int
		says          []string
	}{
		"no agent.json":       {config, "/absent", nil, agent.ExitUsage, []string{"/absent"}},
		"a foreign host":      {foreign, "", nil, agent.ExitUsage, []string{"foreign.test"}},
		"a name of nobody":    {config, absent, nil, agent.ExitUnreachable, []string{"broker.invalid", "DNS"}},
		"no hardware":         {config, "", []string{"--platform", "nitro", "--simulator", ""}, agent.ExitNoHardware, []string{"nitro"}},
		"all of it":           {strings.Replace(foreign, `"user":"`, `"user":"no-such-`, 1), absent, nil, agent.ExitUsage, []string{"foreign.test", "no-such-", "broker.invalid"}},
		"text and agent.json": {`{"v":1,"callers":[]}`, "/absent", nil, agent.ExitUsage, []string{"serves nobody", "/absent"}},
	} {
		args := append([]string{"serve", "--check", "--serve-config", m.workloadJSON(c.config)}, m.common...)
		if c.agent != "" {
			args = append(args, "--config", c.agent)
		}
		code, out, errs := m.check(append(args, c.platform...)...)
		if code != c.code || out != "" {
			t.Errorf("%s: exit %d, want %d: %s%s", what, code, c.code, out, errs)
		}
		for _, s := range c.says {
			if !strings.Contains(errs, s) {
				t.Errorf("%s: %q is not said: %s", what, s, errs)
			}
		}
	}
}

func TestRunCheck(t *testing.T) {
	m := newBed(t)
	for what, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"good":              {[]string{"--secret", "A=default/s", "--", "workload"}, 0, ""},
		"a foreign host":    {[]string{"--secret", "A=https://foreign.test/secrets/s", "--secret", "B=default/s/x", "--", "workload"}, agent.ExitUsage, "foreign.test"},
		"the second secret": {[]string{"--secret", "A=https://foreign.test/secrets/s", "--secret", "B=default/s/x", "--", "workload"}, agent.ExitUsage, "default/s/x"},
		"no program":        {[]string{"--secret", "A=default/s", "--", "no-such-program"}, 127, "no-such-program"},
		"both":              {[]string{"--secret", "A=foreign.test/s", "--", "no-such-program"}, agent.ExitUsage, "no-such-program"},
		"no command":        {[]string{"--secret", "A=default/s"}, agent.ExitUsage, "command"},
	} {
		args := append(append([]string{"run", "--check"}, m.common...), c.args...)
		if code, out, errs := m.check(args...); code != c.code || !strings.Contains(errs, c.says) || (code == 0) != (out != "") {
			t.Errorf("%s: exit %d, want %d and %q: %s%s", what, code, c.code, c.says, out, errs)
		}
	}
	args := append(append([]string{"run", "--check", "--json"}, m.common...), "--secret", "A=default/s", "--", "workload")
	var got checked
	if code, out, errs := m.check(args...); code != 0 || json.Unmarshal([]byte(out), &got) != nil || got.Secrets != 1 || got.Platform != "simulated-snp" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	m.b.Change(func() {
		if m.b.Challenges != 0 {
			t.Error("the check asks a broker")
		}
	})
}

// The key provider, as a command, refuses keys that no broker of this machine can have.
func TestKeyproviderForeignHost(t *testing.T) {
	m := newBed(t)
	args := append([]string{"keyprovider", "--key", "https://foreign.test/keys/k"}, m.common...)
	if code, _, errs := m.check(args...); code != agent.ExitUsage || !strings.Contains(errs, "foreign.test") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
