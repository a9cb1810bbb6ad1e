package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/enclave-agent/agenttest"
)

type brokerKey struct{}

// TestScripts runs the transcripts in testdata against a simulated machine and a fake
// broker each.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: scripted,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "broker": tell},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition " + cond)
		},
	})
}

// scripted gives each script a broker with secrets, agent.json and hardware.
func scripted(env *testscript.Env) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("not under go test")
	}
	b := agenttest.Start(t)
	b.Change(func() {
		b.Secrets = map[string][]string{"db": {"old", "hunter2 of the database"}, "tls": {"-----BEGIN KEY-----\nabc\n"}, "zero": {"a\x00b"}, "empty": {""}}
	})
	env.Values[brokerKey{}] = b
	hardware := play(t, "snp")
	env.Setenv("HW", hardware)
	env.Setenv("CONFIG", b.TrustFile(t))
	env.Setenv("HOST", strings.TrimPrefix(b.Server.URL, "https://"))
	return nil
}

// exits N COMMAND ARGS…: runs it and wants that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// broker WORD: how the fake broker answers from now on.
func tell(ts *testscript.TestScript, _ bool, args []string) {
	b, ok := ts.Value(brokerKey{}).(*agenttest.Broker)
	if !ok || len(args) != 1 {
		ts.Fatalf("usage: broker honest|refuses|forbids|busy|lies")
	}
	b.Change(func() {
		b.Intercept, b.Secret = nil, nil
		refuse := func(path string, status int, reason string) {
			b.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, path) {
					return false
				}
				w.Header().Set("Retry-After", "300") // longer than the agent waits: it gives up at once
				agenttest.Refuse(w, status, reason)
				return true
			}
		}
		switch args[0] {
		case "honest":
		case "refuses":
			refuse("/v1/token", http.StatusForbidden, "policy_denied")
		case "forbids":
			refuse("/secrets/", http.StatusForbidden, "role_missing")
		case "busy":
			refuse("/secrets/", http.StatusServiceUnavailable, "overloaded")
		case "lies":
			b.Secret = func(answer map[string]any) { answer["id"] = "https://h/secrets/other/" + agenttest.SecretVersion(1) }
		default:
			ts.Fatalf("unknown: %s", args[0])
		}
	})
}
