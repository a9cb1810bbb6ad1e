package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/file"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/simulate/simulatetest"
	"github.com/openskr/openskr/internal/swtpm"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"openskr-agent": anywhere})
}

// anywhere is the program on a machine whose swap may be of any kind.
func anywhere() {
	os.Args = slices.Insert(os.Args, 1, "--allow-swap")
	main()
}

// TestScripts runs the transcripts in testdata against a software TPM and a fake
// broker each.
func TestScripts(t *testing.T) {
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	tpm, err := swtpm.Start(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tpm.Close(); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(env *testscript.Env) error { return setup(env, tpm) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "broker": tell, "encrypt": encrypt, "mode": mode, "disk": disk, "disks": disks,
		},
	})
}

type brokerKey struct{}

// setup gives each script agent.json, the TPM's socket and the key's URL.
func setup(env *testscript.Env, tpm *swtpm.TPM) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("not under go test")
	}
	b := agenttest.Start(t)
	b.Intercept = keyDoor(b)
	env.Values[brokerKey{}] = b
	env.Setenv("TPM", tpm.Socket)
	hardware := play(t, "snp")
	env.Setenv("SNP", hardware)
	env.Setenv("CONFIG", b.TrustFile(t))
	env.Setenv("KEY", agenttest.KeyURL)
	env.Setenv("VAULT", agenttest.VaultURL)
	env.Setenv("VERSION", agenttest.Version)
	return os.WriteFile(filepath.Join(env.WorkDir, "material"), b.Material, 0o600)
}

// play starts simulated hardware and gives its socket.
func play(t testing.TB, kind string) (socket string) {
	t.Helper()
	return simulatetest.Play(t, kind, [simulate.SeedSize]byte{1}, simulate.Options{})
}

// exits N openskr-agent ARGS…: runs it and wants that exit code.
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
		ts.Fatalf("usage: broker honest|pending|denied|refuses|lies|busy")
	}
	b.Change(func() { answer(ts, b, args[0]) })
}

func answer(ts *testscript.TestScript, b *agenttest.Broker, word string) {
	b.Enrollment, b.JWS, b.Intercept = "approved", nil, keyDoor(b)
	refuse := func(status int, reason string) {
		b.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/release" {
				return false
			}
			w.Header().Set("Retry-After", "300") // longer than the agent waits: it gives up at once
			agenttest.Refuse(w, status, reason)
			return true
		}
	}
	switch word {
	case "honest":
	case "pending", "denied":
		b.Enrollment = word
	case "refuses":
		refuse(http.StatusForbidden, "policy_denied")
	case "busy":
		refuse(http.StatusServiceUnavailable, "overloaded")
	case "lies":
		b.JWS = func(s string) string { return s[:len(s)-8] + "AAAAAAAA" }
	default:
		ts.Fatalf("unknown: %s", word)
	}
}

// encrypt IN OUT: makes a container for the fake's key.
func encrypt(ts *testscript.TestScript, _ bool, args []string) {
	var out bytes.Buffer
	in, key := ts.ReadFile(args[0]), ts.ReadFile("material")
	ts.Check(file.Encrypt(&out, bytes.NewReader([]byte(in)), agenttest.KeyURL+"/"+agenttest.Version, []byte(key)))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o600))
}

// mode FILE: only its owner reads it.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	fi, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if fi.Mode() != 0o600 {
		ts.Fatalf("%s has mode %v", args[0], fi.Mode())
	}
}

func TestUsageNamesEveryOption(t *testing.T) {
	for name := range only {
		if !bytes.Contains([]byte(usage), []byte("--"+name)) {
			t.Errorf("--%s is not in the help text", name)
		}
	}
	if code := run([]string{"help"}, io.Discard, io.Discard); code != 0 {
		t.Errorf("help exits %d", code)
	}
}

// The agent boots from an initrd: what it weighs and what it needs is a promise.
func TestBinary(t *testing.T) {
	const limit = 9_000_000
	out := filepath.Join(t.TempDir(), "openskr-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	fi, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > limit {
		t.Errorf("%d bytes, limit %d", fi.Size(), limit)
	}
	f, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		t.Errorf("not static: %v, %v", libs, err)
	}
}
