package local

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/release/receipt"
)

// check runs Check on a configuration; %DIR% in it is the folder.
func check(t *testing.T, dir, config string, k Checker) (notices []string, err error) {
	t.Helper()
	file := filepath.Join(dir, "workload.json")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "%DIR%", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	if k.Trust == nil {
		k.Trust = testTrust()
	}
	k.Notice = func(s string) { notices = append(notices, s) }
	_, err = k.Check(file)
	return notices, err
}

// taken is a port of this machine that something listens on.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// Everything that is wrong is said at once, and wraps ErrConfig.
func TestCheckSaysAll(t *testing.T) {
	dir := shortDir(t)
	for name, mode := range map[string]os.FileMode{"short": 0o600, "open": 0o644, "same1": 0o600} {
		content := testToken
		if name == "short" {
			content = "x"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "wide"), 0o700), os.Chmod(filepath.Join(dir, "wide"), 0o777), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := check(t, dir, `{"v":1,"socket":{"path":"%DIR%/wide/api","group":"no-such-group"},"tcp":{"address":"127.0.0.1:0"},
	"keyprovider":{"address":"unix:%DIR%/file","keys":["https://evil.example.org/keys/image"]},
	"callers":[
	 {"name":"a","user":"no-such-user","group":"no-such-group","keys":["https://foreign.test/keys/k"]},
	 {"name":"b","token_file":"%DIR%/short"},{"name":"c","token_file":"%DIR%/open"},{"name":"d","token_file":"%DIR%/absent"},
	 {"name":"e","identity":{"environment":"%DIR%/no/such/app.env"},"vaults":["https://vault.test"]}]}`, Checker{})
	for _, want := range []string{
		"socket.path: group: unknown group no-such-group", "caller a: user: unknown user no-such-user", "caller a: group: unknown group",
		"caller b: " + dir + "/short: want one line", "caller c: " + dir + "/open has owner", "caller d: open " + dir + "/absent",
		"keyprovider.address: something that is not a socket", "identity.environment of e: folder " + dir + "/no: ",
		"(workload.json, keys of caller a)", "(workload.json, vaults of caller e)", "(workload.json, keys of keyprovider)",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s", want)
		}
	}
	if lines := strings.Count(fmt.Sprint(err), "\n") + 1; lines != 11 || !errors.Is(err, agent.ErrConfig) {
		t.Errorf("%d problems:\n%v", lines, err)
	}
	if _, err := check(t, dir, `{"v":1,"socket":{"path":"%DIR%/wide/api"},"callers":[]}`, Checker{}); err == nil || !strings.Contains(err.Error(), "wide has owner") {
		t.Errorf("a folder that everybody may write to: %v", err)
	}
}

// What is wrong with the text alone is said at once, too.
func TestCheckSaysAllOfText(t *testing.T) {
	_, err := check(t, shortDir(t), `{"v":2,"tcp":{"address":"0.0.0.0:1"},"socket":{"path":"/s"},"keyprovider":{"address":"unix:/s","keys":[]},
	"callers":[{"name":"a"},{"name":"a","user":"0"},{"name":"x","identity":{"environment":"/e","address":"127.0.0.1:7"},"vaults":["https://v"]},
	{"name":"y","identity":{"environment":"/e","address":"127.0.0.1:7"},"vaults":["https://v"]}]}`, Checker{})
	for _, want := range []string{"version 2", "tcp.address", "0 keys, want 1", "caller 1", "two callers are named", "/s is to be two", "/e is to be two", "127.0.0.1:7 is to be two"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s", want)
		}
	}
	for line := range strings.Lines(fmt.Sprint(err)) {
		if !strings.HasPrefix(line, "configuration: workload.json: ") {
			t.Errorf("a line does not say whose: %s", line)
		}
	}
}

// A check beside the running service finds nothing wrong, and changes nothing.
func TestCheckWhileServing(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0") // a port for the server, which is free when it starts
	if err == nil {
		err = free.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	config := `{"v":1,"socket":{"path":"%DIR%/s/api"},"tcp":{"address":"` + free.Addr().String() + `"},"callers":[{"name":"t","token_file":"%DIR%/token"}]}`
	s := serve(t, &fake{}, config)
	if _, err := check(t, s.dir, config, Checker{}); err != nil {
		t.Errorf("beside itself: %v", err)
	}
	if status, _ := s.post(t, "/status", ""); status == 0 {
		t.Error("it does not answer any more")
	}
}

func TestCheckPorts(t *testing.T) {
	address := taken(t)
	k := Checker{serving: os.Geteuid(), who: self()}
	if err := k.tcp(address); err != nil {
		t.Errorf("this program's own port: %v", err)
	}
	k.serving = other
	if err := k.tcp(address); err == nil || !strings.Contains(err.Error(), "a program of user") {
		t.Errorf("a port of user %d, for a service of another: %v", os.Geteuid(), err)
	}
	if same(1) {
		t.Error("process 1 is this program")
	}
	if err := (&Checker{serving: os.Geteuid()}).tcp("127.0.0.1:0"); err != nil {
		t.Errorf("a free port: %v", err)
	}
}

// Checked by root, the service's files are its own, and what only root reads is not.
func TestCheckForService(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, which checks for another user")
	}
	dir := shortDir(t)
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(testToken), 0o600); err != nil {
		t.Fatal(err)
	}
	config := `{"v":1,"tcp":{"address":"127.0.0.1:0"},"callers":[{"name":"t","token_file":"%DIR%/token"}]}`
	k := Checker{User: "nobody"}
	if _, err := check(t, dir, config, k); err == nil || !strings.Contains(err.Error(), "LoadCredential=") {
		t.Errorf("a token that the service cannot read: %v", err)
	}
	if _, err := check(t, dir, config, Checker{}); err != nil {
		t.Errorf("root serves: %v", err)
	}
	uid, err := lookUp("nobody", userID)
	if err == nil {
		err = os.Chown(token, int(*uid), -1)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := check(t, dir, config, k); err != nil {
		t.Errorf("its own token: %v", err)
	}
	if _, err := check(t, dir, config, Checker{}); !errors.Is(err, agent.ErrConfig) {
		t.Errorf("another's token: %v", err)
	}
	hidden := strings.Replace(config, "%DIR%/token", credentials+"no-such.service/t", 1)
	if notices, err := check(t, dir, hidden, k); err != nil || len(notices) != 1 {
		t.Errorf("a credential that systemd shows later: %v, %v", notices, err)
	}
	made := `{"v":1,"socket":{"path":"%DIR%/new/api"},"callers":[]}`
	if notices, err := check(t, dir, made, k); err != nil || len(notices) != 1 {
		t.Errorf("a folder that systemd makes: %v, %v", notices, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the check made the folder")
	}
}

// AG-04: a key or a vault that no broker of agent.json can have is refused when the
// service starts, not only by the check.
func TestForeignHosts(t *testing.T) {
	for what, config := range map[string]string{
		"key":      `{"v":1,"socket":{"path":"/s"},"callers":[{"name":"a","user":"0","keys":["https://vault.test/keys/k"]}]}`,
		"vault":    `{"v":1,"callers":[{"name":"a","identity":{"environment":"/e"},"vaults":["https://vault.test"]}]}`,
		"provider": `{"v":1,"callers":[],"keyprovider":{"address":"127.0.0.1:1","keys":["https://vault.test/keys/k"]}}`,
	} {
		c, err := ParseConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(c, Options{Agent: &fake{}, Trust: testTrust(), Log: newLog(&logged{})}); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", what, err)
		}
		trust := &receipt.Trust{URLs: testTrust().URLs, VaultSuffixes: []string{"test"}}
		if _, err := New(c, Options{Agent: &fake{}, Trust: trust, Log: newLog(&logged{})}); err != nil {
			t.Errorf("%s of a suffix: %v", what, err)
		}
	}
}
